"""What the page asks of a model, as plain data in and out."""

import base64
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.experiments.abstraction import painted_codes
from rgm.explorer.drawing import as_digit, decoded
from rgm.model.receptive import painted_by, patch
from rgm.model.spatial import SpatialRGM

MOST_SAMPLES = 64
Number = Annotated[int, Field(ge=0, lt=2**31)]
Grid = list[list[Number]]


class Request(BaseModel):
    """What a request may hold; what is unknown is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Drawing(Request):
    """Grey values of a drawing, row by row, 0 to 255, bright on dark."""

    rows: Annotated[int, Field(ge=8, le=512)]
    columns: Annotated[int, Field(ge=8, le=512)]
    pixels: Annotated[str, Field(max_length=400_000)]


class Codes(Request):
    """A grid of codes."""

    z1: Grid


class Cell(Request):
    """A grid of codes, its concept, and one of its cells."""

    z1: Grid
    concept: Number
    cell: tuple[Number, Number]


class Draw(Request):
    """A concept to draw samples of."""

    concept: Number
    count: Annotated[int, Field(ge=1, le=MOST_SAMPLES)] = 1
    seed: Number = 0
    temperature: Annotated[float, Field(gt=0, le=4)] = 1.0


class Complete(Request):
    """A grid of codes of which some cells, `drawn`, are drawn anew given the others and a concept."""

    z1: Grid
    concept: Number
    drawn: Annotated[list[tuple[Number, Number]], Field(min_length=1)]
    seed: Number = 0


class Pick(Request):
    """A test image by its place."""

    index: Number


@dataclass(frozen=True)
class Explorer:
    """A model, and test images to start from where there are any."""

    model: SpatialRGM
    classes: tuple[str, ...]
    name: str
    test: ImageSet | None = None

    def about(self) -> dict[str, Any]:
        """Return what the page is built from: sizes, names, fields of all cells, and what each code paints."""
        model = self.model
        height, width = model.config.levels[0].grid
        cells = [(row, column) for row in range(height) for column in range(width)]
        own = patch(model, height // 2, width // 2)
        fields = [painted_by(model, *cell) for cell in cells]
        return {
            "name": self.name,
            "image": list(model.config.image),
            "grid": [height, width],
            "states": model.latent_dim,
            "classes": list(self.classes),
            "patch": [own.bottom - own.top, own.right - own.left],
            "fields": [[box.top, box.left, box.bottom, box.right] for box in fields],
            "codes": [_bytes(image) for image in painted_codes(model)],
            "test_images": 0 if self.test is None else len(self.test),
        }

    def draw(self, request: Drawing) -> dict[str, Any]:
        """Read a drawing."""
        raw = _raw(request.pixels)
        if len(raw) != request.rows * request.columns:
            raise RGMError(
                f"a drawing of {request.rows} × {request.columns} has {request.rows * request.columns} bytes, "
                f"but {len(raw)} came"
            )
        grey = np.frombuffer(raw, dtype=np.uint8).reshape(request.rows, request.columns)
        return self._read(as_digit(grey.astype(np.float32) / np.float32(255), self.model.config.image[1:]))

    def upload(self, content: bytes) -> dict[str, Any]:
        """Read an uploaded picture."""
        return self._read(as_digit(decoded(content), self.model.config.image[1:]))

    def pick(self, request: Pick) -> dict[str, Any]:
        """Read a test image; places count on from the first again after the last."""
        if self.test is None:
            raise RGMError("there are no test images at hand: draw one, or start from a sample")
        return self._read(to_unit(self.test.images[request.index % len(self.test)]))

    def paint(self, request: Codes) -> dict[str, Any]:
        """Paint codes."""
        z1 = self._codes(request.z1)
        return {"painted": _bytes(self.model.decode(z1)[0]), "concept": self._concept(z1)}

    def palette(self, request: Cell) -> dict[str, Any]:
        """Return the codes of a cell in the order of the prior's probability given all other cells and the concept."""
        (row, column), z1 = self._cell(request.cell), self._codes(request.z1)
        chances = self.model.cell_log_probs(z1, request.concept, row, column)[0].exp().cpu()
        order = chances.argsort(descending=True, stable=True)
        return {"codes": order.tolist(), "probabilities": _shares(chances[order])}

    def sample(self, request: Draw) -> dict[str, Any]:
        """Draw samples of a concept."""
        generator = torch.Generator(self.model.device).manual_seed(request.seed)
        drawn = self.model.sample(
            request.concept, request.count, generator=generator, temperature=request.temperature
        )
        return {"z1": drawn.z1.tolist(), "painted": [_bytes(image) for image in drawn.images]}

    def complete(self, request: Complete) -> dict[str, Any]:
        """Draw some cells anew, given the others and a concept."""
        z1 = self._codes(request.z1)
        keep = torch.ones_like(z1, dtype=torch.bool)
        for cell in request.drawn:
            keep[0, *self._cell(cell)] = False
        generator = torch.Generator(self.model.device).manual_seed(request.seed)
        done = self.model.complete(z1, keep, request.concept, generator=generator)
        return {
            "z1": done.z1[0].tolist(),
            "painted": _bytes(done.images[0]),
            "concept": self._concept(done.z1),
        }

    def _read(self, image: Float[Tensor, "channels rows columns"]) -> dict[str, Any]:
        shaped = image.expand(self.model.config.image)
        read = self.model.infer(shaped[None])
        return {
            "image": _bytes(shaped),
            "z1": read.z1[0].tolist(),
            "concept": _shares(read.concept[0]),
            "painted": _bytes(read.reconstruction[0]),
        }

    def _concept(self, z1: Tensor) -> list[float]:
        """Return the concept's probabilities as recognition reads them from codes."""
        return _shares(self.model.concept_of(z1)[0])

    def _codes(self, z1: Grid) -> Tensor:
        """Return codes as a batch of one, where the model is; raise RGMError where they are no grid of its size."""
        height, width = self.model.config.levels[0].grid
        if len(z1) != height or any(len(row) != width for row in z1):
            raise RGMError(f"codes come as {height} rows of {width}")
        return torch.tensor(z1, dtype=torch.int64, device=self.model.device)[None]

    def _cell(self, cell: tuple[int, int]) -> tuple[int, int]:
        """Return a cell; raise RGMError where the grid has none there."""
        height, width = self.model.config.levels[0].grid
        if not (cell[0] < height and cell[1] < width):
            raise RGMError(f"cells lie in a grid of {height} × {width}, but {cell} was asked for")
        return cell


def _shares(probabilities: Float[Tensor, " classes"]) -> list[float]:
    return [round(float(share), 6) for share in probabilities]


def _bytes(image: Float[Tensor, "channels rows columns"]) -> str:
    """Return an image's pixels, row by row and channels last, as base64."""
    pixels = (image.cpu().clamp(0, 1).permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous()
    return base64.b64encode(pixels.numpy().tobytes()).decode()


def _raw(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise RGMError("pixels come as base64") from None
