"""The variational bound of networks: free energy and importance weights."""

import math
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rgm.distributions.categorical import CategoricalField
from rgm.model.generative import Images
from rgm.model.likelihood import PixelConfig
from rgm.model.networks import Networks
from rgm.model.results import FreeEnergy

NEGLIGIBLE = 1e-3
"""In evaluation, q(z_L | ·) gives no concept less than this share of the most probable one's probability."""


class VariationalBound(Networks):
    """F(x) and its terms, for given samples or for samples from q, the top level summed out.

    F(x) = −log p(x | z_1) + Σ_{ℓ<L} [ log q(z_ℓ | z_{ℓ−1}) − log p(z_ℓ | z_{ℓ+1}) ] + KL(q(z_L | ·) ‖ p(z_L)), with
    each z_ℓ sampled bottom-up from q(z_ℓ | z_{ℓ−1}), and the expectation over z_L a sum over concepts: in evaluation,
    over those that are not `NEGLIGIBLE`, to which q(z_L | ·) is then restricted. With labels the concept is known and F
    bounds −log p(x, y).
    """

    def _free_energy(self, images: Images, labels: Tensor | None, generator: torch.Generator | None) -> FreeEnergy:
        images = images.to(self.dtype)
        fields, drawn = self._draw(images, generator)
        return self.bound(images, fields, drawn, labels, negligible=NEGLIGIBLE)

    def bound(
        self,
        images: Images,
        fields: list[CategoricalField],
        samples: list[Tensor],
        labels: Int64[Tensor, " n"] | None = None,
        *,
        negligible: float = 0.0,
    ) -> FreeEnergy:
        """Return F(x) for given samples of z_1 … z_{L−1} from `fields`, differentiable in both.

        `fields` are every level's q(z_ℓ | z_{ℓ−1}), the top's last; `samples` one-hot in value, or relaxed. Concepts
        whose probability is less than `negligible` times the most probable one's get none, and q(z_L | ·) is normalised
        over the others: F bounds −log p(x) for any q.
        """
        *log_q, last = [field.log_prob(z) for field, z in zip(fields, samples, strict=False)]
        log_p = self._log_prob_between(samples)
        rates = [q - p for q, p in zip(log_q, log_p, strict=True)]
        uniform = math.log(self.num_classes)
        if labels is None:
            weights = fields[-1].probs().flatten(1)
            if negligible:
                weights = weights * _likely(weights, negligible)
                weights = weights / weights.sum(dim=1, keepdim=True)
                top = uniform + torch.xlogy(weights, weights).sum(dim=1)
            else:
                top = uniform - fields[-1].entropy()
            image, concept, log_prob = self._log_prob_of_likely(samples[-1], weights, negligible)
            last = last.index_add(0, image, weights[image, concept] * log_prob, alpha=-1)
        else:  # the concept does not depend on z_{L−1}: its cells can be summed out one by one
            top = torch.full_like(last, uniform)
            parent, field = self._embed(labels[:, None, None], self.depth), fields[-2]
            prior = self.prior(self.depth - 1)
            last = -field.entropy() - prior.expected_log_prob(field.probs(), samples[-1], parent)
        distortion = -self.likelihood.log_prob(images, self.recognition(1).read(samples[0]))
        return FreeEnergy(distortion_nats=distortion, rate_nats=torch.stack([*rates, last, top], dim=1))

    def _log_weight(self, images: Images, generator: torch.Generator | None) -> Float[Tensor, " n"]:
        """Return the log-weight of samples of z_1 … z_{L−1} from q, summed over the concepts that are not negligible.

        Where q is peaked, many samples are the same grid, whose probabilities are computed once.
        """
        images = images.to(self.dtype)
        fields, drawn = self._draw(images, generator)
        codes, which = drawn[-1].argmax(dim=1).unique(dim=0, return_inverse=True)
        z = self._one_hot(codes, self.depth - 1)
        weights = self.recognition(self.depth).field(self.recognition(self.depth - 1).read(z)).probs().flatten(1)
        grid, concept, log_prob = self._log_prob_of_likely(z, weights, NEGLIGIBLE)
        joint = torch.full_like(weights, -math.inf).index_put((grid, concept), log_prob)
        marginal = joint.logsumexp(dim=1)[which] - math.log(self.num_classes)
        log_p = [*self._log_prob_between(drawn), marginal]
        log_q = [field.log_prob(z) for field, z in zip(fields, drawn, strict=False)]
        likelihood = self.likelihood.log_prob(images, self.recognition(1).read(drawn[0]))
        return likelihood + torch.stack(log_p).sum(dim=0) - torch.stack(log_q).sum(dim=0)

    def _log_prob_of_likely(
        self, z: Tensor, weights: Float[Tensor, "n classes"], negligible: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the row, the concept c and log p(z_{L−1} | c) in nats of each weight that is not `negligible`."""
        row, concept = _likely(weights, negligible).nonzero(as_tuple=True)
        return (
            row,
            concept,
            self.prior(self.depth - 1).log_prob(z[row], self._embed(concept[:, None, None], self.depth)),
        )

    def _draw(self, images: Images, generator: torch.Generator | None) -> tuple[list[CategoricalField], list[Tensor]]:
        """Return every level's q(z_ℓ | z_{ℓ−1}), and one-hot samples of all but the top."""
        below, fields, drawn = images, [], []
        for level in range(1, self.depth):
            field, codes = self.recognition(level).draw(below, generator)
            fields.append(field)
            drawn.append(self._one_hot(codes, level))
            below = self.recognition(level).read(drawn[-1])
        return [*fields, self.recognition(self.depth).field(below)], drawn

    def _log_prob_between(self, drawn: list[Tensor]) -> list[Tensor]:
        """Return log p(z_ℓ | z_{ℓ+1}) in nats for the levels with a sampled parent."""
        return [
            self.prior(level).log_prob(child, self.recognition(level + 1).read(parent))
            for level, (child, parent) in enumerate(pairwise(drawn), start=1)
        ]

    @property
    def pixels(self) -> PixelConfig:
        """The distribution of a pixel."""
        return self.config.pixels


def _likely(weights: Float[Tensor, "n classes"], negligible: float) -> Bool[Tensor, "n classes"]:
    """Return which weights are at least `negligible` times the largest of their row."""
    return weights >= negligible * weights.amax(dim=1, keepdim=True)
