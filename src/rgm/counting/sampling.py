"""Samples of a tree: ancestral, and conditional on codes or pixels."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rgm.counting.posterior import Codes, Images, TreePosterior, Visible
from rgm.counting.tables import safe_log, sample_states
from rgm.counting.tree import Upward
from rgm.errors import RGMError
from rgm.model.results import Samples


class TreeSampling(TreePosterior):
    """Exact ancestral and conditional samples."""

    @torch.no_grad()
    def sample_below(
        self, z: Codes, level: int, *, generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> list[Tensor]:
        """Return codes of every level below z_ℓ, sampled top-down given it, finest first; levels count from 1."""
        tables = self.tables()
        if level < self.depth:
            return tables.tree.descend(z, generator, temperature=temperature, level=level - 1)
        root = sample_states(tables.log_top[z.flatten()], generator, temperature)
        return [*tables.tree.descend(root, generator, temperature=temperature), root[:, None, None]]

    @torch.no_grad()
    def complete(
        self,
        z1: Codes,
        keep: Bool[Tensor, "#n height width"],
        concept: int | Int64[Tensor, " #n"],
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Samples:
        """Return images whose cells in `keep` have the codes of `z1`, the rest sampled given them and a concept.

        Samples are from the exact posterior: the root first, given all kept cells. Raises RGMError for codes or
        concepts that the model does not have, or a mask of another shape than the grid.
        """
        self._check_codes(z1)
        self._check_keep(keep, z1)
        z1, keep = z1.to(self.device), keep.to(self.device).expand_as(z1)
        concepts = self._concept_of_each(concept, len(z1))
        parts = []
        for chunk, kept, labels in self.chunks(z1, keep, concepts):
            drawn = self._posterior_sample(self._known(chunk, kept), labels, generator, temperature)
            drawn[0] = torch.where(kept, chunk, drawn[0])
            parts.append(drawn)
        codes = tuple(torch.cat(level) for level in zip(*parts, strict=True))
        return Samples(images=self.decode(codes[0]), concept=concepts, codes=codes)

    def _posterior_sample(
        self, upward: Upward, concepts: Tensor, generator: torch.Generator | None, temperature: float = 1.0
    ) -> list[Tensor]:
        tables = self.tables()
        root = sample_states(upward.root + tables.log_top[concepts], generator, temperature)
        below = tables.tree.descend(root, generator, temperature=temperature, messages=upward.messages)
        return [*below, root[:, None, None]]

    @torch.no_grad()
    def complete_pixels(self, images: Images, visible: Visible, *, generator: torch.Generator | None = None) -> Samples:
        """Return images with hidden pixels sampled given the visible ones, from the exact conditional.

        p(c, z | visible pixels) is sampled from the concept down, where `visible` is true for visible pixels. Visible
        pixels are unchanged, hidden ones become the mean of p(x | z_1). Raises RGMError for images or masks of another
        shape, or a model with symbols of the whole image.
        """
        self._check_images(images)
        shape = (len(images), *images.shape[2:])
        if visible.dtype != torch.bool or visible.shape[1:] != shape[1:] or len(visible) not in (1, len(images)):
            raise RGMError(
                f"visible must be a mask of shape {shape} (or one for all, (1, …)), true for visible pixels, but is "
                f"{visible.dtype} of shape {tuple(visible.shape)}"
            )
        images, visible = images.to(self.device), visible.to(self.device).expand(shape)
        parts, sampled = [], []
        for chunk, mask in self.chunks(images, visible):
            upward = self.upward(chunk * mask[:, None], likelihood=True, visible=mask)
            by_concept = (upward.root[:, None] + self.tables().log_top).logsumexp(dim=2)
            sampled.append(sample_states(by_concept, generator, 1.0))
            parts.append(self._posterior_sample(upward, sampled[-1], generator))
        codes = tuple(torch.cat(level) for level in zip(*parts, strict=True))
        completed = torch.where(visible[:, None], images, self.decode(codes[0]))
        return Samples(images=completed, concept=torch.cat(sampled), codes=codes)

    def _between(
        self, start: int, end: int, share: float, generator: torch.Generator, temperature: float
    ) -> list[Tensor]:
        tables = self.tables()
        ends = tables.top[self._concepts(torch.tensor([start, end]))]
        root = sample_states(torch.lerp(ends[:1], ends[1:], share).log(), generator, temperature)
        return [*tables.tree.descend(root, generator, temperature=temperature), root[:, None, None]]

    @torch.no_grad()
    def cell_log_probs(
        self, z1: Codes, concept: int | Int64[Tensor, " n"], row: int, column: int
    ) -> Float[Tensor, "n states"]:
        """Return log p(z_1,ij = k | all other cells, concept) in nats, for the cell (i, j) and every code k.

        Raises RGMError for codes, concepts or cells that the model does not have.
        """
        self._check_codes(z1)
        self._check_cell(row, column)
        z1 = z1.to(self.device)
        concepts = self._concept_of_each(concept, len(z1))
        others = torch.ones_like(z1, dtype=torch.bool)
        others[:, row, column] = False
        place = row * self.grids[0][1] + column
        parts = []
        for chunk, keep, labels in self.chunks(z1, others, concepts):
            pairs = self.posterior(self._known(chunk, keep), labels)[2]
            parts.append(safe_log(pairs.marginals[0][place]).log_softmax(dim=1))
        return torch.cat(parts)
