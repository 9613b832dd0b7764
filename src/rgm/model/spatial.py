"""SpatialRGM: a deep generative model with discrete, spatial and hierarchical latents."""

from collections.abc import Iterator
from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.distributions.categorical import CategoricalField
from rgm.distributions.noise import Source, seeded
from rgm.model import config as configuration
from rgm.model.config import ModelConfig
from rgm.model.estimator import REACH, AutoregressiveHead
from rgm.model.free_energy import VariationalBound
from rgm.model.generative import Codes, Images, Parents
from rgm.model.notebook import NotebookNames
from rgm.model.receptive import Box, needed, reached
from rgm.model.recognition import Relaxed, Shape
from rgm.model.results import Inference
from rgm.runtime.seeds import as_seed


class SpatialRGM(VariationalBound, NotebookNames):
    """Levels of categorical grids between an image and one concept.

    generative   p(x, z) = p(z_L) · Π_{ℓ<L} p(z_ℓ | z_{ℓ+1}) · p(x | z_1)
    recognition  q(z | x) = q(z_1 | x) · Π_{ℓ<L} q(z_{ℓ+1} | z_ℓ)

    p(z_L) is uniform. `SpatialRGM(latent_dim, num_classes)` is the notebook's two-level network, with the notebook's
    names (`enc1`, `z1_proj`, `enc2`, `dec2`, `dec1`, `reparameterize_gumbel`); `from_preset` and `from_config` build
    the others.
    """

    preset: str = ""
    """The preset that the model is an untrained one of, whose recipe `rgm.fit` takes; else empty."""

    @classmethod
    def from_config(cls, config: ModelConfig) -> "SpatialRGM":
        """Return an untrained model of a configuration."""
        return cls(config=config)

    @classmethod
    def from_preset(
        cls, name: str, *, image: Shape = (1, 28, 28), classes: int = 10, seed: int | None = None
    ) -> "SpatialRGM":
        """Return an untrained model of a named preset for images of (channels, height, width).

        `seed` determines its initial weights; without one they are of PyTorch's global generator.
        """
        config = configuration.preset(name, image, classes)
        with nullcontext() if seed is None else seeded(as_seed(seed)):
            model = cls(config=config)
        model.preset = name
        return model

    # Bottom-up

    def relax(self, images: Images, generator: Source = None, *, top: int | None = None) -> list[Relaxed]:
        """Return every level's field with a sample that carries gradient, from z_1 to z_`top`; for training."""
        below, levels = images, []
        for level in range(1, (top or self.depth) + 1):
            recognition = self.recognition(level)
            levels.append(recognition.relax(below, generator))
            below = recognition.read(levels[-1].sample)
        return levels

    def _infer(self, images: Images) -> Inference:
        first, *above = self._fields(images)
        return self._inference(first.mode(), above)

    def _inference(self, z1: Codes, above: list[CategoricalField]) -> Inference:
        """Return the result for codes and the fields of the levels above."""
        *grids, concept = above
        return Inference(
            codes=(z1, *(field.mode() for field in grids)),
            concept=concept.probs().flatten(1),
            reconstruction=self._decode(z1),
        )

    def _fields(self, images: Images) -> list[CategoricalField]:
        """Return every level's q(z_ℓ | z_{ℓ−1}) given the most probable codes of the level below."""
        first = self.recognition(1).field(images.to(self.dtype))
        return [first, *self._fields_above(first.mode(), self.depth)]

    def _fields_above(self, z1: Codes, top: int) -> list[CategoricalField]:
        """Return q(z_ℓ | z_{ℓ−1}) for ℓ = 2 … `top`, given the most probable codes of the level below."""
        codes, fields = z1, []
        for level in range(2, top + 1):
            fields.append(self.recognition(level).field(self._embed(codes, level - 1)))
            codes = fields[-1].mode()
        return fields

    def _read(self, images: Images) -> list[Codes]:
        parts = [[field.mode() for field in self._fields(part)] for part in images.split(self._together)]
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    @torch.no_grad()
    def read_grids(self, images: Images) -> list[Codes]:
        """Return the most probable codes of every grid, as `read` does, without the concept."""
        self._check_images(images)
        z1 = self.recognition(1).field(images.to(self.dtype)).mode()
        return [z1, *(field.mode() for field in self._fields_above(z1, self.depth - 1))]

    def _infer_from_codes(self, z1: Codes) -> Inference:
        return self._inference(z1, self._fields_above(z1, self.depth))

    def _cell_logits(self, images: Images) -> Tensor:
        return torch.cat(
            [self.recognition(1).field(chunk.to(self.dtype)).logits for chunk in images.split(self._together)]
        )

    # Top-down

    def _decode(self, z1: Codes) -> Images:
        return self.likelihood.mean(self._embed(z1, 1))

    def mean_image(self, z1: Float[Tensor, "n states height width"]) -> Images:
        """Return the mean of p(x | z_1) for one-hot or relaxed codes."""
        return self.likelihood.mean(self.recognition(1).read(z1))

    def forward(self, images: Images) -> Images:
        """Return the reconstruction, from relaxed codes in training, hard ones otherwise, as in the notebook."""
        return self.mean_image(self.relax(images)[0].sample)

    def _decode_each_code(self, z1: Codes, row: int, column: int) -> Iterator[Tensor]:
        """Decode from the `cells_that_reach` the field alone."""
        field = self.decoder_field(row, column)
        cells, grid = self.cells_that_reach(field), self.config.levels[0].grid
        states = torch.arange(self.latent_dim, device=self.device)
        embedded = self._embed(states[:, None, None], 1)[:, :, 0, 0]
        for chunk in z1[:, *cells.slices].split(self._cell_batch(field)):
            around = self._embed(chunk, 1).repeat_interleave(len(states), dim=0)
            around[:, :, row - cells.top, column - cells.left] = embedded.repeat(len(chunk), 1)
            parts = [self.likelihood.mean_of(field, part, cells, grid) for part in around.split(self._together)]
            yield torch.cat(parts).unflatten(0, (len(chunk), len(states)))

    def _sample_below(
        self, z: Codes, level: int, generator: torch.Generator | None, temperature: float
    ) -> list[Tensor]:
        drawn: list[Tensor] = []
        for below in range(level - 1, 0, -1):
            z = self.prior(below).sample(self._embed(z, below + 1), generator, temperature=temperature)
            drawn.insert(0, z)
        return drawn

    def _complete(
        self, z1: Codes, keep: Tensor, concepts: Tensor, generator: torch.Generator | None, temperature: float
    ) -> list[Tensor]:
        # A cell of a grid between z_1 and the concept keeps its inferred code where all cells that it depends on are
        # kept, and is resampled elsewhere.
        codes = [z1, *(field.mode() for field in self._fields_above(z1, self.depth - 1))]
        kept = [keep]
        for level in range(2, self.depth):
            kept.append(~self.recognition(level).unsure(~kept[-1]))
        drawn: list[Tensor] = []
        parent = self._embed(concepts[:, None, None], self.depth)
        for level in range(self.depth - 1, 0, -1):
            below = level - 1
            z = self.prior(level).complete(codes[below], kept[below], parent, generator, temperature=temperature)
            drawn.insert(0, z)
            parent = self._embed(z, level)
        return drawn

    def _between(
        self, start: int, end: int, share: float, generator: torch.Generator, temperature: float
    ) -> list[Tensor]:
        ends = self._embed(self._concepts(torch.tensor([start, end]))[:, None, None], self.depth)
        parent = torch.lerp(ends[:1], ends[1:], share)
        top = self.prior(self.depth - 1).sample(parent, generator, temperature=temperature)
        return [*self._sample_below(top, self.depth - 1, generator, temperature), top]

    def _cell_log_probs(self, z1: Codes, concepts: Tensor, row: int, column: int) -> Tensor:
        parent = self._fields_above(z1, 2)[0].mode() if self.depth > 2 else concepts[:, None, None]
        return self.prior(1).cell_log_probs(self._one_hot(z1, 1), self._embed(parent, 2), row, column)

    def _log_prob_given(self, level: int, child: Codes, parent: Parents) -> Tensor:
        return self.prior(level).log_prob(self._one_hot(child, level), self._embed(parent, level + 1))

    # Fields

    def decoder_field(self, row: int, column: int) -> Box:
        """Return the pixels that a cell of z_1 can change, from the decoder's architecture."""
        return reached(self.likelihood.net, Box.of(row, column), self.config.image[1:])

    def cells_that_reach(self, pixels: Box) -> Box:
        """Return the cells of z_1, as rows and columns of the grid, that decoded pixels can depend on."""
        return needed(self.likelihood.net, pixels, self.config.levels[0].grid)

    def encoder_field(self, row: int, column: int) -> Box:
        """Return the pixels that a cell's code can depend on: the recognition's receptive field."""
        recognition, cells = self.recognition(1), Box.of(row, column)
        if isinstance(recognition.head, AutoregressiveHead):  # and so on the pixels of the cells before it
            right = min(column + 1 + REACH * row, self.config.levels[0].grid[1])
            cells = Box(top=0, bottom=row + 1, left=0, right=right)
        return needed(recognition.features, cells, self.config.image[1:])
