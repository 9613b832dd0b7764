"""CountingRGM: the closed-form renormalizing generative model, a tree with exact inference."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.counting.config import CountingConfig, counting_preset
from rgm.counting.evidence import TreeEvidence
from rgm.counting.posterior import Codes, Images
from rgm.counting.sampling import TreeSampling
from rgm.counting.tables import safe_log
from rgm.counting.tree import Pairs, Upward
from rgm.model.generative import CELL_BATCH_SIZE, Parents
from rgm.model.receptive import Box
from rgm.model.results import Inference, concatenate


class CountingRGM(TreeSampling, TreeEvidence):
    """A tree of categorical variables under one concept, fitted by counting in closed form, without gradients.

        p(x, z) = p(c) · p(root | c) · Π_ℓ Π_cells p(z_ℓ | z_{ℓ+1}) · Π_groups Π_symbols p(symbol | z_1)

    Every factor is the mean of Dirichlet counts; p(c) is uniform. `z1` is the grid of the lowest groups' states. On a
    tree sum–product is exact: evidence, marginals and conditional samples, for a batch at once and in bounded memory
    (Friston et al. 2024, arXiv 2407.20292; `rgm.counting.learning` fits the same tree better).

    The counts are buffers: `symbol_counts` (groups, states, variates, levels), `link_counts_1` … (cells, parent's
    states, states), `top_counts` (classes, roots). Before learning they are samples of a flat prior.
    """

    @classmethod
    def from_config(cls, config: CountingConfig) -> "CountingRGM":
        """Return an untrained model of a configuration."""
        return cls(config)

    @classmethod
    def from_preset(
        cls, name: str, *, image: tuple[int, int, int] = (1, 28, 28), classes: int = 10, images: int | None = None
    ) -> "CountingRGM":
        """Return a model of a preset, `paper` or `counting`, for images of (channels, height, width).

        `images`: the number of training images, which bounds the number of prototypes of `counting`.
        """
        return cls(counting_preset(name, image, classes, images))

    # Bottom-up

    def _infer(self, images: Images) -> Inference:
        return concatenate([self._inference(self.upward(part)) for (part,) in self.chunks(images)])

    def _inference(self, upward: Upward, z1: Codes | None = None) -> Inference:
        by_concept, _, pairs = self.posterior(upward)
        codes = [*self._modes(pairs), self._root(upward, by_concept)]
        if z1 is not None:
            codes[0] = z1
        return Inference(codes=tuple(codes), concept=by_concept.softmax(dim=1), reconstruction=self._decode(codes[0]))

    def _root(self, upward: Upward, by_concept: Tensor) -> Codes:
        """Return the most probable root given the most probable concept."""
        joint = upward.root + self.tables().log_top[by_concept.argmax(dim=1)]
        return joint.argmax(dim=1)[:, None, None]

    def _modes(self, pairs: Pairs) -> list[Codes]:
        """Return the most probable state of every cell below the root."""
        return [
            states.argmax(dim=2).T.unflatten(1, grid).contiguous()
            for states, grid in zip(pairs.marginals, self.grids, strict=False)
        ]

    @torch.no_grad()
    def read(self, images: Images) -> list[Codes]:
        """Return the most probable codes of every level given the whole image, the concept's last."""
        parts = []
        for (part,) in self.chunks(images):
            upward = self.upward(part)
            by_concept, _, pairs = self.posterior(upward)
            concept = by_concept.argmax(dim=1)[:, None, None]
            parts.append([*self._modes(pairs), self._root(upward, by_concept), concept])
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    @torch.no_grad()
    def infer_from_codes(self, z1: Codes) -> Inference:
        """Return `infer`'s result for given codes: the levels above inferred from them, and their reconstruction.

        Raises RGMError for a grid of another shape or codes out of range.
        """
        self._check_codes(z1)
        parts = self.chunks(z1.to(self.device))
        return concatenate([self._inference(self._known(part), part) for (part,) in parts])

    @torch.no_grad()
    def cell_logits(self, images: Images) -> Float[Tensor, "n states height width"]:
        """Return log p(z_1 = k | x) of every cell, exact given the whole image."""
        parts = []
        for (part,) in self.chunks(images.to(self.device)):
            first = self.posterior(self.upward(part))[2].marginals[0]
            parts.append(safe_log(first).permute(1, 2, 0).unflatten(2, self.grids[0]))
        return torch.cat(parts)

    # Top-down

    def _decode(self, z1: Codes) -> Images:
        appearance = self.tables().appearance
        groups = torch.arange(len(appearance), device=appearance.device)[:, None]
        return self.leaves.decode(appearance[groups, z1.flatten(1).T]).clamp(0, 1)

    @torch.no_grad()
    def decode_each_code(
        self, z1: Codes, row: int, column: int
    ) -> Iterator[Float[Tensor, "chunk states channels tall wide"]]:
        """Yield a cell's `decoder_field` decoded with every code in that cell, a chunk of images at a time."""
        if not self.leaves.disjoint:
            yield from super().decode_each_code(z1, row, column)
            return
        blank = torch.zeros(self.latent_dim, *self.grids[0], dtype=torch.int64, device=self.device)
        blank[:, row, column] = torch.arange(self.latent_dim, device=self.device)
        decoded = self._decode(blank)[..., *self.decoder_field(row, column).slices]
        for chunk in z1.split(CELL_BATCH_SIZE):
            yield decoded.expand(len(chunk), *decoded.shape)

    @torch.no_grad()
    def log_prob_given(self, level: int, child: Codes, parent: Parents) -> Float[Tensor, " n"]:
        """Return log p(z_ℓ | z_{ℓ+1}) in nats, for the codes of a level and of the level above."""
        tables = self.tables()
        child, parent = (codes.to(self.device).flatten(1) for codes in (child, parent))
        if level == self.depth - 1:
            return tables.log_top[parent[:, 0], child[:, 0]]
        return tables.tree.log_prob(level - 1, child, parent)

    # Fields

    def decoder_field(self, row: int, column: int) -> Box:
        """Return the pixels that a cell of z_1 can change."""
        return self.leaves.field(row, column)

    def encoder_field(self, row: int, column: int) -> Box:  # noqa: ARG002 - it is the same for all
        """Return the pixels that a cell's code can depend on: all, since inference is exact given the whole image."""
        _, rows, columns = self.config.image
        return Box.of(0, 0, rows, columns)
