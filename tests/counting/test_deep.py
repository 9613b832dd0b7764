"""Deep trees over pixel values: probabilities of all images, learning, and what is refused."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from rgm.counting.config import CountingConfig, PixelSymbols, PixelValues, Smoothing, Structure
from rgm.counting.learning import EMRecipe
from rgm.counting.model import CountingRGM
from rgm.counting.stepwise import StepwiseLearner, StepwiseRecipe
from rgm.counting.updating import expected_counts, partial_fit
from rgm.counting.values import PixelLeaves
from rgm.errors import RGMError
from rgm.model.stored import Level
from rgm.training.fit import fit

FOREST, BLOCKS = ((2, 2), (1, 1)), ((2, 2), (1, 2), (1, 1))
KINDS: dict[str, tuple[Structure, tuple[tuple[int, int], ...]]] = {
    "forest": ("chow-liu", FOREST),
    "class trees": ("class-trees", FOREST),
    "blocks": ("blocks", BLOCKS),
}


def deep(
    kind: str,
    *,
    image: tuple[int, int, int] = (1, 3, 2),
    values: int = 2,
    states: int = 3,
    roots: int = 4,
    classes: int = 2,
    seed: int = 0,
) -> CountingRGM:
    structure, grids = KINDS[kind]
    torch.manual_seed(seed)
    config = CountingConfig(
        image=image,
        symbols=PixelValues(values=values),
        structure=structure,
        levels=(
            *(Level(grid=grid, states=states) for grid in grids[:-1]),
            Level(grid=grids[-1], states=roots),
            Level(grid=(1, 1), states=classes),
        ),
        smoothing=Smoothing(symbols=0.5, links=0.5, top=0.5),
    )
    return CountingRGM(config).double().eval()


def every_image(image: tuple[int, int, int], values: int) -> Tensor:
    pixels = itertools.product(range(values), repeat=math.prod(image))
    return torch.tensor(list(pixels), dtype=torch.float64).view(-1, *image) / (values - 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("image", "values"), [((1, 3, 2), 2), ((2, 2, 2), 2), ((1, 3, 2), 3)])
def test_the_probabilities_of_all_images_sum_to_one(kind: str, image: tuple[int, int, int], values: int) -> None:
    """Cells of unequal size, several channels, several values."""
    model = deep(kind, image=image, values=values)
    total = model.log_evidence(every_image(image, values)).exp().sum(dim=0)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_pixels_are_summed_out(kind: str) -> None:
    model, images = deep(kind), every_image((1, 3, 2), 2)
    visible = torch.tensor([[[True, False], [False, True], [True, True]]])
    seen = model.upward(images[:1], visible=visible).root
    agree = (images == images[:1])[:, 0, visible[0]].all(dim=1)
    torch.testing.assert_close(seen, model.upward(images[agree]).root.logsumexp(dim=0, keepdim=True))


@pytest.mark.parametrize("kind", KINDS)
def test_free_energy_and_surprise_are_exact(kind: str) -> None:
    model, images = deep(kind), every_image((1, 3, 2), 2)[5:9]
    torch.testing.assert_close(model.free_energy(images).total_nats, -model.log_weight(images))
    labels = torch.tensor([0, 1, 1, 0])
    given = model.log_evidence(images).gather(1, labels[:, None])[:, 0] - math.log(2)
    torch.testing.assert_close(model.free_energy(images, labels).total_nats, -given)
    found = model.surprise(images)
    for cell in range(4):
        field = model.decoder_field(*divmod(cell, 2))
        visible = torch.ones(1, 3, 2, dtype=torch.bool)
        visible[:, *field.slices] = False
        whole, rest = (
            (model.upward(images, visible=mask).root[:, None] + model.tables().log_top).flatten(1).logsumexp(dim=1)
            for mask in (None, visible)
        )
        torch.testing.assert_close(found.flatten(1)[:, cell], rest - whole)


@pytest.mark.parametrize("grid", [(2, 2), (3, 2), (1, 1), (5, 4)])
def test_every_pixel_belongs_to_one_cell(grid: tuple[int, int]) -> None:
    leaves = PixelLeaves((2, 5, 4), grid)
    images = torch.rand(3, 2, 5, 4).mul(255).round() / 255
    torch.testing.assert_close(leaves.image_of(leaves.read(images)), images)
    area = torch.zeros(5, 4)
    for row, column in itertools.product(*map(range, grid)):
        area[leaves.field(row, column).slices] += 1
        assert leaves.field(row, column).area * 2 == int(leaves.exists()[row * grid[1] + column].sum())
    assert (area == 1).all()


def few(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(80) % 2
    images = torch.rand(80, 1, 6, 6, generator=generator) < 0.15
    images[labels == 0, :, 1:5, 2:4] |= torch.rand(40, 1, 4, 2, generator=generator) < 0.9
    images[labels == 1, :, 2:4, 1:5] |= torch.rand(40, 1, 2, 4, generator=generator) < 0.9
    return (images * 200 + torch.randint(0, 50, images.shape, generator=generator)).to(torch.uint8), labels


def small(kind: str) -> CountingRGM:
    structure, _ = KINDS[kind]
    grids = ((6, 6), (1, 1)) if kind != "blocks" else ((3, 3), (2, 2), (1, 1))
    torch.manual_seed(0)
    config = CountingConfig(
        image=(1, 6, 6),
        symbols=PixelValues(),
        structure=structure,
        levels=(
            *(Level(grid=grid, states=4) for grid in grids[:-1]),
            Level(grid=(1, 1), states=4),
            Level(grid=(1, 1), states=2),
        ),
        smoothing=Smoothing(symbols=1.0, links=0.5, top=0.5),
    )
    return CountingRGM(config).double().eval()


@pytest.mark.parametrize("kind", KINDS)
def test_full_batches_raise_the_likelihood(kind: str) -> None:
    """Expectation–maximisation, η = 1 and a batch of all images; the counts' priors are fixed to nearly nothing."""
    images, labels = few()
    model = small(kind)
    smoothing = Smoothing(symbols=1e-6, links=1e-6, top=1e-6)
    object.__setattr__(model.config, "smoothing", smoothing)
    every = len(images)
    recipe = StepwiseRecipe(moved=0.0, passes=6, batch_size=every, first_step=1.0, last_step=1.0, cluster_passes=2)
    steps = StepwiseLearner(model, recipe, images, labels, seed=0)
    found = []
    for number in range(len(steps.stages)):
        steps.step(number)
        joint = model.log_evidence(images.double() / 255).gather(1, labels[:, None])
        found.append(float(joint.sum()))
    assert all(later > earlier - 1e-6 * abs(earlier) for earlier, later in itertools.pairwise(found))
    assert found[-1] > found[0] + 1


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_conserved(kind: str) -> None:
    """Every image adds one to every link, to every pixel and to its class, whichever the step."""
    images, labels = few()
    model = small(kind)
    recipe = StepwiseRecipe(moved=0.0, passes=2, batch_size=30, cluster_passes=2)
    steps = StepwiseLearner(model, recipe, images, labels, seed=0)
    for number in range(len(steps.stages)):
        steps.step(number)
        symbols, *links, top = model.counts
        exists = model.leaves.exists()
        torch.testing.assert_close(
            symbols.sum(dim=(1, 3))[exists], torch.full_like(symbols[0, 0, 0, :1], 80).expand(exists.sum())
        )
        for counts in links:
            cells = counts.sum(dim=(0, 2, 3)) if kind != "blocks" else counts.sum(dim=(1, 2))
            torch.testing.assert_close(cells, torch.full_like(cells, 80))
        torch.testing.assert_close(top.sum(dim=1), torch.tensor([40.0, 40.0], dtype=torch.float64))


@pytest.mark.parametrize(("passes", "rates"), [(1, [0.5]), (2, [0.5, 0.05]), (3, [0.5, 0.158, 0.05])])
def test_step_sizes_fall_from_the_first_to_the_last(
    monkeypatch: pytest.MonkeyPatch, passes: int, rates: list[float]
) -> None:
    images, labels = few()
    found: list[float] = []
    monkeypatch.setattr(StepwiseLearner, "_update", lambda _self, rate, *_: found.append(rate))
    steps = StepwiseLearner(small("blocks"), StepwiseRecipe(passes=passes), images, labels, seed=0)
    for number in range(1, len(steps.stages)):
        steps.step(number)
    assert found == pytest.approx(rates, abs=1e-3)


def test_moved_copies_are_counted_with_their_weight() -> None:
    """Of images with a white pixel in the middle: it counts once, and a copy's is next to it, on any of four sides."""
    images, labels = torch.zeros(80, 1, 3, 3, dtype=torch.uint8), torch.arange(80) % 2
    images[:, :, 1, 1] = 255
    levels = (Level(grid=(3, 3), states=2), Level(grid=(1, 1), states=2), Level(grid=(1, 1), states=2))
    config = CountingConfig(image=(1, 3, 3), symbols=PixelValues(values=2), structure="class-trees", levels=levels)
    model = CountingRGM(config).double().eval()
    recipe = StepwiseRecipe(passes=1, batch_size=80, first_step=1.0, last_step=1.0, cluster_passes=2, moved=0.5)
    steps = StepwiseLearner(model, recipe, images, labels, seed=0)
    for number in range(len(steps.stages)):
        steps.step(number)
    white = model.counts[0].sum(dim=1)[:, 0, 1].view(3, 3)
    sides = white[[0, 1, 1, 2], [1, 0, 2, 1]]
    assert float(white[1, 1]) == pytest.approx(80)
    assert float(sides.sum()) == pytest.approx(0.5 * 80)
    assert float(sides.min()) > 0
    assert float(white[::2, ::2].sum()) == pytest.approx(0)
    for counts in (*model.counts[1:-1], model.counts[-1]):
        assert float(counts.sum()) == pytest.approx(1.5 * 80 * (9 if counts.ndim == 4 else 1))


@pytest.mark.parametrize("structure", ["chow-liu", "class-trees"])
def test_edges_join_cells_whose_patterns_go_together_where_their_means_do_not(structure: Structure) -> None:
    """Every cell is a stroke on the left or on the right, as bright in both: those of opposite corners agree."""
    generator = torch.Generator().manual_seed(0)
    right = torch.randint(2, (400, 2, 2), generator=generator)
    right[:, 1, 1], right[:, 1, 0] = right[:, 0, 0], right[:, 0, 1]
    strokes = torch.tensor([[1, 0], [0, 1]], dtype=torch.uint8)[right]
    images = 255 * strokes[:, :, None].expand(-1, -1, 2, -1, -1).reshape(400, 1, 4, 4)
    levels = (Level(grid=(2, 2), states=2), Level(grid=(1, 1), states=2), Level(grid=(1, 1), states=2))
    config = CountingConfig(image=(1, 4, 4), symbols=PixelValues(values=2), structure=structure, levels=levels)
    model = CountingRGM(config).eval()
    StepwiseLearner(model, StepwiseRecipe(moved=0.0, passes=1), images, torch.arange(400) % 2, seed=0).step(0)
    for tree in model.edges().tolist():
        joined = {frozenset(pair) for pair in enumerate(tree) if pair[1] >= 0}
        assert {frozenset((0, 3)), frozenset((1, 2))} <= joined


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_trees_generalise(kind: str) -> None:
    images, labels = few()
    others, truth = few(1)
    model = small(kind)
    before = float(model.log_weight(others.double() / 255).mean())
    fit(model, images, labels, recipe=StepwiseRecipe(moved=0.0, passes=4, batch_size=40), device="cpu")
    assert float(model.log_weight(others.double() / 255).mean()) > before + 2
    if kind != "blocks":
        found = model.infer(others.double() / 255).concept.argmax(dim=1)
        assert float((found == truth).double().mean()) > 0.9


def test_a_recipe_for_other_symbols_is_refused() -> None:
    images, labels = few()
    with pytest.raises(RGMError, match="StepwiseRecipe"):
        fit(small("forest"), images, labels, recipe=EMRecipe(), device="cpu")


def test_a_chow_liu_tree_has_three_levels_over_values() -> None:
    levels = (*(Level(grid=(side, side), states=2) for side in (4, 2, 1)), Level(grid=(1, 1), states=2))
    with pytest.raises(RGMError, match="structure blocks"):
        CountingConfig(image=(1, 8, 8), symbols=PixelValues(), structure="chow-liu", levels=levels)
    with pytest.raises(RGMError, match="over pixels"):
        CountingConfig(
            image=(1, 8, 8), symbols=PixelSymbols(side=2), structure="chow-liu", levels=(levels[0], *levels[2:])
        )


def test_a_grid_finer_than_the_image_is_refused() -> None:
    with pytest.raises(RGMError, match="at least one pixel"):
        PixelLeaves((1, 3, 3), (4, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_further_images_are_counted(kind: str) -> None:
    """Expected counts of images one by one add up to those of all; the paper's rule is for other symbols."""
    images, labels = few()
    model = small(kind)
    fit(model, images[:40], labels[:40], recipe=StepwiseRecipe(moved=0.0, passes=1, batch_size=40), device="cpu")
    unit = images[40:46].double() / 255
    whole = expected_counts(model, unit, labels[40:46])
    single = [expected_counts(model, unit[place : place + 1], labels[40 + place][None]) for place in range(6)]
    for counts, parts in zip(whole, zip(*single, strict=True), strict=True):
        torch.testing.assert_close(sum(parts), counts)
    before = [counts.clone() for counts in model.counts]
    partial_fit(model, images[40:46], labels[40:46])
    for counts, old, more in zip(model.counts, before, whole, strict=True):
        torch.testing.assert_close(counts, old + more, atol=1e-4, rtol=1e-4)
    with pytest.raises(RGMError, match="leave `select` out"):
        partial_fit(model, images[40:46], labels[40:46], select=True)
