"""What the page asks of a model, as plain data in and out."""

import base64
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rgm.categorical import one_hot
from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.explorer.drawing import as_digit, decoded
from rgm.model.receptive import painted_by, patch
from rgm.model.spatial import SpatialRGM

MOST_SAMPLES = 64
Grid = list[list[int]]
Number = Annotated[int, Field(ge=0, lt=2**31)]


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
        everywhere = torch.arange(model.latent_dim)[:, None, None].expand(-1, height, width)
        painted = model.decode(everywhere)[..., *own.slices].cpu()
        fields = [painted_by(model, *cell) for cell in cells]
        return {
            "name": self.name,
            "image": list(model.config.image),
            "grid": [height, width],
            "states": model.latent_dim,
            "classes": list(self.classes),
            "patch": [own.bottom - own.top, own.right - own.left],
            "fields": [[box.top, box.left, box.bottom, box.right] for box in fields],
            "codes": [_bytes(image) for image in painted],
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
        z1 = self._grid(request.z1)
        return {"painted": _bytes(self.model.decode(z1)[0]), "concept": self._concept(z1)}

    @torch.no_grad()
    def palette(self, request: Cell) -> dict[str, Any]:
        """Return the codes of a cell in the order of the prior's probability given all other cells and the concept."""
        model, (row, column) = self.model, request.cell
        height, width = model.config.levels[0].grid
        if not (row < height and column < width):
            raise RGMError(f"cells lie in a grid of {height} × {width}, but ({row}, {column}) was asked for")
        z1 = self._grid(request.z1)
        parent = self._parent(z1, request.concept)
        told = model.prior(1).cell_log_probs(one_hot(z1, model.latent_dim), parent)
        chances = told[0, :, row, column].exp().cpu()
        order = chances.argsort(descending=True, stable=True)
        return {"codes": order.tolist(), "probabilities": [round(float(p), 6) for p in chances[order]]}

    def sample(self, request: Draw) -> dict[str, Any]:
        """Draw samples of a concept."""
        generator = torch.Generator(self.model.device).manual_seed(request.seed)
        drawn = self.model.sample(
            request.concept, request.count, generator=generator, temperature=request.temperature
        )
        return {"z1": drawn.z1.tolist(), "painted": [_bytes(image) for image in drawn.images]}

    def complete(self, request: Complete) -> dict[str, Any]:
        """Draw some cells anew, given the others and a concept."""
        z1 = self._grid(request.z1)
        keep = torch.ones_like(z1, dtype=torch.bool)
        height, width = z1.shape[1:]
        for row, column in request.drawn:
            if not (row < height and column < width):
                raise RGMError(
                    f"cells lie in a grid of {height} × {width}, but ({row}, {column}) was asked for"
                )
            keep[0, row, column] = False
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
            "concept": [round(float(p), 6) for p in read.concept[0]],
            "painted": _bytes(read.reconstruction[0]),
        }

    @torch.no_grad()
    def _concept(self, z1: Tensor) -> list[float]:
        """Return what recognition reads from codes: the concept's probabilities."""
        below = self._told(z1, 1)
        for level in range(2, self.model.depth):
            below = self._told(self.model.recognition(level).field(below).mode(), level)
        probabilities = self.model.recognition(self.model.depth).field(below).probs()
        return [round(float(p), 6) for p in probabilities.flatten()]

    def _parent(self, z1: Tensor, concept: int) -> Tensor:
        """Return what the prior of z_1 is told: the concept, or the grid above as it is read from the codes."""
        model = self.model
        if model.depth > 2:
            return self._told(model.recognition(2).field(self._told(z1, 1)).mode(), 2)
        if concept >= model.num_classes:
            raise RGMError(f"the concepts are 0 … {model.num_classes - 1}, but {concept} was asked for")
        return self._told(torch.full((1, 1, 1), concept, device=model.device), 2)

    def _told(self, codes: Tensor, level: int) -> Tensor:
        """Return what the levels around it read of a level's codes."""
        return self.model.recognition(level).read(one_hot(codes, self.model.config.levels[level - 1].states))

    def _grid(self, z1: Grid) -> Tensor:
        """Return codes as a batch of one; raise RGMError where they are no grid of the model's codes."""
        height, width = self.model.config.levels[0].grid
        if len(z1) != height or any(len(row) != width for row in z1):
            raise RGMError(f"codes come as {height} rows of {width}")
        codes = torch.tensor(z1, dtype=torch.int64)
        if int(codes.min()) < 0 or int(codes.max()) >= self.model.latent_dim:
            raise RGMError(f"codes lie in 0 … {self.model.latent_dim - 1}")
        return codes[None].to(self.model.device)


def _bytes(image: Float[Tensor, "channels rows columns"]) -> str:
    """Return an image's pixels, row by row and channels last, as base64."""
    pixels = (image.cpu().clamp(0, 1).permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous()
    return base64.b64encode(pixels.numpy().tobytes()).decode()


def _raw(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise RGMError("pixels come as base64") from None
