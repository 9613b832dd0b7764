"""The requests of the page to a model of images, with plain data as input and output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.evaluation.abstraction import decoded_codes
from rgm.explorer.base import SHARED, Answer, Number, Request, as_bytes, as_text
from rgm.model.generative import RGM
from rgm.model.results import Inference, Samples

MOST_SAMPLES = 64
FILES = (*SHARED, "index.html", "app.js", "share.js", "strokes.js", "words.js")
"""The page's files except `engine.js`, which runs the model: over HTTP, or in the browser with ONNX Runtime Web."""
Temperature = Annotated[float, Field(gt=0, le=4)]
Grid = list[list[Number]]


class EncodeRequest(Request):
    """An image of the model's shape: its bytes, row by row and channels last, as base64."""

    pixels: Annotated[str, Field(max_length=400_000)]


class DecodeRequest(Request):
    """A grid of codes."""

    z1: Grid


class PaletteRequest(Request):
    """A grid of codes, its concept, and one of its cells."""

    z1: Grid
    concept: Number
    cell: tuple[Number, Number]


class SamplingRequest(Request):
    """The base of requests that sample."""

    seed: Number = 0
    temperature: Temperature = 1.0


class SampleRequest(SamplingRequest):
    """A concept, and how many samples of it to draw."""

    concept: Number
    count: Annotated[int, Field(ge=1, le=MOST_SAMPLES)] = 1


class MorphRequest(SamplingRequest):
    """Two concepts, and the number of images of the interpolation."""

    start: Number
    end: Number
    count: Annotated[int, Field(ge=2, le=MOST_SAMPLES)] = 11


class CompleteRequest(SamplingRequest):
    """A grid of codes whose cells `resampled` are resampled, conditioned on the others and a concept."""

    z1: Grid
    concept: Number
    resampled: Annotated[list[tuple[Number, Number]], Field(min_length=1)]


class TestImageRequest(Request):
    """The index of a test image."""

    index: Number


EMPTY = 0.02
"""Images whose borders are darker than this on average are taken for drawings on an empty ground."""


@dataclass(frozen=True)
class Explorer:
    """A model, its measures, and optionally test images.

    `measured` holds, for each claim that was tested, the estimates of its measures by name.
    """

    model: RGM
    classes: tuple[str, ...]
    name: str
    test: ImageSet | None = None
    measured: dict[str, dict[str, float]] = field(default_factory=dict)
    files: ClassVar[Mapping[str, str]] = {
        "": "index.html",
        "engine.js": "engine-http.js",
        "http.js": "http.js",
        **{name: name for name in FILES},
    }
    largest: ClassVar[int] = 600_000

    def requests(self) -> Mapping[str, Callable[[Any], Answer]]:
        """Return the methods that answer requests, by name."""
        return {
            "encode": self.encode,
            "test-image": self.test_image,
            "decode": self.decode,
            "palette": self.palette,
            "sample": self.sample,
            "morph": self.morph,
            "complete": self.complete,
        }

    def about(self) -> Answer:
        """Return a description of the model: sizes, names, receptive fields of cells and decoded patches of codes."""
        model = self.model
        height, width = model.config.levels[0].grid
        own = model.patch(height // 2, width // 2)
        fields = [model.decoder_field(*cell) for cell in model.cells]
        return {
            "name": self.name,
            "image": list(model.config.image),
            "grid": [height, width],
            "states": model.latent_dim,
            "levels": [{"grid": list(level.grid), "states": level.states} for level in model.config.levels],
            "classes": list(self.classes),
            "patch": [own.bottom - own.top, own.right - own.left],
            "fields": [[box.top, box.left, box.bottom, box.right] for box in fields],
            "codes": [as_text(image) for image in decoded_codes(model)],
            "test_images": 0 if self.test is None else len(self.test),
            "drawings": self._drawings(),
            "measured": self.measured,
        }

    def _drawings(self) -> bool:
        """Return whether images are bright on an empty ground, as digits are: grey, with nothing at their borders."""
        if self.model.config.image[0] != 1:
            return False
        if self.test is not None:
            some = to_unit(self.test.images[:200])
        else:
            concepts = torch.arange(self.model.num_classes, device=self.model.device)
            generator = torch.Generator(self.model.device).manual_seed(0)
            some = self.model.sample(concepts, 2, generator=generator).images
        inside = some[..., 1:-1, 1:-1]
        border = (some.sum() - inside.sum()) / (some.numel() - inside.numel())
        return float(border) < EMPTY

    def encode(self, request: EncodeRequest) -> Answer:
        """Encode an image."""
        return _encoded(self.model.infer(self.image(request.pixels)))

    def test_image(self, request: TestImageRequest) -> Answer:
        """Encode a test image; the index is taken modulo the number of images."""
        if self.test is None:
            raise RGMError("there are no test images: draw one, or start from a sample")
        place = request.index % len(self.test)
        image = to_unit(self.test.images[place : place + 1])
        return {"image": as_text(image[0]), **_encoded(self.model.infer(image))}

    def decode(self, request: DecodeRequest) -> Answer:
        """Decode codes to an image, and infer the higher levels from them."""
        return _encoded(self.model.infer_from_codes(self._codes(request.z1)))

    def palette(self, request: PaletteRequest) -> Answer:
        """Return the codes of a cell, the most probable first, given all other cells and the concept."""
        z1 = self._codes(request.z1)
        chances = self.model.cell_log_probs(z1, request.concept, *request.cell)[0].exp().cpu()
        order = chances.argsort(descending=True, stable=True)
        return {"codes": order.tolist(), "probabilities": rounded(chances[order])}

    def sample(self, request: SampleRequest) -> Answer:
        """Draw samples of a concept."""
        return _samples(self.model.sample(request.concept, request.count, **self._randomness(request)))

    def morph(self, request: MorphRequest) -> Answer:
        """Sample images that interpolate between two concepts."""
        return _samples(self.model.morph(request.start, request.end, request.count, **self._randomness(request)))

    def complete(self, request: CompleteRequest) -> Answer:
        """Resample some cells, conditioned on the others and a concept."""
        z1 = self._codes(request.z1)
        keep = torch.ones_like(z1, dtype=torch.bool)
        height, width = self.model.config.levels[0].grid
        for row, column in request.resampled:
            if not (row < height and column < width):
                raise RGMError(f"the grid has {height} × {width} cells, but cell ({row}, {column}) was requested")
            keep[0, row, column] = False
        done = self.model.complete(z1, keep, request.concept, **self._randomness(request))
        return _encoded(self.model.infer_from_codes(done.z1))

    def image(self, text: str) -> Float[Tensor, "1 channels rows columns"]:
        """Return the image of a request as a batch of one; raise RGMError for another number of bytes."""
        raw, (channels, rows, columns) = as_bytes(text), self.model.config.image
        if len(raw) != channels * rows * columns:
            raise RGMError(
                f"an image has {rows} × {columns} pixels of {channels} bytes, {channels * rows * columns} in all, "
                f"but this one has {len(raw)}"
            )
        pixels = torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(rows, columns, channels)
        return to_unit(pixels.permute(2, 0, 1)[None])

    def _randomness(self, request: SamplingRequest) -> dict[str, Any]:
        generator = torch.Generator(self.model.device).manual_seed(request.seed)
        return {"generator": generator, "temperature": request.temperature}

    def _codes(self, z1: Grid) -> Tensor:
        """Return codes as a batch of one on the model's device; raise RGMError if the grid has another size."""
        height, width = self.model.config.levels[0].grid
        if len(z1) != height or any(len(row) != width for row in z1):
            raise RGMError(f"expected codes as {height} rows of {width}")
        return torch.tensor(z1, dtype=torch.int64, device=self.model.device)[None]


def _encoded(inference: Inference) -> Answer:
    """Return the codes, the higher grids, the concept's probabilities and the reconstruction of one image."""
    z1, *above = (codes[0].tolist() for codes in inference.codes)
    return {
        "z1": z1,
        "above": above,
        "concept": rounded(inference.concept[0]),
        "reconstruction": as_text(inference.reconstruction[0]),
    }


def _samples(samples: Samples) -> Answer:
    return {"z1": samples.z1.tolist(), "images": [as_text(image) for image in samples.images]}


def rounded(probabilities: Float[Tensor, " classes"]) -> list[float]:
    """Return probabilities to six places."""
    return [round(float(share), 6) for share in probabilities]
