"""Expectation–maximisation on counts: conserved counts, monotone objectives, and images with known solutions."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from toys import config, fitted, toy

from rgm.counting import learning
from rgm.counting.learning import EMRecipe, Learner, members
from rgm.counting.mixture import IMAGE_WEIGHT, Fit, Mixture
from rgm.counting.model import CountingRGM
from rgm.errors import RGMError

RECIPE = EMRecipe(state_passes=3, prototype_passes=3, passes=2, images_a_prototype=4, batch_size=16)
LABELS = torch.arange(40) % 2


def pictures(count: int = 40, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)


def unit(images: Tensor) -> Tensor:
    return images.float().div(255).double()


def learned(recipe: EMRecipe = RECIPE, *, seed: int = 0, labels: Tensor = LABELS, **options: float) -> CountingRGM:
    return fitted(toy("flat", **options), pictures(len(labels)), labels, recipe=recipe, seed=seed)


def assert_same(ours: CountingRGM, reference: CountingRGM, **tolerance: float) -> None:
    for found, expected in zip(ours.counts, reference.counts, strict=True):
        torch.testing.assert_close(found, expected, **tolerance)


# A mixture


def symbols(levels: int, count: int = 30) -> Tensor:
    hard = torch.randint(levels, (2, count, 6), generator=torch.Generator().manual_seed(levels))
    return (hard[..., None] == torch.arange(1, levels)).flatten(2).double()


@pytest.mark.parametrize("levels", [2, 5])
def test_a_mixture_begins_at_images_drawn_to_the_mean(levels: int) -> None:
    read = symbols(levels)
    fit = Fit(levels=levels, smoothing=1.0, outliers=0.0)
    found = fit.start(read[:, :3], lambda: read.split(7, dim=1))
    above = found.counts[..., 1:].flatten(2)
    torch.testing.assert_close(above, IMAGE_WEIGHT * read[:, :3] + (1 - IMAGE_WEIGHT) * read.mean(dim=1, keepdim=True))
    torch.testing.assert_close(found.counts.sum(dim=3), torch.ones(2, 3, 6, dtype=torch.float64))
    torch.testing.assert_close(found.shares, torch.full((2, 3), 1 / 3, dtype=torch.float64))


@pytest.mark.parametrize("levels", [2, 5])
def test_a_pass_conserves_counts_whatever_the_batches_and_their_order(levels: int) -> None:
    read = symbols(levels)
    fit = Fit(levels=levels, smoothing=0.5, outliers=0.01, weights=torch.linspace(0.2, 1, 6))
    start = fit.start(read[:, :4], lambda: [read])
    found = fit.em_pass(start, lambda: [read])
    torch.testing.assert_close(found.counts.sum(dim=(1, 3)), torch.full((2, 6), 30 + 4 * 0.5).double())
    torch.testing.assert_close(found.shares.sum(dim=1), torch.ones(2, dtype=torch.float64))
    mean = found.counts.sum(dim=1) / (30 + 4 * 0.5)  # the prior is proportional to the mean of all images
    torch.testing.assert_close(mean[..., 1:].flatten(1), read.mean(dim=1))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    other = fit.em_pass(start, lambda: read[:, order].split(7, dim=1))
    torch.testing.assert_close(other.counts, found.counts)
    torch.testing.assert_close(other.shares, found.shares)


@pytest.mark.parametrize("levels", [2, 5])
def test_a_mixtures_posterior_density_never_falls(levels: int) -> None:
    """log p(symbols) + log of both Dirichlet priors: one image more in every state, and the mean of all."""
    read = symbols(levels)
    fit = Fit(levels=levels, smoothing=0.3, outliers=0.0)
    found = fit.start(read[:, :4], lambda: [read])
    above = read.mean(dim=1).unflatten(1, (6, levels - 1))
    mean = torch.cat([1 - above.sum(dim=2, keepdim=True), above], dim=2)[:, None]

    def density(mixture: Mixture) -> Tensor:
        share = mixture.counts / mixture.counts.sum(dim=3, keepdim=True)
        log = mixture.log_joint(fit.emission(mixture), read).logsumexp(dim=2).sum(dim=1)
        return log + mixture.shares.log().sum(dim=1) + 0.3 * (mean * share.log()).sum(dim=(1, 2, 3))

    before = first = density(found)
    for _ in range(15):
        found = fit.em_pass(found, lambda: read.split(11, dim=1))
        after = density(found)
        assert bool((after >= before - 1e-9).all())
        before = after
    assert bool((before > first + 1).all())


def test_a_mixture_finds_two_obvious_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    kind = torch.rand(200, generator=generator) < 0.3
    patterns = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1.0]]).double()
    flips = torch.rand(200, 8, generator=generator) < 0.05
    read = (patterns[kind.long()] - flips.double()).abs()[None]
    fit = Fit(levels=2, smoothing=1e-3, outliers=1e-3)
    starts = torch.stack([read[0, ~kind][0], read[0, kind][0]])[None]
    found = fit.start(starts, lambda: [read])
    for _ in range(10):
        found = fit.em_pass(found, lambda: [read])
    on = found.counts[0, ..., 1] / found.counts[0].sum(dim=2)
    torch.testing.assert_close(
        on, torch.stack([read[0, ~kind].mean(dim=0), read[0, kind].mean(dim=0)]), atol=2e-3, rtol=0
    )
    assert float(found.shares[0, 1]) == pytest.approx((int(kind.sum()) + 1) / 202, abs=1e-3)
    states = found.log_joint(fit.emission(found), read)[0].argmax(dim=1)
    assert torch.equal(states == 1, kind)


# The steps


def test_every_step_conserves_counts() -> None:
    """Each image adds one to every variate, link and class; the remainder is the prior."""
    model = toy("flat", symbols=0.7, links=0.3, top=0.25)
    steps = Learner(model, RECIPE, pictures(), LABELS, seed=0)
    assert steps.stages == ("states",) * 3 + ("prototypes",) * 2 + ("pass 1", "pass 2")
    for number, stage in enumerate(steps.stages):
        steps.step(number)
        variates, links, top = model.counts
        expected = torch.full_like(variates[:, 0, :, 0], 40 + 3 * 0.7)
        torch.testing.assert_close(variates.sum(dim=(1, 3)), expected)
        if stage == "states":
            continue
        shown = range(number - 2) if stage == "prototypes" else range(2)
        for concept in shown:
            own = links[:, steps.roots(concept)].sum(dim=(1, 2))
            if stage == "prototypes":
                torch.testing.assert_close(own, torch.full_like(own, 20 + 2 * 0.3))
            assert float(top[concept].sum()) == pytest.approx(20 + 2 * 0.25)
        if stage not in ("states", "prototypes"):
            torch.testing.assert_close(links.sum(dim=(1, 2)), torch.full_like(links[:, 0, 0], 40 + 4 * 0.3))
            torch.testing.assert_close(links[:, :2].sum(dim=(1, 2)).round(), torch.full_like(own, 21))


def test_roots_are_their_classes_own() -> None:
    model = learned()
    outside = torch.ones(2, 4, dtype=torch.bool)
    outside[0, :2] = outside[1, 2:] = False
    assert not model.counts[-1][outside].any()
    drawn = model.sample(torch.tensor([0, 1]), 100)
    assert torch.equal(drawn.codes[-1].flatten() // 2, drawn.concept)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0)])
def test_a_pass_never_lowers_the_likelihood(weights: tuple[float, float]) -> None:
    """With weights of 1 and negligible priors: expectation–maximisation of Σ log p(x | c)."""
    model = toy("flat", weights=weights, outliers=0.0, symbols=1e-9, links=1e-9, top=0.0)
    model.counts[-1].mul_(torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]))
    images = pictures()
    steps = Learner(model, EMRecipe(passes=12), images, LABELS, seed=0)
    first = steps.stages.index("pass 1")

    def likelihood() -> float:
        return float(model.log_evidence(unit(images), likelihood=False).gather(1, LABELS[:, None]).sum())

    before = start = likelihood()
    for number in range(first, len(steps.stages)):
        steps.step(number)
        after = likelihood()
        assert after >= before - 1e-6
        before = after
    assert before > start + 20


def test_a_pass_does_not_depend_on_the_order_or_the_batches() -> None:
    start, order = learned(), torch.randperm(40, generator=torch.Generator().manual_seed(1))
    models = []
    for places, size in ((torch.arange(40), 16), (order, 16), (order, 7)):
        model = toy("flat")
        model.load_state_dict(start.state_dict())
        recipe = replace(RECIPE, batch_size=size)
        steps = Learner(model, recipe, pictures()[places], LABELS[places], seed=0)
        steps.step(len(steps.stages) - 1)
        models.append(model)
    assert_same(models[1], models[0], rtol=1e-10, atol=1e-12)
    assert_same(models[2], models[0], rtol=1e-10, atol=1e-12)
    assert (models[0].counts[0] - start.counts[0]).abs().max() > 1e-3


def test_a_learning_goes_on_from_the_counts_alone() -> None:
    whole = learned()
    model = toy("flat", seed=9)
    for number in range(len(Learner(whole, RECIPE, pictures(), LABELS, seed=0).stages)):
        fresh = toy("flat", seed=number)
        fresh.load_state_dict(model.state_dict())
        Learner(fresh, RECIPE, pictures(), LABELS, seed=0).step(number)
        model = fresh
    assert_same(model, whole, rtol=0, atol=0)


def test_images_are_read_once_for_all_passes_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the states, the prototypes (and their starts), and each pass over the tree."""
    read, symbols = list[int](), CountingRGM.symbols

    def counted(model: CountingRGM, images: Tensor) -> Tensor:
        read.append(len(images))
        return symbols(model, images)

    monkeypatch.setattr(CountingRGM, "symbols", counted)
    steps = Learner(toy("flat"), RECIPE, pictures(), LABELS, seed=0)
    found = []
    for number in range(len(steps.stages)):
        read.clear()
        steps.step(number)
        found.append(sum(read))
    starts = toy("flat").config.levels[0].states
    assert found == [40 + starts, 0, 0, *[20 + 2] * 2, 40, 40]
    monkeypatch.setattr(learning, "KEPT", 0)
    again = Learner(toy("flat"), RECIPE, pictures(), LABELS, seed=0)
    for number in range(len(again.stages)):
        again.step(number)
    assert_same(again.model, steps.model, rtol=0, atol=0)


def test_fitting_is_afresh_and_reproducible() -> None:
    once = learned()
    twice = fitted(
        fitted(learned(), pictures(seed=5), LABELS, recipe=RECIPE, seed=3), pictures(), LABELS, recipe=RECIPE
    )
    assert_same(twice, once, rtol=0, atol=0)
    other = learned(seed=1)
    assert not torch.allclose(other.counts[0], once.counts[0])


def test_bytes_and_floats_are_learned_alike() -> None:
    images = pictures()
    ours = fitted(toy("flat"), images, LABELS, recipe=RECIPE)
    for given_in in (unit(images), unit(images).numpy(), images.numpy(), images[:, 0]):
        assert_same(fitted(toy("flat"), given_in, LABELS.tolist(), recipe=RECIPE), ours, rtol=0, atol=0)


def test_every_stage_is_reported() -> None:
    heard: list[str] = []
    fitted(toy("flat"), pictures(), LABELS, recipe=RECIPE, watch=lambda record: heard.append(record.stage))
    assert heard == ["states"] * 3 + ["prototypes"] * 2 + ["pass 1", "pass 2"]
    assert RECIPE.epochs == 3 + 1 + 2


# Few images, equal images, images with obvious classes


@pytest.mark.parametrize("count", [2, 3, 5])
def test_fewer_images_than_states_are_enough(count: int) -> None:
    recipe = replace(RECIPE, images_a_prototype=1)
    model = fitted(toy("flat", states=9, roots=20), pictures(count), LABELS[:count], recipe=recipe)
    assert all(counts.isfinite().all() for counts in model.counts)
    used = (model.counts[-1] > 0).sum(dim=1)
    assert used.tolist() == LABELS[:count].bincount().tolist()  # a prototype per image, and the others impossible
    result = model.infer(unit(pictures(count)))
    torch.testing.assert_close(result.concept.sum(dim=1), torch.ones(count, dtype=torch.float64))
    drawn = model.sample(torch.tensor([0, 1]), 200).codes[-1].flatten().unique()
    assert bool((model.counts[-1].sum(dim=0) > 0)[drawn].all())


def test_shifts_are_learned_as_further_images() -> None:
    """As if the images were given as they are, and moved by a pixel in each direction with replicated edges."""
    images = pictures()
    padded = torch.nn.functional.pad(images.float(), (1, 1, 1, 1), mode="replicate").to(torch.uint8)
    moves = [(0, 0), (-1, 0), (0, -1), (0, 1), (1, 0)]
    moved = torch.cat([padded[:, :, 1 - down : 5 - down, 1 - right : 5 - right] for down, right in moves])
    recipe = replace(RECIPE, images_a_prototype=1)  # as many as there are root states: not bounded by the copies
    ours = fitted(toy("flat"), images, LABELS, recipe=replace(recipe, shift=1))
    assert_same(ours, fitted(toy("flat"), moved, LABELS.repeat(5), recipe=recipe), atol=0, rtol=0)
    with pytest.raises(RGMError, match="0 to 4 pixels"):
        replace(RECIPE, shift=-1)


def test_prototypes_are_bounded_by_the_number_of_images() -> None:
    model = toy("flat", roots=12)
    fitted(model, pictures(), LABELS, recipe=replace(RECIPE, images_a_prototype=7))
    assert (model.counts[-1] > 0).sum(dim=1).tolist() == [2, 2]
    fitted(model, pictures(), LABELS, recipe=replace(RECIPE, images_a_prototype=1000))
    assert (model.counts[-1] > 0).sum(dim=1).tolist() == [1, 1]


@pytest.mark.parametrize("outliers", [0.0, 1e-3])
@pytest.mark.parametrize("grey", [0, 90, 255])
def test_images_that_are_all_alike(grey: int, outliers: float) -> None:
    images = torch.full((12, 1, 4, 4), grey, dtype=torch.uint8)
    model = fitted(toy("flat", outliers=outliers), images, LABELS[:12], recipe=RECIPE)
    assert all(counts.isfinite().all() for counts in model.counts)
    result = model.infer(unit(images))
    torch.testing.assert_close(result.concept, torch.full((12, 2), 0.5, dtype=torch.float64))
    torch.testing.assert_close(result.reconstruction, unit(images))
    other = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert model.log_evidence(other).isfinite().all()
    assert model.infer(other).concept.isfinite().all()


def test_patterns_are_learned_as_they_are() -> None:
    """Two classes of two patterns each, with a little noise: every pattern becomes a prototype of its class."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(4, 1, 8, 8, generator=generator).round()
    kind = torch.arange(400) % 4
    flips = torch.rand(400, 1, 8, 8, generator=generator) < 0.02
    images = ((patterns[kind] - flips.float()).abs() * 255).to(torch.uint8)
    model = CountingRGM(config(side=4, states=8)).double()
    fitted(model, images[:300], kind[:300] // 2, recipe=EMRecipe(state_passes=6, prototype_passes=6), seed=1)
    test = unit(images[300:])
    result = model.infer(test)
    assert torch.equal(result.concept.argmax(dim=1), kind[300:] // 2)
    clean = patterns[kind[300:]].double()
    assert float((result.reconstruction.round() == clean).double().mean()) > 0.99
    by_kind = [result.codes[-1].flatten()[kind[300:] == number].unique().tolist() for number in range(4)]
    assert sorted(by_kind) == [[0], [1], [2], [3]], "each kind has a root of its own"
    halves = torch.zeros(1, 8, 8, dtype=torch.bool)
    halves[:, :, :4] = True
    done = model.complete_pixels(test, halves, generator=generator)
    assert float((done.images.round() == clean)[..., 4:].double().mean()) > 0.99


def test_digits_are_classified(subset: tuple[Tensor, Tensor]) -> None:
    images, labels = subset
    model = CountingRGM(config(((7, 7), (1, 1)), side=4, states=12, roots=12, classes=3))
    fitted(model, images[:60], labels[:60], recipe=replace(RECIPE, state_passes=5))
    right = model.infer(images[60:].float() / 255).concept.argmax(dim=1) == labels[60:]
    assert float(right.float().mean()) > 0.9


# Errors


def _fits() -> Iterator[tuple[Tensor, Tensor | None, str]]:
    images = pictures()
    yield images, torch.zeros(40, dtype=torch.int64), "no image is of class 1"
    yield images, torch.where(torch.arange(40) == 3, -1, LABELS), "every image's label"
    yield images, None, "every image's label"
    yield images, LABELS + 1, "a label is 2"
    yield images[..., :2], LABELS, "images of shape"
    yield images, LABELS[:5], "labels must be 40"


@pytest.mark.parametrize(("images", "labels", "message"), list(_fits()))
def test_invalid_labels_and_images(images: Tensor, labels: Tensor | None, message: str) -> None:
    with pytest.raises(RGMError, match=message):
        fitted(toy("flat"), images, labels, recipe=RECIPE)


def test_grids_between_are_the_papers() -> None:
    with pytest.raises(RGMError, match="one grid of groups under the root, but the model has 2"):
        Learner(toy("deep"), RECIPE, pictures(), LABELS, seed=0)


def test_members_are_where_the_labels_are() -> None:
    found = members(torch.tensor([2, 0, 1, 0]), 3)
    assert [places.tolist() for places in found] == [[1, 3], [2], [0]]
    with pytest.raises(RGMError, match="class 1, 3"):
        members(torch.tensor([2, 0]), 4)
