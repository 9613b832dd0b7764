"""Flows of which every neighbourhood has a path of its own."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.errors import RGMError
from rgm.temporal.config import FlowConfig
from rgm.temporal.dynamics import Expected, Tones, Visible
from rgm.temporal.flow import Flow
from rgm.temporal.neighbourhoods import GreyNeighbourhoods, Neighbourhoods, Recursion
from rgm.temporal.results import NextFrames


class NeighbourhoodFlow(Flow):
    """A flow whose pixels carry beliefs over the paths of the squares of `side` pixels around them.

    The tables are those of `Flow`. Pixels are independent given the frames before, so that marginal and joint
    probabilities of a frame are the same; there is no path of a whole frame.
    """

    def __init__(self, image: tuple[int, int, int], tones: int, config: FlowConfig) -> None:
        super().__init__(image, tones, config)
        assert config.neighbourhood is not None
        self.side = config.neighbourhood

    def neighbourhoods(self) -> Recursion:
        """Return the recursion over beliefs of neighbourhoods."""
        if self.tones > 2:
            every, still = torch.arange(self.config.paths, device=self.start.device), self.config.sight
            moves = torch.where(self.displacement().round() == 0, still + 1, still)
            return GreyNeighbourhoods(
                kernels=self.kernels[0],
                start=self.start,
                follow=self.follow[every, moves[:, 0], moves[:, 1]],
                noise=self.noise,
                base=self.base,
                background=int(self.background),
                copied=self.config.copied,
                side=self.side,
            )
        return Neighbourhoods(
            kernels=self.kernels[0],
            start=self.start,
            follow=self.follow,
            steps=self.displacement(),
            copied=self.config.copied,
            lit=float(self.base[1 - int(self.background)]),
            sight=self.config.sight,
            side=self.side,
        )

    def _recursion(
        self, tones: Tones, visible: Visible, steps: int = 0, generator: torch.Generator | None = None
    ) -> tuple[Expected, Float[Tensor, "n _"]]:
        """Return expected tones of all frames and of `steps` more, and −log p(visible | past) of every frame but one.

        With a generator, pixels that are not seen are drawn one by one.
        """
        near, zero, grey = self.neighbourhoods(), int(self.background), self.tones > 2
        seen_field = (tones[:, :, 0] if grey else (tones != zero).any(dim=2)).to(self.start)
        shown = visible.all(dim=2)
        field = torch.where(shown[:, 0], seen_field[:, 0], float(zero) if grey else 0.0)
        beliefs, found, nats = near.begin(field), [field], []
        for step in range(1, tones.shape[1] + steps):
            ahead = near.predict(field, beliefs)
            seen = step < tones.shape[1]
            guess = near.guess(ahead, generator)
            after = torch.where(shown[:, step], seen_field[:, step], guess) if seen else guess
            known = shown[:, step] if seen else torch.zeros_like(shown[:, 0])
            nats.append(-(near.log_prob(ahead, after) * known).flatten(1).sum(dim=1))
            beliefs = near.update(field, beliefs, after, known)
            field = after
            found.append(field)
        expected = torch.stack(found, dim=1)[:, :, None]
        expected = 1 - expected if zero and not grey else expected
        every = torch.stack(nats, dim=1) if nats else expected.new_zeros(len(tones), 0)
        return expected, every[:, : tones.shape[1] - 1]

    def log_prob(self, tones: Tones, visible: Visible) -> Float[Tensor, " n"]:
        """Return log p(visible tones), by the recursion."""
        return self.first_evidence(tones, visible)[1] - self._recursion(tones, visible)[1].sum(dim=1)

    def infer(
        self, tones: Tones, visible: Visible
    ) -> tuple[Expected, Int64[Tensor, "n steps"], Float[Tensor, "n steps events"], tuple[Tensor, ...], Tensor]:
        """Return what `Dynamics.infer` promises, hidden pixels given the frames before them; no paths."""
        frames, nats = self._recursion(tones, visible)
        none = torch.zeros(len(tones), 0, dtype=torch.int64, device=tones.device)
        evidence = self.first_evidence(tones, visible)[1] - nats.sum(dim=1)
        return frames, none, frames.new_zeros(len(tones), 0, self.config.paths), (), evidence

    def complete(self, tones: Tones, visible: Visible, generator: torch.Generator | None) -> Expected:  # noqa: ARG002
        """Return films whose hidden pixels are expected given the frames before them: nothing is drawn."""
        return torch.where(visible, tones.to(self.start.dtype), self._recursion(tones, visible)[0])

    def predict(self, tones: Tones, visible: Visible, steps: int, generator: torch.Generator | None) -> Expected:
        """Return the frames that follow: expected, or with every pixel drawn."""
        return self._recursion(tones, visible, steps, generator)[0][:, tones.shape[1] :]

    def successors(self, tones: Tones, event: int) -> Float[Tensor, " paths"]:
        """Raise RGMError: a frame has no path."""
        del tones, event
        raise _pathless()

    def continued(
        self, tones: Tones, event: int, steps: int, generator: torch.Generator | None
    ) -> tuple[Expected, Int64[Tensor, "1 steps"]]:
        """Raise RGMError: a frame has no path."""
        del tones, event, steps, generator
        raise _pathless()

    def retold(self, tones: Tones) -> tuple[Float[Tensor, " n"], Expected]:
        """Raise RGMError: a frame has no path."""
        del tones
        raise _pathless()

    def sample(
        self, count: int, steps: int, generator: torch.Generator | None
    ) -> tuple[Expected, Int64[Tensor, "n steps"]]:
        """Return films that begin with a frame kept from learning, the pixels after it drawn; no paths."""
        first = self.firsts[torch.randint(len(self.firsts), (count,), generator=generator)][:, None]
        visible, source = torch.ones_like(first, dtype=torch.bool), generator or torch.default_generator
        return self._recursion(first, visible, steps - 1, source)[0], torch.zeros(count, 0, dtype=torch.int64)

    def next_frames(self, tones: Tones) -> NextFrames:
        """Return the next frame's nats."""
        nats = self._recursion(tones, torch.ones_like(tones, dtype=torch.bool))[1] / math.prod(self.image)
        return NextFrames(marginal_nats=nats, joint_nats=nats)


def flow_of(image: tuple[int, int, int], tones: int, config: FlowConfig) -> Flow:
    """Return the flow of a configuration: one path a frame, or one a neighbourhood."""
    return (Flow if config.neighbourhood is None else NeighbourhoodFlow)(image, tones, config)


def _pathless() -> RGMError:
    return RGMError(
        "every neighbourhood has a path of its own: train with --preset film-flow, or take by_neighbourhoods(None), "
        "for one path a frame"
    )
