"""The evidence of images under a tree, exact, and its terms."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.counting.config import PixelSymbols
from rgm.counting.posterior import Images, TreePosterior
from rgm.counting.tables import safe_log
from rgm.counting.tree import Message
from rgm.distributions.noise import bernoulli
from rgm.model.results import FreeEnergy


class TreeEvidence(TreePosterior):
    """Exact evidence, free energy and surprise."""

    @torch.no_grad()
    def log_evidence(self, images: Images, *, likelihood: bool = True) -> Float[Tensor, "n classes"]:
        """Return log p(x | c) of images under every concept, in nats, exact.

        For pixels as symbols it is the evidence of binary pixels (see `observe`); grey values are probabilities. With
        `likelihood=False`, of all symbols with their weights for inference.
        """
        self._check_images(images)
        parts = [
            (self.upward(part, likelihood=likelihood).root[:, None] + self.tables().log_top).logsumexp(dim=2)
            for (part,) in self.chunks(images.to(self.device))
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def surprise(self, images: Images) -> Float[Tensor, "n height width"]:
        """Return −log p(x_cell | all other cells) of every cell, in nats, exact, without the class.

        With message m from a cell and share s from above, p(x_cell | rest) = 1 / Σ_k Σ_r s_r p(k | r) up to m's scale.
        """
        self._check_images(images)
        tables, parts = self.tables(), []
        for (part,) in self.chunks(images.to(self.device)):
            leaves = tables.likelihood.log_prob(self.symbols(part))
            pairs = self.posterior(tables.tree.up(leaves))[2]
            cavity = torch.bmm(pairs.shares[0], tables.tree.links[0]).sum(dim=2)
            parts.append((cavity.log() - leaves.amax(dim=2)).T.unflatten(1, self.grids[0]))
        return torch.cat(parts)

    @torch.no_grad()
    def free_energy(
        self,
        images: Images,
        labels: Int64[Tensor, " n"] | None = None,
        *,
        generator: torch.Generator | None = None,  # noqa: ARG002 - nothing is sampled
    ) -> FreeEnergy:
        """Return F(x) = −log p(x), or with `labels` −log p(x, c), in nats per image: the posterior is exact.

        Its terms are expectations over it: −E[log p(x | z_1)], and for each level E[log p(z_ℓ | z_{ℓ+1}, x) − log p(z_ℓ
        | z_{ℓ+1})]. Nothing is sampled.
        """
        self._check_images(images)
        images = images.to(self.device)
        if labels is None:
            parts = [self._free_energy(part, None) for (part,) in self.chunks(images)]
        else:
            known = self._labels(labels, len(images))
            parts = [self._free_energy(*part) for part in self.chunks(images, known)]
        return FreeEnergy(
            distortion_nats=torch.cat([part.distortion_nats for part in parts]),
            rate_nats=torch.cat([part.rate_nats for part in parts]),
        )

    def _free_energy(self, images: Images, labels: Tensor | None) -> FreeEnergy:
        tables = self.tables()
        leaves = tables.likelihood.log_prob(self.symbols(images))
        upward = tables.tree.up(leaves)
        by_concept, root, pairs = self.posterior(upward, labels)
        classes = self.num_classes
        evidence = by_concept if labels is None else by_concept.gather(1, labels[:, None])
        total = math.log(classes) - evidence.logsumexp(dim=1)
        distortion = -(pairs.marginals[0] * leaves.clamp_min(torch.finfo(leaves.dtype).min)).sum(dim=(0, 2))
        rates = []
        for level, states in enumerate([*pairs.marginals[1:], root[None]]):
            message = upward.messages[level]
            parents = states[tables.tree.parents(level)]
            rates.append(_gain(pairs.marginals[level], message) - (parents * safe_log(message.above)).sum(dim=(0, 2)))
        concept = torch.log_softmax(by_concept, dim=1)
        if labels is None:
            top = (concept.exp() * concept).sum(dim=1) + math.log(classes)
        else:
            top = torch.full_like(distortion, math.log(classes))
        rates.append(total - distortion - sum(rates, torch.zeros_like(total)) - top)  # the root's, given the concept
        return FreeEnergy(distortion_nats=distortion, rate_nats=torch.stack([*rates, top], dim=1))

    @torch.no_grad()
    def log_weight(
        self,
        images: Images,
        *,
        generator: torch.Generator | None = None,  # noqa: ARG002 - nothing is sampled
    ) -> Float[Tensor, " n"]:
        """Return log p(x) in nats: the weight of every sample, since the posterior is exact."""
        return self.log_evidence(images).logsumexp(dim=1) - math.log(self.num_classes)

    def observe(self, images: Images, generator: torch.Generator | None = None) -> Images:
        """Return grey images binarised at random, or unchanged where the symbols are not pixels."""
        return bernoulli(images, generator) if isinstance(self.config.symbols, PixelSymbols) else images

    @property
    def is_density(self) -> bool:
        """Whether p(x | z_1) is a probability of what `observe` returns: true for pixels, false for other symbols."""
        return isinstance(self.config.symbols, PixelSymbols)

    @property
    def pixels_kind(self) -> str:
        """The name of the distribution of the observations."""
        return "bernoulli" if isinstance(self.config.symbols, PixelSymbols) else "ranked symbols"


def _gain(states: Tensor, message: Message) -> Float[Tensor, " n"]:
    """Return E[log m(z)] under a posterior."""
    return (states * safe_log(message.here)).sum(dim=(0, 2))
