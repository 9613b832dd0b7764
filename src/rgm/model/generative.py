"""The interface of every renormalizing generative model."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rgm.data.labels import whole_numbers
from rgm.distributions.noise import Source, bernoulli, fixed_bernoulli
from rgm.errors import RGMError
from rgm.model.likelihood import Bernoulli, Categorical, PixelConfig
from rgm.model.receptive import Box
from rgm.model.results import FreeEnergy, Inference, Samples, concatenate
from rgm.model.stored import StoredModel
from rgm.runtime.device import check_generator
from rgm.runtime.memory import affordable
from rgm.runtime.seeds import positive, whole

_CELL_IMAGES, _CELL_PIXELS = 64, 2**23
"""Images for which every code of a cell is decoded at once, at most, and the pixels of all these decoded images."""

Images = Float[Tensor, "n channels rows columns"]
Codes = Int64[Tensor, "n height width"]
Parents = Int64[Tensor, "n height_above width_above"]


class RGM(StoredModel):
    """Levels of categorical grids between an image and one concept, p(x, z) and q(z | x), the base of all models.

    Levels count from 1, the finest, to L, the concept; p(z_L) is uniform. Experiments, claims and the explorer use
    only this interface.
    """

    together_on_cpu: ClassVar[int] = 128
    """Images encoded or decoded at once on a processor: few enough for its caches."""

    # Bottom-up

    @torch.no_grad()
    def infer(self, images: Images, *, batch_size: int | None = None) -> Inference:
        """Return codes, concept and reconstruction of images in [0, 1], with the most probable codes at every level.

        Raises RGMError for images of another shape.
        """
        self._check_images(images)
        batches = images.split(self._together if batch_size is None else whole(batch_size, "the batch size"))
        return concatenate([self._infer(batch.to(self.device)) for batch in batches])

    @abstractmethod
    def _infer(self, images: Images) -> Inference: ...

    @torch.no_grad()
    def read(self, images: Images) -> list[Codes]:
        """Return the most probable codes of every level, the concept's last, without decoding them.

        Raises RGMError as `infer`.
        """
        self._check_images(images)
        return self._read(images.to(self.device))

    @abstractmethod
    def _read(self, images: Images) -> list[Codes]: ...

    @torch.no_grad()
    def infer_from_codes(self, z1: Codes) -> Inference:
        """Return `infer`'s result for given codes: the levels above inferred from them, and their reconstruction.

        Raises RGMError for a grid of another shape or codes out of range.
        """
        self._check_codes(z1)
        return self._infer_from_codes(z1.to(self.device))

    @abstractmethod
    def _infer_from_codes(self, z1: Codes) -> Inference: ...

    @torch.no_grad()
    def cell_logits(self, images: Images) -> Float[Tensor, "n states height width"]:
        """Return the logits of q(z_1 | x), each given the most probable codes before it; raise RGMError as `infer`."""
        self._check_images(images)
        return self._cell_logits(images.to(self.device))

    @abstractmethod
    def _cell_logits(self, images: Images) -> Tensor: ...

    # Top-down

    @torch.no_grad()
    def decode(self, z1: Codes, *, batch_size: int | None = None) -> Images:
        """Return the mean images of hard codes, in [0, 1]; raise RGMError for codes that the model does not have."""
        self._check_codes(z1)
        batches = z1.split(self._together if batch_size is None else whole(batch_size, "the batch size"))
        return torch.cat([self._decode(batch.to(self.device)) for batch in batches])

    @abstractmethod
    def _decode(self, z1: Codes) -> Images: ...

    @torch.no_grad()
    def decode_each_code(
        self, z1: Codes, row: int, column: int
    ) -> Iterator[Float[Tensor, "chunk states channels tall wide"]]:
        """Yield a cell's `decoder_field` decoded with every code in that cell, a chunk of images at a time.

        Raises RGMError for codes or cells that the model does not have.
        """
        self._check_codes(z1)
        self._check_cell(row, column)
        yield from self._decode_each_code(z1.to(self.device), row, column)

    def _decode_each_code(self, z1: Codes, row: int, column: int) -> Iterator[Tensor]:
        states, field = torch.arange(self.latent_dim, device=self.device), self.decoder_field(row, column)
        for chunk in z1.split(self._cell_batch(field)):
            codes = chunk.repeat_interleave(len(states), dim=0)
            codes[:, row, column] = states.repeat(len(chunk))
            decoded = [self._decode(part)[..., *field.slices] for part in codes.split(self._together)]
            yield torch.cat(decoded).unflatten(0, (len(chunk), len(states)))

    @torch.no_grad()
    def sample(
        self,
        concept: int | Int64[Tensor, " concepts"],
        count: int = 1,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Samples:
        """Return `count` ancestral samples of each concept, none rejected; raise RGMError for an unknown concept."""
        self._check_drawing(generator, temperature)
        number, known = whole(count, "the number of samples"), self._concepts(concept)
        affordable(number * len(known), self._sample_bytes, "samples")
        concepts = known.repeat_interleave(number)
        drawn = self._sample_below(concepts[:, None, None], self.depth, generator, temperature)
        return Samples(images=self.decode(drawn[0]), concept=concepts, codes=tuple(drawn))

    @torch.no_grad()
    def sample_below(
        self, z: Codes, level: int, *, generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> list[Tensor]:
        """Return codes of every level below z_ℓ, sampled top-down given it, finest first; levels count from 1.

        Raises RGMError for levels or codes that the model does not have.
        """
        self._check_codes(z, whole(level, "a level", 1, self.depth))
        self._check_drawing(generator, temperature)
        return self._sample_below(z.to(self.device), level, generator, temperature)

    @abstractmethod
    def _sample_below(
        self, z: Codes, level: int, generator: torch.Generator | None, temperature: float
    ) -> list[Tensor]: ...

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

        Codes outside `keep` are ignored. Raises RGMError for codes or concepts that the model does not have, or a mask
        of another shape than the grid.
        """
        self._check_codes(z1)
        self._check_keep(keep, z1)
        self._check_drawing(generator, temperature)
        z1, keep = z1.to(self.device), keep.to(self.device).expand_as(z1)
        concepts = self._concept_of_each(concept, len(z1))
        codes = self._complete(z1, keep, concepts, generator, temperature)
        return Samples(images=self.decode(codes[0]), concept=concepts, codes=tuple(codes))

    @abstractmethod
    def _complete(
        self, z1: Codes, keep: Tensor, concepts: Tensor, generator: torch.Generator | None, temperature: float
    ) -> list[Tensor]:
        """Return the codes of every level below the concept, finest first."""

    @torch.no_grad()
    def morph(
        self, start: int, end: int, count: int, *, generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> Samples:
        """Return `count` images from one concept to another, conditioned on mixtures of both from 1 : 0 to 0 : 1.

        All share the same noise, so that neighbours differ by the mixture alone. `concept` is the one with the larger
        share. Raises RGMError for concepts that the model does not have, or fewer than two images.
        """
        self._check_drawing(generator, temperature)
        affordable(whole(count, "the number of a morph's images", 2), self._sample_bytes, "images")
        count, start, end = int(count), *map(int, self._concepts([start, end]))
        if generator is None:
            generator = torch.Generator(self.device)
            generator.seed()
        shares = torch.linspace(0, 1, count).tolist()
        grids = [self._between(start, end, share, generator.clone_state(), temperature) for share in shares]
        codes = tuple(torch.cat(level) for level in zip(*grids, strict=True))
        concept = torch.where(torch.arange(count, device=self.device) * 2 < count, start, end)
        return Samples(images=self.decode(codes[0]), concept=concept, codes=codes)

    @abstractmethod
    def _between(
        self, start: int, end: int, share: float, generator: torch.Generator, temperature: float
    ) -> list[Tensor]:
        """Return codes of every level below the concept, given a mixture of two concepts, `share` of the end's."""

    @torch.no_grad()
    def cell_log_probs(
        self, z1: Codes, concept: int | Int64[Tensor, " n"], row: int, column: int
    ) -> Float[Tensor, "n states"]:
        """Return log p(z_1,ij = k | all other cells, parent) in nats, for the cell (i, j) and every code k.

        The parent is the concept or, in a deeper network, the grid inferred from `z1`. Raises RGMError for codes,
        concepts or cells that the model does not have.
        """
        self._check_codes(z1)
        self._check_cell(row, column)
        return self._cell_log_probs(z1.to(self.device), self._concept_of_each(concept, len(z1)), row, column)

    @abstractmethod
    def _cell_log_probs(self, z1: Codes, concepts: Tensor, row: int, column: int) -> Tensor: ...

    @torch.no_grad()
    def log_prob_given(self, level: int, child: Codes, parent: Parents) -> Float[Tensor, " n"]:
        """Return log p(z_ℓ | z_{ℓ+1}) in nats, for the codes of a level and of the level above.

        Raises RGMError for levels or codes that the model does not have.
        """
        self._check_codes(child, whole(level, "a level with another above", 1, self.depth - 1))
        self._check_codes(parent, level + 1)
        if len(parent) != len(child):
            raise RGMError(f"every grid has a parent: {len(child)} are needed, but got {len(parent)}")
        return self._log_prob_given(level, child.to(self.device), parent.to(self.device))

    @abstractmethod
    def _log_prob_given(self, level: int, child: Codes, parent: Parents) -> Tensor: ...

    # The bound

    @torch.no_grad()
    def free_energy(
        self, images: Images, labels: Int64[Tensor, " n"] | None = None, *, generator: torch.Generator | None = None
    ) -> FreeEnergy:
        """Return F(x) in nats per image, its codes sampled from q; with `labels`, a bound on −log p(x, y).

        Images are used as given: see `observe`.
        """
        self._check_images(images)
        self._check_drawing(generator)
        known = None if labels is None else self._labels(labels, len(images))
        return self._free_energy(images.to(self.device), known, generator)

    @abstractmethod
    def _free_energy(self, images: Images, labels: Tensor | None, generator: torch.Generator | None) -> FreeEnergy: ...

    @torch.no_grad()
    def log_weight(self, images: Images, *, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
        """Return log p(x, z) − log q(z | x) in nats, z_1 … z_{L−1} sampled from q and z_L summed out.

        Its exponential estimates p(x) without bias, but for concepts with a negligible share of q(z_L | ·), which a
        network leaves out: it is then slightly smaller.
        """
        self._check_images(images)
        self._check_drawing(generator)
        return self._log_weight(images.to(self.device), generator)

    @abstractmethod
    def _log_weight(self, images: Images, generator: torch.Generator | None) -> Tensor: ...

    def _cell_batch(self, field: Box) -> int:
        """Return how many images get every code of a cell at once, whose `decoder_field` is `field`."""
        decoded = self.latent_dim * self.config.image[0] * field.area
        return min(_CELL_IMAGES, max(1, _CELL_PIXELS // decoded))

    @property
    def _together(self) -> int:
        """Images encoded or decoded at once."""
        return self.together_on_cpu if self.device.type == "cpu" else 512

    @property
    def _sample_bytes(self) -> int:
        """Bytes of a sample, in parts and then put together: its image and its codes."""
        cells = sum(math.prod(level.grid) for level in self.config.levels)
        return 2 * (4 * math.prod(self.config.image) + 8 * cells)

    @property
    @abstractmethod
    def pixels(self) -> PixelConfig | Categorical | None:
        """The distribution of a pixel; None where the observations are symbols of the whole image."""

    def observe(self, images: Images, generator: Source = None) -> Images:
        """Return grey images as observations: unchanged, or binarised as `Bernoulli.binarise` says."""
        match self.pixels:
            case Bernoulli(binarise="dynamic"):
                return bernoulli(images, generator)
            case Bernoulli(binarise="fixed"):
                return fixed_bernoulli(images)
            case _:
                return images

    @property
    def is_density(self) -> bool:
        """Whether p(x | z_1) is a probability (or density) of what `observe` returns, rather than another loss."""
        return self.pixels is not None and self.pixels != Bernoulli(binarise="none")

    @property
    def pixels_kind(self) -> str:
        """The name of the distribution of a pixel: `gaussian`, `bernoulli`, `categorical`, or `ranked symbols`."""
        return "ranked symbols" if self.pixels is None else self.pixels.kind

    # Fields

    @property
    def cells(self) -> list[tuple[int, int]]:
        """Row and column of every cell of z_1, in raster order."""
        height, width = self.config.levels[0].grid
        return [divmod(cell, width) for cell in range(height * width)]

    def patch(self, row: int, column: int) -> Box:
        """Return a cell's own patch: the image divided evenly among the cells of z_1."""
        (_, rows, columns), (height, width) = self.config.image, self.config.levels[0].grid
        return Box.of(row, column, rows // height, columns // width)

    @abstractmethod
    def decoder_field(self, row: int, column: int) -> Box:
        """Return the pixels that a cell of z_1 can change."""

    @abstractmethod
    def encoder_field(self, row: int, column: int) -> Box:
        """Return the pixels that a cell's code can depend on."""

    # Checks of arguments

    def _check_images(self, images: Tensor) -> None:
        expected = self.config.image
        if not isinstance(images, Tensor) or not images.is_floating_point():
            kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
            hint = "divide bytes by 255" if isinstance(images, Tensor) else "torch.as_tensor converts arrays"
            hint = "images.float() converts them" if kind == torch.bool else hint
            raise RGMError(f"the model takes a tensor of floats in [0, 1], but got {kind}: {hint}")
        shape = tuple(images.shape)
        if shape[1:] != expected or shape[0] == 0:
            hint = "resize them, or use a model for that shape"
            if shape[1:] == (*expected[1:], expected[0]):
                hint = "channels come first, images.permute(0, 3, 1, 2)"
            elif shape == expected[1:] and expected[0] == 1:
                hint = "images[None, None] adds the axes that are missing"
            elif len(shape) == 4 and shape[0] == 0:
                hint = "give one image or more"
            elif shape[1:] == expected[1:] or shape == expected:
                hint = f"images[{'None' if shape == expected else ':, None'}] adds the axis that is missing"
            raise RGMError(
                f"the model takes images of shape (n, {', '.join(map(str, expected))}) with n ≥ 1, but got {shape}: "
                f"{hint}"
            )
        low, high = images.aminmax()
        if not (low >= 0 and high <= 1):
            raise RGMError(f"the model takes images in [0, 1], but these range over {float(low):g} … {float(high):g}")

    def _check_drawing(self, generator: torch.Generator | None, temperature: float = 1.0) -> None:
        positive(temperature, "a temperature")
        check_generator(generator, self.device)

    def _check_codes(self, codes: Tensor, level: int = 1) -> None:
        states, height, width = self.config.levels[level - 1].shape
        if not isinstance(codes, Tensor) or codes.dtype != torch.int64:
            kind = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
            hint = "codes.long() converts them" if isinstance(codes, Tensor) else "torch.as_tensor converts arrays"
            raise RGMError(f"z{level} must be a tensor of whole numbers, torch.int64, but is {kind}: {hint}")
        if codes.ndim != 3 or tuple(codes.shape[1:]) != (height, width) or len(codes) == 0:
            raise RGMError(f"z{level} must have shape (n, {height}, {width}) with n ≥ 1, but has {tuple(codes.shape)}")
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= states:
            raise RGMError(f"codes must lie in 0 … {states - 1}, but range over {low} … {high}")

    def _check_cell(self, row: int, column: int) -> None:
        height, width = self.config.levels[0].grid
        whole(row, f"the row of a cell in a grid of {height} × {width}", 0, height - 1)
        whole(column, f"the column of a cell in a grid of {height} × {width}", 0, width - 1)

    def _check_keep(self, keep: Tensor, z1: Tensor) -> None:
        if not isinstance(keep, Tensor):
            raise RGMError(f"keep must be a tensor, torch.bool, but is {type(keep).__name__}")
        if keep.dtype != torch.bool or keep.shape[1:] != z1.shape[1:] or len(keep) not in (1, len(z1)):
            raise RGMError(
                f"keep must be a mask of shape {tuple(z1.shape)} (or one for all, (1, …)), true where a cell is kept, "
                f"but is {keep.dtype} of shape {tuple(keep.shape)}"
            )

    def _labels(self, labels: Tensor, count: int) -> Int64[Tensor, " n"]:
        known = self._concepts(labels)
        if len(known) != count:
            raise RGMError(f"a label is needed for each of {count} images, but got {len(known)}")
        return known

    def _concepts(self, concept: int | list[int] | Tensor) -> Int64[Tensor, " n"]:
        try:
            concepts = torch.as_tensor(concept, device=self.device).reshape(-1)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            concepts = torch.empty(0)
        if not len(concepts) or concepts.is_complex():
            given = f"{concept.dtype} of shape {tuple(concept.shape)}" if isinstance(concept, Tensor) else repr(concept)
            raise RGMError(f"concepts are whole numbers, one or more, but got {' '.join(given.split())}")
        concepts = whole_numbers(concepts, "concepts") if concepts.is_floating_point() else concepts.long()
        low, high = int(concepts.min()), int(concepts.max())
        if low < 0 or high >= self.num_classes:
            raise RGMError(
                f"the model's concepts are 0 … {self.num_classes - 1}, but {low if low < 0 else high} was requested"
            )
        return concepts

    def _concept_of_each(self, concept: int | Tensor, count: int) -> Int64[Tensor, " n"]:
        concepts = self._concepts(concept)
        if len(concepts) not in (1, count):
            raise RGMError(f"a concept is needed for each of {count} grids, or one for all, but got {len(concepts)}")
        return concepts.expand(count)
