"""Locality: a cell changes its place, a concept changes everything."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from scipy.stats import spearmanr
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.evaluation.judge import Classifier
from rgm.evaluation.statistics import Findings, PerImage, exactly, values
from rgm.model.generative import RGM
from rgm.model.receptive import Box

VISIBLE = 0.05
"""A pixel counts as changed where it moves by more than this share of the full grey range."""
MARGIN = 2
"""Pixels by which a patch is grown for the second share."""
DECODED, FEWEST = 8_192, 32
"""Codes tried in each cell, over all images, and the least number of images."""
_AT_ONCE = 512
"""Changed images that are decoded together."""
_ROUNDING = 1e-5
"""What floating-point sums may make of equal logits, as a share of the largest."""

Codes = Int64[Tensor, "n height width"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image, one changed cell, one changed concept: what the notebook's third figure shows.

    An illustration, chosen to be seen: of the split's first image the cell whose patch varies most in grey, a cell on
    a stroke, with the code that changes the patch most. The measures are over all images, cells and codes.

    `original` and `local` are reconstructions before and after code `before` at `cell` became `after`; `globally`
    is a sample of `new_concept` in the place of `old_concept`. `sweep` is the image with each code in that cell.
    """

    original: Float[Tensor, "channels rows columns"]
    local: Float[Tensor, "channels rows columns"]
    globally: Float[Tensor, "channels rows columns"]
    sweep: Float[Tensor, "states channels rows columns"]
    cell: tuple[int, int]
    before: int
    after: int
    old_concept: int
    new_concept: int
    patch: Box
    field: Box


@dataclass(frozen=True, kw_only=True)
class Locality:
    """Every cell of `count` images given every other code, and every image given another concept.

    Squared changes are summed over codes and cells, an entry an image: `own_change`, `near_change` (patch grown
    by 2 pixels), `field_change` (the decoder's receptive field) and `total_change`; shares are ratios of their
    sums. `atlas[i, j]` is the mean squared change of the image by cell (i, j); `aligned` the same, averaged over
    cells, each moved so that its patch begins at `origin`. `displacement_px` is how far the centre of mass of a
    cell's squared change lies from the cell's centre, averaged over cells, an entry an image; `rank_correlation` is
    Spearman's, over all pairs of cells, between how far the cells and how far the centres of their changes lie apart.
    `local_extent` and `global_extent` are shares of pixels that move by more than 5 % of the grey range, an entry an
    image. `recognised_as_new` says of each image with a changed concept (there may be more of them) whether the judge
    takes it for the new one; None without a judge.

    Only the receptive field is decoded for every code; what is changed beyond it is measured on whole images for one
    code a cell and image, and taken for as much for the others. Bottom-up, `encoded_locally` is the share of an image's
    cells whose logits stay when all pixels beyond the recognition's receptive field become another image's.
    `decoder_area` and `encoder_area` are the mean shares of the image that a cell's two receptive fields cover.
    """

    classes: tuple[str, ...]
    count: int
    example: Example
    own_change: Float[Tensor, " n"]
    near_change: Float[Tensor, " n"]
    field_change: Float[Tensor, " n"]
    total_change: Float[Tensor, " n"]
    atlas: Float[Tensor, "height width rows columns"]
    aligned: Float[Tensor, "rows_moved columns_moved"]
    origin: tuple[int, int]
    patch_size: tuple[int, int]
    displacement_px: Float[Tensor, " n"]
    rank_correlation: Float[Tensor, " n"]
    local_extent: Float[Tensor, " n"]
    global_extent: Float[Tensor, " n"]
    encoded_locally: Float[Tensor, " n"]
    decoder_area: float
    encoder_area: float
    recognised_as_new: Bool[Tensor, " m"] | None

    def findings(self) -> Findings:
        """Return the numbers by name.

        own_patch_concentration  share of change in the cell's own patch over the patch's share of the image's area
        global_over_local        pixels that another concept changes over pixels that another code in one cell changes
        """
        tall, wide = self.patch_size
        rows, columns = self.example.original.shape[1:]
        total = self.total_change

        def share(part: Tensor, unit: str = "share", of: Tensor = total) -> PerImage:
            return PerImage(parts=part, wholes=of, unit=unit)

        found: Findings = {
            "receptive_field_share": share(self.field_change),
            "patch_plus_2_share": share(self.near_change),
            "own_patch_concentration": share(self.own_change, "ratio", total * tall * wide / (rows * columns)),
            "rank_correlation": PerImage.mean(self.rank_correlation, "correlation"),
            "global_over_local": share(self.global_extent, "ratio", self.local_extent),
            "own_patch_share": share(self.own_change),
            "recognition_field_share": PerImage.mean(self.encoded_locally, "share"),
            "displacement_px": PerImage.mean(self.displacement_px, "pixels"),
            "local_extent": PerImage.mean(self.local_extent, "share"),
            "global_extent": PerImage.mean(self.global_extent, "share"),
            "decoder_area": exactly(self.decoder_area, "share"),
            "encoder_area": exactly(self.encoder_area, "share"),
        }
        if self.recognised_as_new is not None:
            found["changed_concept_recognised"] = PerImage.mean(self.recognised_as_new, "share")
        return found

    def measures(self) -> dict[str, float]:
        """Return the numbers by name, without their intervals."""
        return values(self.findings())


def images_of_cells(states: int, most: int = 256) -> int:
    """Return the number of images whose cells are changed: at most 8,192 / K with K codes, but 32 in any case."""
    return min(most, max(FEWEST, DECODED // states))


@torch.no_grad()
def locality(
    model: RGM, data: ImageSet, judge: Classifier | None, *, count: int = 256, concepts: int = 2_048, seed: int = 0
) -> Locality:
    """Change every cell of the first `count` images to every other code, and the concept of `concepts` (or more).

    With many codes, every cell of fewer images: see `images_of_cells`.
    """
    count = images_of_cells(model.latent_dim, count)
    images = to_unit(data.images[: max(count, concepts)]).to(model.device)
    inference = model.infer(images)
    images, z1, base = images[:count], inference.z1[:count], inference.reconstruction[:count]
    count = len(images)
    height, width = model.config.levels[0].grid
    rows, columns = model.config.image[1:]
    atlas = torch.zeros(height, width, rows, columns, dtype=torch.float64)
    own, near, field, total, visible = sums = torch.zeros(5, count, dtype=torch.float64)
    kept = torch.zeros(count, dtype=torch.float64)
    centres = torch.zeros(count, height, width, 2, dtype=torch.float64)
    logits = model.cell_logits(images)
    for cell in model.cells:
        changes, squared = _change_cell(model, z1, base, cell)
        sums += changes
        kept += _read_alone(model, images, logits, cell)
        box = model.decoder_field(*cell)
        centres[:, *cell] = _centre(squared, box, (rows, columns))
        atlas[cell][box.slices] = squared.mean(dim=0) / (model.latent_dim - 1)

    generator = torch.Generator(model.device).manual_seed(seed)
    old = inference.concept.argmax(dim=1)
    new = (old + 1) % model.num_classes
    changed = torch.cat([model.sample(some, generator=generator).images for some in new.split(_AT_ONCE)])
    tall, wide = rows // height, columns // width
    displacement, correlation = _topology(centres, tall, wide)

    def area(field_of: Callable[[int, int], Box]) -> float:
        return sum(field_of(*cell).area for cell in model.cells) / (len(model.cells) * rows * columns)

    return Locality(
        classes=data.classes,
        count=count,
        example=_example(model, z1, base, changed, old, new),
        own_change=own,
        near_change=near,
        field_change=field,
        total_change=total,
        atlas=atlas.float(),
        aligned=_align(atlas, tall, wide).float(),
        origin=((height - 1) * tall, (width - 1) * wide),
        patch_size=(tall, wide),
        displacement_px=displacement,
        rank_correlation=correlation,
        local_extent=visible / len(model.cells),
        global_extent=_visible(changed[:count] - base).double().mean(dim=(1, 2)).cpu(),
        encoded_locally=kept / len(model.cells),
        decoder_area=area(model.decoder_field),
        encoder_area=area(model.encoder_field),
        recognised_as_new=None if judge is None else judge.predict(changed.cpu()).label == new.cpu(),
    )


def _visible(change: Float[Tensor, "*n channels rows columns"]) -> Bool[Tensor, "*n rows columns"]:
    return (change.abs() > VISIBLE).any(dim=-3)


def _change_cell(
    model: RGM, z1: Tensor, base: Tensor, cell: tuple[int, int]
) -> tuple[Float[Tensor, "5 n"], Float[Tensor, "n tall wide"]]:
    """Give a cell every other code in every image, and return sums over these codes for each image.

    First the squared change in the patch, in the grown patch, in the receptive field and in all, and the share of
    pixels that change visibly; then the squared change of every pixel of the receptive field.
    """
    row, column = cell
    rows, columns = model.config.image[1:]
    field, patch = model.decoder_field(*cell), model.patch(*cell)
    own, near = (box.inside(field).slices for box in (patch, patch.grown(MARGIN, (rows, columns))))
    others = model.latent_dim - 1
    squares, visible = list[Tensor](), list[Tensor]()
    for decoded in model.decode_each_code(z1, row, column):
        codes = z1[sum(len(before) for before in squares) :, row, column][: len(decoded)]
        change = decoded - decoded[torch.arange(len(decoded)), codes][:, None]
        squares.append(change.square().sum(dim=(1, 2)).double().cpu())
        visible.append(_visible(change).sum(dim=(1, 2, 3)).double().cpu() / (others * rows * columns))
    squared = torch.cat(squares)
    parts = [squared[:, *own], squared[:, *near], squared]
    changes = [part.sum(dim=(1, 2)) for part in parts]
    total = changes[2] + _leaked(model, z1, base, cell, field) * others
    return torch.stack([*changes, total, torch.cat(visible)]), squared


def _leaked(model: RGM, z1: Codes, base: Tensor, cell: tuple[int, int], field: Box) -> Float[Tensor, " n"]:
    """Return the squared change that one other code in a cell, another for each image, makes outside its field."""
    row, column = cell
    turn = torch.arange(len(z1), device=z1.device) + 7 * row + column
    codes = z1.clone()
    codes[:, row, column] = (z1[:, row, column] + 1 + turn % (model.latent_dim - 1)) % model.latent_dim
    squared = (model.decode(codes) - base).square().sum(dim=1).double()
    squared[:, *field.slices] = 0
    return squared.sum(dim=(1, 2)).cpu()


def _read_alone(model: RGM, images: Tensor, logits: Tensor, cell: tuple[int, int]) -> Float[Tensor, " n"]:
    """Return 1 where a cell's logits stay when all pixels beyond its field become those of another image, else 0."""
    field = model.encoder_field(*cell)
    if field.area == images.shape[2] * images.shape[3]:
        return torch.ones(len(images), dtype=torch.float64)  # no pixel lies beyond it
    mixed = images.roll(1, dims=0)
    mixed[..., *field.slices] = images[..., *field.slices]
    change = (model.cell_logits(mixed) - logits)[..., *cell].abs().amax(dim=1)
    return (change <= _ROUNDING * logits.abs().max()).double().cpu()


def _centre(weights: Float[Tensor, "n tall wide"], field: Box, image: tuple[int, int]) -> Float[Tensor, "n 2"]:
    """Return the centre of mass in pixels from the image's corner; the image's middle where there is no mass."""
    down = torch.arange(field.top, field.bottom, dtype=weights.dtype) + 0.5
    across = torch.arange(field.left, field.right, dtype=weights.dtype) + 0.5
    mass = weights.sum(dim=(1, 2))
    found = torch.stack([weights.sum(dim=2) @ down, weights.sum(dim=1) @ across], dim=1) / mass[:, None]
    middle = torch.tensor([image[0] / 2, image[1] / 2], dtype=weights.dtype)
    return torch.where(mass[:, None] > 0, found, middle)


def _topology(
    centres: Float[Tensor, "n height width 2"], tall: int, wide: int
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return the mean displacement in pixels, and the rank correlation of distances, of each image."""
    _, height, width, _ = centres.shape
    down = (torch.arange(height, dtype=centres.dtype) + 0.5) * tall
    across = (torch.arange(width, dtype=centres.dtype) + 0.5) * wide
    cells = torch.stack(torch.meshgrid(down, across, indexing="ij"), dim=-1)
    displacement = (centres - cells).norm(dim=-1).mean(dim=(1, 2))
    apart = F.pdist(cells.flatten(0, 1))
    correlations = []
    for moved in map(F.pdist, centres.flatten(1, 2)):
        # Changes that all lie in one place have no order: that is no correlation, not an unknown one.
        ordered = len(moved) > 1 and float(moved.min()) < float(moved.max())
        correlations.append(float(spearmanr(apart, moved).statistic) if ordered else 0.0)
    return displacement, torch.tensor(correlations, dtype=centres.dtype)


def _align(atlas: Float[Tensor, "height width rows columns"], tall: int, wide: int) -> Tensor:
    """Return the mean over cells of their maps, each moved so that its patch begins at one place."""
    height, width, rows, columns = atlas.shape
    canvas = torch.zeros(rows + (height - 1) * tall, columns + (width - 1) * wide, dtype=atlas.dtype)
    seen = torch.zeros_like(canvas)
    for row in range(height):
        for column in range(width):
            top, left = (height - 1 - row) * tall, (width - 1 - column) * wide
            canvas[top : top + rows, left : left + columns] += atlas[row, column]
            seen[top : top + rows, left : left + columns] += 1
    return canvas / seen.clamp_min(1)


def _example(
    model: RGM, z1: Tensor, base: Tensor, changed: Tensor, old: Int64[Tensor, " n"], new: Int64[Tensor, " n"]
) -> Example:
    """Return the first image with the code of its most varied cell exchanged; ties go to the first cell and code."""
    boxes = {cell: model.patch(*cell) for cell in model.cells}
    cell, box = max(boxes.items(), key=lambda item: float(base[0][..., *item[1].slices].var(correction=0)))
    before = int(z1[0][cell])
    codes = z1[:1].repeat(model.latent_dim, 1, 1)
    codes[:, *cell] = torch.arange(model.latent_dim, device=z1.device)
    decoded = torch.cat([model.decode(batch) for batch in codes.split(_AT_ONCE)])
    change = (decoded - base[0])[..., *box.slices].square().sum(dim=(1, 2, 3)).tolist()
    after = max((code for code in range(model.latent_dim) if code != before), key=change.__getitem__)
    return Example(
        original=base[0].cpu(),
        local=decoded[after].cpu(),
        globally=changed[0].cpu(),
        sweep=decoded.cpu(),
        cell=cell,
        before=before,
        after=after,
        old_concept=int(old[0]),
        new_concept=int(new[0]),
        patch=box,
        field=model.decoder_field(*cell),
    )
