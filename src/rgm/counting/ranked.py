"""Ranked pixels and their patches: the closed-form model's symbols of images, and their decoding."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from rgm.errors import RGMError
from rgm.model.receptive import Box
from rgm.runtime.device import shapes_alone

SIDE, PIXELS = 32, 1024
"""Rows (and columns) and pixels of the ranked image."""
STRIDE, TILES = 4, 8
"""Ranked pixels between tiles, each centred in its own block of so many, and tiles along a side."""
RADIUS, WINDOW, MARGIN = 8, 16, 6
"""Radius and side of a tile's window, and how far windows reach beyond the image, in ranked pixels."""
MODES, LEVELS = 16, 7
"""Most singular vectors that a tile keeps, and levels of a variate."""
THRESHOLD = 1 / 24
"""A tile keeps the singular vectors with λ_i · columns / Σλ above this, with λ the eigenvalues of the Gram matrix.

It is the paper's 1/8 divided by three, since its authors copy grey to three channels and so count three times the
columns. Measured on the first 10,000 MNIST images, of 16 · 64 = 1,024 variates remain 1,024 at 1/24 and 973 at 1/8,
where the paper reports about 1,020; were λ the singular values themselves, even 1/8 would pass 3,739 modes, and only
the limit of 16 would apply.
"""
GREY = 255.0
"""The ranked value of an image's brightest pixel."""
WIDTH = 24.0
"""How slowly the ranked value falls with the rank: 255·exp(−(i − n)² / (24 n))."""
SIGMA = 0.849
"""The blur's standard deviation in ranked pixels: two pixels full width at half maximum."""
REACH = 4
"""Radius of the blur in ranked pixels."""
GRAIN = 255 * 256
"""Grey levels that ranking distinguishes, 256 per byte level: finer ones would depend on rounding."""
BATCH = 256
"""Images processed at once, so that memory is bounded."""
CUBIC = 2
"""Radius of bicubic resizing, in pixels of the coarser grid."""

Images = Float[Tensor, "n channels rows columns"]
Ranked = Float[Tensor, "n 32 32"]


def rank(images: Images) -> Ranked:
    """Return images of [0, 1] as ranked pixels: grey, 32 × 32, blurred, and equalised to one fixed histogram.

    The i-th darkest of n = 1,024 pixels, i = 1 … n, becomes 255·exp(−(i − n)² / (24 n)); ties, all of a black
    background, are broken by pixel order. Grey is the mean over channels; resizing is bicubic, antialiased where it
    shrinks, and clamped to [0, 1]; the blur is Gaussian, σ = 0.849 pixels, mirrored at the edges.
    """
    return torch.cat([_placed(_order(_grey(batch))) for batch in images.split(BATCH)])


class RankedPatches(nn.Module):
    """Images as an 8 × 8 grid of tiles, each of 16 variates with 7 levels, and their decoding.

    A tile weighs a ranked pixel at distance d ≤ 8 from its centre with w ∝ exp(−d²/8), Σ_tiles w = 1 at each pixel. Its
    variates are u = (w · x) V, where V holds the leading right singular vectors of the images × pixels matrix of
    w · x over the fitting images, not centred. A symbol is the nearest of linspace(−max|u|, max|u|, 7), max|u| taken
    over the fitting images. Since V is orthonormal and the weights sum to one, Σ_tiles V u is the ranked image as far
    as the kept vectors span it.

    Before `fit` every buffer is zero and no variate exists. Buffers: `basis` (tiles, tiles, modes, window), V over the
    square window around each tile; `largest` (tiles, tiles, modes), max|u|; `greys` (1024), the mean grey of each rank
    before the blur, made monotone.
    """

    basis: Tensor
    largest: Tensor
    greys: Tensor
    weights: Tensor

    def __init__(self, image: tuple[int, int, int]) -> None:
        super().__init__()
        self.image = image
        variates = (TILES, TILES, MODES)
        self.register_buffer("basis", torch.zeros(*variates, WINDOW**2))
        self.register_buffer("largest", torch.zeros(variates))
        self.register_buffer("greys", torch.zeros(PIXELS))
        self.register_buffer("weights", _weights(), persistent=False)

    @property
    def exists(self) -> Bool[Tensor, "tile_rows tile_columns modes"]:
        """Which variates are kept; the others are always zero, and their symbol is the middle one."""
        return self.largest > 0

    @property
    def values(self) -> Float[Tensor, "tile_rows tile_columns modes levels"]:
        """The variate u of each level."""
        middle = (LEVELS - 1) / 2
        steps = torch.arange(LEVELS, device=self.largest.device) - middle  # exactly symmetric
        return self.largest[..., None] * (steps / middle)

    @torch.no_grad()
    def fit(self, images: Images) -> "RankedPatches":
        """Fit the singular vectors, the variates' levels and the greys of ranks, in two passes over the images.

        Memory is independent of the number of images. Each singular vector's largest component is positive. Raises
        RGMError where there are no images, or images of another shape.
        """
        self._check(images)
        if len(images) == 0:
            raise RGMError("the patches need at least one image to be fitted on, but there are none")
        gram = torch.zeros(PIXELS, PIXELS, dtype=torch.float64)
        greys = torch.zeros(PIXELS, dtype=torch.float64)
        for batch in images.split(BATCH):
            grey = _grey(batch)
            order = _order(grey)
            greys += grey.flatten(1).gather(1, order).sum(dim=0).cpu().double()
            ranked = _placed(order).flatten(1).cpu().double()
            gram.addmm_(ranked.T, ranked)
        self.greys.copy_((greys / len(images)).cummax(dim=0).values)
        self.basis.copy_(self._vectors(gram))
        self.largest.zero_()
        for batch in images.split(BATCH):
            torch.maximum(self.largest, self.project(rank(batch)).abs().amax(dim=0), out=self.largest)
        return self

    @torch.no_grad()
    def symbols(self, images: Images) -> Int64[Tensor, "n tile_rows tile_columns modes"]:
        """Return the level nearest to each variate, 0 … levels − 1.

        Ranking compares every pixel with every other, so each symbol depends on the whole image, not only on its tile's
        window. Raises RGMError for images of another shape.
        """
        self._check(images)
        top = LEVELS - 1
        scale = torch.where(self.exists, top / 2 / self.largest, 0)
        levels = [
            (self.project(rank(batch)) * scale + top / 2).round_().clamp_(0, top).long()
            for batch in images.split(BATCH)
        ]
        return torch.cat(levels)

    forward = symbols

    def project(self, ranked: Ranked) -> Float[Tensor, "n tile_rows tile_columns modes"]:
        """Return the variates u = (w · x) V of ranked images."""
        padded = F.pad(ranked[:, None].to(self.basis.dtype), (MARGIN, MARGIN, MARGIN, MARGIN))
        windows = F.unfold(padded, WINDOW, stride=STRIDE)
        projection = self.weights[:, None] * self.basis.flatten(0, 1)
        variates = torch.einsum("nwt,tmw->ntm", windows, projection)
        return variates.unflatten(1, (TILES, TILES))

    def assemble(self, expected: Float[Tensor, "n tile_rows tile_columns modes"]) -> Ranked:
        """Return the ranked images of (expected) variates, Σ_tiles V E[u]; not clamped to 0 … 255."""
        windows = torch.einsum("ntm,tmw->nwt", expected.to(self.basis.dtype).flatten(1, 2), self.basis.flatten(0, 1))
        side = SIDE + 2 * MARGIN
        padded = F.fold(windows, (side, side), WINDOW, stride=STRIDE)
        return padded[:, 0, MARGIN : MARGIN + SIDE, MARGIN : MARGIN + SIDE]

    def decode(self, expected: Float[Tensor, "n tile_rows tile_columns modes"]) -> Images:
        """Return the images in [0, 1] of (expected) variates, all channels alike.

        A ranked value v maps to the rank i = n − √(24 n ln(255 / v)), and a rank to the mean grey of the fitting images
        at it, interpolated; then the image is resized to the data's size.

        Lost are: colour; an image's own brightness, contrast and amount of ink, replaced by those of the mean image
        (thin and bold digits decode alike); blurred detail, so that edges stay soft; and the order of the darkest half
        of the pixels, with ranked values below 0.01.
        """
        ranked = self.assemble(expected)
        curve = _curve().to(ranked)
        depth = ranked.clamp(float(curve[0]), GREY).div(GREY).log().neg()
        place = (PIXELS - 1 - (WIDTH * PIXELS * depth).sqrt()).clamp(0, PIXELS - 1)
        below = place.long().clamp(max=PIXELS - 2)
        grey = torch.lerp(self.greys[below], self.greys[below + 1], place - below)
        channels, rows, columns = self.image
        return _resize(grey[:, None], (rows, columns)).clamp(0, 1).expand(-1, channels, -1, -1)

    def field(self, row: int, column: int, tiles: int = 1) -> Box:
        """Return the receptive field of a square of tiles with this upper left one, in the image's pixels.

        It holds the tiles' pixels, grown by the radius of blur and resizing. Decoding changes no pixel outside it. For
        encoding it only bounds the pixels that enter the tiles directly: by ranking, every symbol depends on the whole
        image.
        """
        (top, bottom), (left, right) = (
            _span(first, first + tiles - 1, size) for first, size in zip((row, column), self.image[1:], strict=True)
        )
        return Box(top=top, bottom=bottom, left=left, right=right)

    def _vectors(self, gram: Float[Tensor, "pixels pixels"]) -> Tensor:
        """Return the kept right singular vectors of every tile, from the Gram matrix of the ranked pixels."""
        padded = F.pad(gram.view(SIDE, SIDE, SIDE, SIDE), (MARGIN, MARGIN) * 4)
        basis = torch.zeros_like(self.basis, device="cpu")
        for tile, weights in enumerate(self.weights.cpu().double()):
            rows, columns = (slice(STRIDE * corner, STRIDE * corner + WINDOW) for corner in divmod(tile, TILES))
            inside = weights > 0
            part = padded[rows, columns, rows, columns].reshape(WINDOW**2, WINDOW**2)[inside][:, inside]
            spectrum, vectors = torch.linalg.eigh(part * weights[inside, None] * weights[inside])
            spectrum, vectors = spectrum.flip(0).clamp(min=0), vectors.flip(1)
            kept = spectrum * len(spectrum) > THRESHOLD * spectrum.sum()
            vectors = vectors[:, :MODES][:, kept[:MODES]]
            largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
            modes = basis[tile // TILES, tile % TILES, : vectors.shape[1]]
            modes[:, inside] = (vectors * largest.sign()).T.to(basis.dtype)
        return basis

    def _check(self, images: Images) -> None:
        if tuple(images.shape[1:]) != self.image:
            expected, given = (" × ".join(map(str, shape)) for shape in (self.image, images.shape[1:]))
            raise RGMError(f"the patches are of images of {expected}, but got {given}")


def _span(tile: int, other: int, size: int) -> tuple[int, int]:
    """Return the first pixel and the one after the last that tiles `tile` … `other` can change, along an axis."""
    first = max(0, tile * STRIDE - MARGIN - REACH)
    last = min(SIDE, other * STRIDE - MARGIN + WINDOW + REACH) - 1
    scale = size / SIDE
    reach = 0.0 if size == SIDE else CUBIC * max(1.0, scale)
    low, high = (first + 0.5) * scale - 0.5 - reach, (last + 0.5) * scale - 0.5 + reach
    return max(0, math.ceil(low)), min(size, math.floor(high) + 1)


def _weights() -> Float[Tensor, "tiles window"]:
    """Return every tile's weights over its window, zero outside the radius and outside the image."""
    if shapes_alone():
        return torch.empty(TILES**2, WINDOW**2)
    places = torch.arange(WINDOW, dtype=torch.float64) + 0.5 - RADIUS
    distance = places[:, None].square() + places.square()
    bump = torch.where(distance <= RADIUS**2, torch.exp(-distance / 8), 0).flatten()
    bumps = bump[None, :, None].expand(1, -1, TILES**2)
    side = SIDE + 2 * MARGIN
    total = F.fold(bumps.contiguous(), (side, side), WINDOW, stride=STRIDE)
    inside = total[..., MARGIN : MARGIN + SIDE, MARGIN : MARGIN + SIDE]
    share = F.unfold(F.pad(1 / inside, (MARGIN, MARGIN, MARGIN, MARGIN)), WINDOW, stride=STRIDE)
    return (bumps * share)[0].T.float()


def _curve() -> Float[Tensor, " ranks"]:
    """Return the ranked value of every rank, ascending."""
    offsets = torch.arange(1 - PIXELS, 1, dtype=torch.float64)
    return (GREY * torch.exp(-offsets.square() / (WIDTH * PIXELS))).float()


def _placed(order: Int64[Tensor, "n pixels"]) -> Ranked:
    """Return the ranked images with this ascending order of pixels."""
    curve = _curve().to(order.device).expand(len(order), -1)
    return torch.empty_like(curve).scatter_(1, order, curve).unflatten(1, (SIDE, SIDE))


def _resize(grey: Float[Tensor, "n 1 _ _"], size: tuple[int, int]) -> Tensor:
    given = grey.shape[2:]
    if tuple(given) == size:
        return grey
    shrinks = size[0] < given[0] or size[1] < given[1]
    return F.interpolate(grey, size=size, mode="bicubic", antialias=shrinks, align_corners=False)


def _grey(images: Images) -> Ranked:
    """Return images as grey in 0 … 1, resized, not yet blurred."""
    return _resize(images.mean(dim=1, keepdim=True).float(), (SIDE, SIDE))[:, 0].clamp(0, 1)


def _blur(grey: Ranked) -> Ranked:
    offsets = torch.arange(-REACH, REACH + 1, device=grey.device)
    kernel = torch.exp(-offsets.square() / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(grey[:, None], (REACH, REACH, REACH, REACH), mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]


def _order(grey: Ranked) -> Int64[Tensor, "n pixels"]:
    """Return the pixels of grey images in the order of their blurred greys, ascending, ties by pixel."""
    # Keys are unique, so that the fastest sort, which is not stable, gives the stable order.
    pixels = torch.arange(PIXELS, dtype=torch.int32, device=grey.device)
    keys = (_blur(grey).flatten(1) * GRAIN).round().to(torch.int32) * PIXELS + pixels
    return (keys.sort(dim=1).values % PIXELS).long()
