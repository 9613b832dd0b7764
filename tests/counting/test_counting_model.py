"""CountingRGM against p(x, z, c) summed over every state, and its samples by χ²."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toys import Enumerated, assert_drawn_from, config, fitted, ranked, toy

from rgm.counting import posterior as module
from rgm.counting.config import CountingConfig, PixelSymbols, Smoothing, counting_preset
from rgm.counting.exemplars import ExemplarRecipe
from rgm.counting.model import CountingRGM
from rgm.counting.updating import expected_counts, partial_fit
from rgm.errors import RGMError
from rgm.model.generative import RGM
from rgm.model.results import Samples
from rgm.model.stored import Level

DRAWS = 20_000
FULL = (1.0, 0.0)
"""Weights of inference from the pixels alone, each 1, as in an image's probability."""


@pytest.fixture(params=["flat", "deep"])
def model(request: pytest.FixtureRequest) -> CountingRGM:
    return toy(request.param)


@pytest.fixture(scope="module")
def learned(paper: Callable[[], CountingRGM], subset: tuple[Tensor, Tensor]) -> tuple[CountingRGM, Tensor]:
    """Return the paper's model after a few images of three classes, and images."""
    images, labels = subset
    recipe = ExemplarRecipe(images=40, exemplars=3)
    return fitted(paper(), images, labels, recipe=recipe), images.double() / 255


def pictures(model: CountingRGM, count: int, seed: int = 0) -> Tensor:
    """Return grey images, the first of them binary."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.rand(count, *model.config.image, generator=generator, dtype=torch.float64)
    made[0].round_()
    return made


def codes(model: CountingRGM, count: int, seed: int = 0) -> Tensor:
    states, rows, columns = model.config.levels[0].shape
    return torch.randint(states, (count, rows, columns), generator=torch.Generator().manual_seed(seed))


# Evidence


@pytest.mark.parametrize("likelihood", [True, False])
def test_evidence_is_the_enumerated_sum(model: CountingRGM, likelihood: bool) -> None:
    exact, images = Enumerated(model), pictures(model, 4)
    expected = torch.stack([exact.evidence(image, likelihood=likelihood) for image in images])
    torch.testing.assert_close(model.log_evidence(images, likelihood=likelihood), expected, rtol=1e-10, atol=1e-10)


def test_all_black_and_white_images_have_probability_one() -> None:
    model = toy("flat", outliers=0.01)
    pixels = torch.arange(2**16)[:, None] >> torch.arange(16) & 1
    images = pixels.double().view(-1, 1, 4, 4)
    torch.testing.assert_close(
        model.log_evidence(images).exp().sum(dim=0), torch.ones(2, dtype=torch.float64), rtol=1e-10, atol=0
    )
    torch.testing.assert_close(model.log_weight(images).exp().sum(), torch.tensor(1.0, dtype=torch.float64))


@pytest.mark.parametrize("labelled", [False, True])
def test_free_energy_is_the_evidence_term_by_term(model: CountingRGM, labelled: bool) -> None:
    """Each term is its expectation under p(z, c | x): log q(z_ℓ | z_{ℓ+1}, x) − log p(z_ℓ | z_{ℓ+1}), enumerated."""
    exact, images = Enumerated(model), pictures(model, 3)
    labels = torch.tensor([1, 0, 1]) if labelled else None
    found, classes, joint = model.free_energy(images, labels), model.num_classes, exact.joint
    for number, image in enumerate(images):
        log = exact.log(image, likelihood=True) - math.log(classes)
        if labelled:
            log = log[labels[number]][None]
        weights = log.flatten().softmax(dim=0).view_as(log)
        leaves = joint.of_leaves(exact.leaves(image, likelihood=True))
        assert float(found.distortion_nats[number]) == pytest.approx(-float((weights * leaves).sum()), rel=1e-10)
        # log m(z_{ℓ+1}) of every joint state: all below z_ℓ, summed given all from z_{ℓ+1} up.
        terms, together = [], weights.sum(dim=0)
        for level, link in enumerate(joint.log_links):
            below = leaves + sum(joint.log_links[:level])  # log p(x, z_1 … z_{ℓ−1} | z_ℓ)
            message = _summed(below, joint, level)
            above = _summed(below + link, joint, level + 1)
            terms.append(float((together * (message - above)).sum()))
        root = _summed(leaves + sum(joint.log_links), joint, len(joint.log_links))
        by_concept = log.logsumexp(dim=1)
        prior = exact.log_top[labels[number]][None] if labelled else exact.log_top
        conditional = root + prior[:, joint.root] - math.log(classes) - by_concept[:, None]
        terms.append(float((weights * (conditional - prior[:, joint.root])).sum()))
        concept = by_concept.softmax(dim=0)
        terms.append(math.log(classes) + (0 if labelled else float((concept * concept.log()).sum())))
        torch.testing.assert_close(
            found.rate_nats[number], torch.tensor(terms, dtype=torch.float64), rtol=1e-9, atol=1e-9
        )
        assert float(found.total_nats[number]) == pytest.approx(-float(log.logsumexp((0, 1))), rel=1e-12)


def _summed(log: Tensor, joint: object, level: int) -> Tensor:
    """Return, for every joint state, log Σ exp(log) over those that share its codes from a level up, each once."""
    key = torch.zeros(len(log), dtype=torch.int64)
    for number in range(level, len(joint.codes)):
        for code in joint.codes[number]:
            key = key * joint.states[number] + code
    top = log.max()
    sums = torch.zeros(int(key.max()) + 1, dtype=log.dtype).index_add_(0, key, (log - top).exp())
    return sums.log()[key] + top


def test_weights_are_the_evidence(model: CountingRGM) -> None:
    images = pictures(model, 5)
    torch.testing.assert_close(model.log_weight(images), -model.free_energy(images).total_nats)
    by_label = torch.stack([-model.free_energy(images, torch.full((5,), c)).total_nats for c in (0, 1)], dim=1)
    torch.testing.assert_close(by_label, model.log_evidence(images) - math.log(2))


def test_surprise_is_a_cell_given_the_others(model: CountingRGM) -> None:
    """−log p(x_cell | rest) = log p(rest) − log p(x), with the cell hidden and visible."""
    images, exact, side = pictures(model, 3), Enumerated(model), model.config.symbols.side
    found, tables = model.surprise(images), model.tables()
    rows, columns = model.config.levels[0].grid
    for row in range(rows):
        for column in range(columns):
            visible = torch.ones(1, *images.shape[2:], dtype=torch.bool)
            visible[:, row * side : (row + 1) * side, column * side : (column + 1) * side] = False
            upward = model.upward(images, likelihood=True, visible=visible)
            rest = (upward.root[:, None] + tables.log_top).logsumexp(dim=(1, 2)) - math.log(2)
            torch.testing.assert_close(found[:, row, column], rest - model.log_weight(images))
    leaves = exact.leaves(images[0], likelihood=True)
    joint = (exact.log_top[:, exact.joint.root] + exact.joint.log(leaves)).logsumexp((0, 1))
    leaves[1] = 0
    rest = (exact.log_top[:, exact.joint.root] + exact.joint.log(leaves)).logsumexp((0, 1))
    assert float(found[0].flatten()[1]) == pytest.approx(float(rest - joint), rel=1e-10)


def test_evidence_of_visible_pixels(model: CountingRGM) -> None:
    exact, images = Enumerated(model), pictures(model, 2)
    visible = torch.rand(2, *images.shape[2:], generator=torch.Generator().manual_seed(1)) < 0.8
    seen = model.leaves.visible_symbols(visible)
    for likelihood in (True, False):
        root = model.upward(images, likelihood=likelihood, visible=visible).root
        for number, image in enumerate(images):
            log = exact.joint.log(exact.leaves(image, likelihood=likelihood, visible=seen[:, number]))
            torch.testing.assert_close(root[number], exact.joint.by_root(log))


# Bottom-up


def modes(exact: Enumerated, log: Tensor) -> list[Tensor]:
    """Return every cell's most probable state, for log p(x, z | c); the root's is one of the inferred concept."""
    joint = exact.joint
    weights = log.flatten().softmax(dim=0).view_as(log)
    below = [joint.marginal(weights.sum(dim=0), level) for level in range(len(joint.log_links))]
    root = joint.marginal(weights[log.logsumexp(dim=1).argmax()], len(joint.log_links))
    return [marginal.argmax(dim=1) for marginal in (*below, root)]


def test_codes_and_concepts_follow_the_enumerated_posterior(model: CountingRGM) -> None:
    exact, images = Enumerated(model), pictures(model, 4)
    result, read, logits = model.infer(images), model.read(images), model.cell_logits(images)
    joint = exact.joint
    for number, image in enumerate(images):
        log = exact.log(image, likelihood=False)
        torch.testing.assert_close(result.concept[number], log.logsumexp(dim=1).softmax(dim=0))
        weights = log.flatten().softmax(dim=0).view_as(log).sum(dim=0)
        for level, mode in enumerate(modes(exact, log)):
            assert torch.equal(result.codes[level][number].flatten(), mode)
            assert torch.equal(read[level][number].flatten(), mode)
        assert int(read[-1][number]) == int(log.logsumexp(dim=1).argmax())
        torch.testing.assert_close(logits[number].flatten(1).T.exp(), joint.marginal(weights, 0))
    torch.testing.assert_close(result.reconstruction, model.decode(result.z1))


def test_a_known_concept_has_its_own_posterior(model: CountingRGM) -> None:
    exact, images, labels = Enumerated(model), pictures(model, 3), torch.tensor([0, 1, 1])
    _, root, pairs = model.posterior(model.upward(images), labels)
    joint = exact.joint
    for number, image in enumerate(images):
        weights = exact.log(image, likelihood=False)[labels[number]].softmax(dim=0)
        for level, marginal in enumerate([*pairs.marginals, root[None]]):
            torch.testing.assert_close(marginal[:, number], joint.marginal(weights, level))


def test_inference_from_codes_is_the_enumerated_posterior(model: CountingRGM) -> None:
    exact, z1 = Enumerated(model), codes(model, 5)
    result = model.infer_from_codes(z1)
    for number, grid in enumerate(z1):
        log = exact.given(grid, torch.ones_like(grid, dtype=torch.bool))
        torch.testing.assert_close(result.concept[number], log.logsumexp(dim=1).softmax(dim=0))
        for level, mode in enumerate(modes(exact, log)):
            assert torch.equal(result.codes[level][number].flatten(), mode)
    assert torch.equal(result.z1, z1)
    torch.testing.assert_close(result.reconstruction, model.decode(z1))


@pytest.mark.parametrize("kind", ["flat", "deep"])
def test_images_with_certain_codes_are_inferred_like_their_codes(kind: str) -> None:
    model = toy(kind, weights=(50.0, 1e-9), outliers=0.0)
    symbols = model.counts[0]
    bits = torch.arange(model.latent_dim)[:, None] + 1 >> torch.arange(symbols.shape[2]) & 1
    symbols[..., 1] = 1e9 * bits + 1
    symbols[..., 0] = 1e9 * (1 - bits) + 1
    z1 = codes(model, 6)
    images = model.decode(z1)
    certain = model.infer(images)
    known = model.infer_from_codes(certain.z1)
    assert torch.equal(certain.z1, z1)
    torch.testing.assert_close(model.cell_logits(images).amax(dim=1).exp(), torch.ones(z1.shape).double())
    torch.testing.assert_close(certain.reconstruction, images, rtol=0, atol=1e-6)
    torch.testing.assert_close(known.concept, certain.concept)
    assert all(map(torch.equal, known.codes, certain.codes))


# Top-down


def test_samples_have_the_priors_frequencies(model: CountingRGM, generator: torch.Generator) -> None:
    exact = Enumerated(model)
    for concept in (0, 1):
        drawn = model.sample(concept, DRAWS, generator=generator)
        chances = (exact.log_top[concept, exact.joint.root] + sum(exact.joint.log_links)).exp()
        assert_drawn_from(exact.joint.number(drawn.z1), exact.joint.numbers.bincount(chances))
        assert_drawn_from(drawn.codes[-1].flatten(), exact.log_top[concept].exp())
    torch.testing.assert_close(drawn.images[:5], model.decode(drawn.z1[:5]))
    assert bool((drawn.concept == 1).all())


def test_samples_come_concept_by_concept(model: CountingRGM, generator: torch.Generator) -> None:
    drawn = model.sample(torch.tensor([1, 0]), 3, generator=generator)
    assert drawn.concept.tolist() == [1, 1, 1, 0, 0, 0]


def test_instantiating_a_level_below_the_concept(generator: torch.Generator) -> None:
    model = toy("deep")
    (drawn,) = model.sample_below(torch.ones(DRAWS, 2, 1, dtype=torch.int64), 2, generator=generator)
    assert_drawn_from(drawn[:, 3, 1], model.tables().tree.links[0][7, 1])
    below, above = model.sample_below(torch.zeros(4, 1, 1, dtype=torch.int64), 3, generator=generator)
    assert (below.shape, above.shape) == ((4, 4, 2), (4, 2, 1))


def test_completions_have_the_exact_conditional(model: CountingRGM, generator: torch.Generator) -> None:
    exact, z1 = Enumerated(model), codes(model, 1)
    keep = torch.zeros_like(z1, dtype=torch.bool)
    keep[:, 0] = True
    chances = exact.given(z1[0], keep[0]).exp()
    for concept in (0, 1):
        done = model.complete(z1.expand(DRAWS, -1, -1), keep, concept, generator=generator)
        assert_drawn_from(exact.joint.number(done.z1), exact.joint.numbers.bincount(chances[concept]))
        assert_drawn_from(done.codes[-1].flatten(), exact.joint.root.bincount(chances[concept]))
        assert torch.equal(done.z1[:, 0], z1[:, 0].expand(DRAWS, -1))
    torch.testing.assert_close(done.images[:3], model.decode(done.z1[:3]))


def test_completing_takes_masks_and_concepts_of_each(model: CountingRGM) -> None:
    z1, concepts = codes(model, 4), torch.tensor([0, 1, 1, 0])
    keep = torch.rand(z1.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    other = torch.where(keep, z1, codes(model, 4, seed=9))
    draws = [model.complete(some, keep, concepts, generator=torch.Generator().manual_seed(5)) for some in (z1, other)]
    assert torch.equal(draws[0].concept, concepts)
    assert torch.equal(draws[0].z1[keep], z1[keep])
    assert all(map(torch.equal, draws[0].codes, draws[1].codes))  # codes outside `keep` are ignored


def test_pixel_completions_have_the_exact_conditional(model: CountingRGM, generator: torch.Generator) -> None:
    """Visible pixels have weight 1, as in the image's probability, whatever the weights of inference."""
    exact, image = Enumerated(model), pictures(model, 1)
    rows = image.shape[2] // 2 + 1
    visible = torch.zeros(1, *image.shape[2:], dtype=torch.bool)
    visible[:, :rows] = True
    seen = model.leaves.visible_symbols(visible)[:, 0]
    done = model.complete_pixels(image.expand(DRAWS, -1, -1, -1), visible, generator=generator)
    chances = exact.log(image[0], likelihood=True, visible=seen).flatten().softmax(dim=0).view(2, -1)
    assert_drawn_from(done.concept, chances.sum(dim=1))
    assert_drawn_from(exact.joint.number(done.z1), exact.joint.numbers.bincount(chances.sum(dim=0)))
    both = done.concept * model.tables().top.shape[1] + done.codes[-1].flatten()
    expected = torch.stack([exact.joint.root.bincount(part) for part in chances]).flatten()
    assert_drawn_from(both, expected)
    assert torch.equal(done.images[:, :, :rows], image[:, :, :rows].expand(DRAWS, -1, -1, -1))
    torch.testing.assert_close(done.images[:9, :, rows:], model.decode(done.z1[:9])[:, :, rows:])


def test_hidden_pixels_change_nothing(model: CountingRGM) -> None:
    images, others = pictures(model, 6), pictures(model, 6, seed=1)
    visible = torch.rand(6, *images.shape[2:], generator=torch.Generator().manual_seed(1)) < 0.6
    mixed = torch.where(visible[:, None], images, others)
    draws = [
        model.complete_pixels(some, visible, generator=torch.Generator().manual_seed(2)) for some in (images, mixed)
    ]
    assert torch.equal(draws[0].images, draws[1].images)
    assert all(map(torch.equal, draws[0].codes, draws[1].codes))
    blank = torch.zeros_like(visible)
    unseen = model.upward(images, likelihood=True, visible=blank).root
    torch.testing.assert_close(unseen, torch.zeros_like(unseen))


def test_a_cell_given_the_others(model: CountingRGM) -> None:
    exact, z1, concepts = Enumerated(model), codes(model, 4), torch.tensor([0, 1, 1, 0])
    rows, columns = z1.shape[1:]
    for row, column in ((0, 0), (rows - 1, columns - 1)):
        found = model.cell_log_probs(z1, concepts, row, column)
        keep = torch.ones(rows, columns, dtype=torch.bool)
        keep[row, column] = False
        for number, grid in enumerate(z1):
            log = exact.given(grid, keep)[concepts[number]]
            code = exact.joint.codes[0][row * columns + column]
            chances = code.bincount(log.softmax(dim=0), minlength=model.latent_dim)
            torch.testing.assert_close(found[number].exp(), chances)
    one = model.cell_log_probs(z1, 1, 0, 0)
    torch.testing.assert_close(one[1], model.cell_log_probs(z1, concepts, 0, 0)[1])


def test_log_probabilities_level_by_level(model: CountingRGM) -> None:
    exact = Enumerated(model)
    joint, grids = exact.joint, [*model.grids, (1, 1)]
    chosen = torch.arange(0, len(joint.root), 7)
    levels = [codes[:, chosen].T.unflatten(1, grid) for codes, grid in zip(joint.codes, grids, strict=False)]
    for level, link in enumerate(joint.log_links):
        torch.testing.assert_close(model.log_prob_given(level + 1, levels[level], levels[level + 1]), link[chosen])
    concept = torch.ones(len(chosen), 1, 1, dtype=torch.int64)
    top = model.log_prob_given(model.depth - 1, levels[-1], concept)
    torch.testing.assert_close(top, exact.log_top[1, joint.root[chosen]])


def test_a_morph_ends_in_its_concepts(model: CountingRGM) -> None:
    def draw(start: int, end: int, count: int) -> Samples:
        return model.morph(start, end, count, generator=torch.Generator().manual_seed(4))

    for seed_free in range(2):
        start, end = seed_free, 1 - seed_free
        path, first, last = draw(start, end, 5), draw(start, start, 2), draw(end, end, 2)
        for level in range(len(path.codes)):
            assert torch.equal(path.codes[level][0], first.codes[level][0])
            assert torch.equal(path.codes[level][-1], last.codes[level][-1])
        assert path.concept.tolist() == [start, start, start, end, end]
        torch.testing.assert_close(path.images, model.decode(path.z1))


def test_a_morphs_ends_have_their_concepts_frequencies(generator: torch.Generator) -> None:
    model = toy("flat")
    roots = []
    for _ in range(500):
        roots.append(model.morph(0, 1, 3, generator=generator).codes[-1].flatten())
        torch.rand(1, generator=generator)  # a morph does not advance the generator
    drawn = torch.stack(roots)
    top = model.tables().top
    for place, chances in enumerate((top[0], (top[0] + top[1]) / 2, top[1])):
        assert_drawn_from(drawn[:, place], chances)


# Fields


def test_decoding_every_code_matches_plain_decoding(model: CountingRGM) -> None:
    z1 = codes(model, 3)
    rows, columns = z1.shape[1:]
    for row in range(rows):
        for column in range(columns):
            quick = torch.cat(list(model.decode_each_code(z1, row, column)))
            plain = torch.cat(list(RGM._decode_each_code(model, z1, row, column)))
            torch.testing.assert_close(quick, plain, rtol=0, atol=0)


def test_decoding_every_code_in_colour() -> None:
    model = toy("flat", channels=3, side=4)
    z1 = codes(model, 70)
    quick, plain = (
        torch.cat(list(found)) for found in (model.decode_each_code(z1, 1, 0), RGM._decode_each_code(model, z1, 1, 0))
    )
    assert quick.shape == (70, 3, 3, 4, 4)
    assert torch.equal(quick, plain)


def test_a_field_holds_every_change(model: CountingRGM) -> None:
    _changes_stay_inside(model, codes(model, 1))


def test_a_field_of_ranked_patches_holds_every_change(learned: tuple[CountingRGM, Tensor]) -> None:
    model, images = learned
    _changes_stay_inside(model, model.infer(images[:1]).z1)
    z1 = model.infer(images[:2]).z1
    decoded = torch.cat(list(model.decode_each_code(z1, 1, 2)))
    box = model.decoder_field(1, 2)
    own = decoded[torch.arange(2), z1[:, 1, 2]]
    torch.testing.assert_close(own, model.decode(z1)[..., *box.slices])


def _changes_stay_inside(model: CountingRGM, z1: Tensor) -> None:
    before = model.decode(z1)
    for row in range(z1.shape[1]):
        for column in range(z1.shape[2]):
            box = model.decoder_field(row, column)
            outside = torch.ones(before.shape[2:], dtype=torch.bool)
            outside[box.slices] = False
            other = z1.clone()
            other[:, row, column] = (other[:, row, column] + 1) % model.latent_dim
            changed = ((model.decode(other) - before).abs() > 1e-9).any(dim=1)[0]
            assert not changed[outside].any()


def test_every_code_depends_on_the_whole_image(model: CountingRGM) -> None:
    box = model.encoder_field(0, 0)
    _, rows, columns = model.config.image
    assert (box.top, box.bottom, box.left, box.right) == (0, rows, 0, columns)


# Precision, batches, memory


def test_single_precision_agrees_with_double() -> None:
    torch.manual_seed(0)
    single = CountingRGM(config(side=4, states=20, roots=30, classes=3)).eval()
    double = copy.deepcopy(single).double()
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pairs = (
        (single.log_evidence(images), double.log_evidence(images.double())),
        (single.log_weight(images), double.log_weight(images.double())),
        (single.surprise(images), double.surprise(images.double())),
        (single.infer(images).concept, double.infer(images.double()).concept),
        (single.free_energy(images).rate_nats, double.free_energy(images.double()).rate_nats),
        (single.cell_logits(images), double.cell_logits(images.double())),
    )
    for ours, theirs in pairs:
        assert (ours.dtype, theirs.dtype) == (torch.float32, torch.float64)
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_results_do_not_depend_on_chunks(model: CountingRGM, monkeypatch: pytest.MonkeyPatch) -> None:
    images, z1, labels = pictures(model, 4), codes(model, 4), torch.arange(4) % 2
    visible = torch.ones(1, *images.shape[2:], dtype=torch.bool)

    def everything() -> list[Tensor]:
        inferred, above = model.infer(images), model.infer_from_codes(z1)
        energies = (model.free_energy(images), model.free_energy(images, labels))
        return [
            *inferred.codes,
            inferred.concept,
            *above.codes,
            above.concept,
            *model.read(images),
            model.cell_logits(images),
            model.cell_log_probs(z1, labels, 0, 0),
            model.log_evidence(images),
            model.log_weight(images),
            model.surprise(images),
            *(energy.rate_nats for energy in energies),
            *(energy.distortion_nats for energy in energies),
            *expected_counts(model, images, labels),
            model.complete(z1, torch.ones_like(z1, dtype=torch.bool), labels).z1,
            model.complete_pixels(images, visible).images,
        ]

    whole = everything()
    monkeypatch.setattr(module, "LARGEST", 1)
    for found, expected in zip(everything(), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_the_largest_message_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are bounded by the larger of the groups' messages and all classes' roots."""
    monkeypatch.setattr(module, "LARGEST", 400)
    small, large = toy("flat"), toy("flat", roots=40, classes=10)
    batch = torch.arange(100)
    assert max(len(part) for (part,) in small.chunks(batch)) == 400 // (4 * (3 + 4))
    assert max(len(part) for (part,) in large.chunks(batch)) == 1
    assert torch.equal(torch.cat([part for (part,) in small.chunks(batch)]), batch)


# Tables


def test_tables_follow_the_counts() -> None:
    model = toy("flat").float()
    images = pictures(model, 2).float()
    before = model.log_evidence(images)
    assert model.tables() is model.tables()
    model.counts[0][..., 1] += 1
    after = model.log_evidence(images)
    assert not torch.allclose(before, after)
    twin = CountingRGM(model.config)
    twin.log_evidence(images)
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(twin.log_evidence(images), after)
    copied = copy.deepcopy(model)
    model.counts[-1].copy_(torch.rand_like(model.counts[-1]))
    torch.testing.assert_close(copied.log_evidence(images), after)


def test_tables_are_not_those_of_freed_tensors() -> None:
    """Another tensor may have the id and the version of one that was freed."""
    model = toy("flat").float()
    for _ in range(200):
        before = model.tables().appearance.clone()
        model.double().float().double()
        model.counts[0].copy_(torch.rand_like(model.counts[0]))
        model.float().double().float()
        assert not torch.equal(model.tables().appearance, before)


def test_a_code_that_never_occurs_is_ignored(learned: tuple[CountingRGM, Tensor]) -> None:
    model, images = learned
    unused = model.tables().weighted.impossible.nonzero()
    assert len(unused), "some group is equal in two of the digits"
    cell, state = unused[-1].tolist()
    z1 = model.infer(images[:1]).z1
    other = z1.clone()
    other[0].view(-1)[cell] = state
    found = model.infer_from_codes(other)
    assert found.concept.isfinite().all()
    keep = torch.ones_like(z1, dtype=torch.bool)
    keep[0].view(-1)[cell] = False
    row, column = (0, 0) if cell else (0, 1)
    done = [model.complete(grid, keep, 1, generator=torch.Generator().manual_seed(0)) for grid in (z1, other)]
    assert all(map(torch.equal, done[0].codes, done[1].codes))
    assert int(done[0].z1[0].view(-1)[cell]) != state
    assert model.cell_log_probs(other, 0, row, column).isfinite().all()
    # The model never infers, samples or learns such a code.
    rows, columns = model.grids[0]
    every = model.infer(images).z1.flatten(1), model.sample(torch.arange(3), 200).z1.flatten(1)
    never = model.tables().weighted.impossible
    for found in every:
        assert not never[torch.arange(rows * columns), found].any()
    counted = expected_counts(model, images[:9], torch.arange(9) % 3)
    assert not counted[0].sum(dim=(2, 3))[never].any()


# The rest of the interface


def test_observations_are_binary(generator: torch.Generator) -> None:
    model = toy("flat")
    drawn = model.observe(torch.full((2000, 1, 4, 4), 0.25), generator)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert float(drawn.mean()) == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / drawn.numel()))
    assert (model.is_density, model.pixels_kind) == (True, "bernoulli")
    other = ranked()
    grey = torch.rand(1, 1, 28, 28)
    assert torch.equal(other.observe(grey), grey)
    assert (other.is_density, other.pixels_kind) == (False, "ranked symbols")


def test_before_anything_is_learned_all_is_finite() -> None:
    for model in (CountingRGM.from_preset("counting", image=(3, 8, 8), classes=2), ranked().float()):
        images = torch.rand(2, *model.config.image)
        result = model.infer(images)
        assert result.concept.isfinite().all()
        torch.testing.assert_close(result.concept.sum(dim=1), torch.ones(2))
        assert result.reconstruction.isfinite().all()


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([1, 3]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)).filter(lambda grid: grid != (1, 1)),
    st.sampled_from([2, 4]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(2, 3),
)
def test_every_configuration_has_the_whole_interface(
    channels: int, grid: tuple[int, int], side: int, states: int, per_class: int, classes: int
) -> None:
    model = CountingRGM(
        CountingConfig(
            image=(channels, grid[0] * side, grid[1] * side),
            symbols=PixelSymbols(side=side),
            levels=(
                Level(grid=grid, states=states),
                Level(grid=(1, 1), states=per_class * classes),
                Level(grid=(1, 1), states=classes),
            ),
        )
    ).double()
    images = pictures(model, 3)
    energy = model.free_energy(images)
    torch.testing.assert_close(-energy.total_nats, model.log_weight(images))
    assert bool((energy.rate_nats[:, 1:] > -1e-9).all())  # divergences, from the root up
    assert model.surprise(images).shape == (3, *grid)
    result, again = model.infer(images), model.read(images)
    assert all(map(torch.equal, result.codes, again[:-1]))
    visible = torch.zeros(3, *images.shape[2:], dtype=torch.bool)
    assert model.complete_pixels(images, visible).images.shape == images.shape
    assert model.morph(0, 1, 4).images.shape == (4, *images.shape[1:])
    partial_fit(model, images, torch.tensor([0, 1, 0]), select=True)
    assert all(counts.isfinite().all() and (counts >= 0).all() for counts in model.counts)


# Errors


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.infer(torch.zeros(1, 1, 5, 5)), "images of shape"),
        (lambda m: m.infer(torch.full((1, 1, 4, 4), 2.0)), r"images in \[0, 1\]"),
        (lambda m: m.log_evidence(torch.zeros(1, 1, 4, 8)), "images of shape"),
        (lambda m: m.surprise(torch.zeros(1, 3, 4, 4)), "images of shape"),
        (lambda m: m.free_energy(torch.full((1, 1, 4, 4), -1.0)), r"images in \[0, 1\]"),
        (lambda m: m.free_energy(torch.zeros(1, 1, 4, 4), torch.tensor([2])), "concepts are 0 … 1"),
        (lambda m: m.infer_from_codes(torch.full((1, 2, 2), 3)), "codes must lie in 0 … 2"),
        (lambda m: m.infer_from_codes(torch.zeros(1, 2, 3, dtype=torch.int64)), "z1 must have shape"),
        (lambda m: m.decode(torch.full((1, 2, 2), -1)), "codes must lie in 0 … 2"),
        (lambda m: m.sample(2), "concepts are 0 … 1"),
        (lambda m: m.sample(0, 0), "number of samples must lie in 1"),
        (lambda m: m.morph(0, 1, 1), "must lie in 2"),
        (lambda m: m.morph(0, 5, 3), "concepts are 0 … 1"),
        (lambda m: m.cell_log_probs(torch.zeros(1, 2, 2).long(), 0, 2, 0), "grid of 2 × 2"),
        (lambda m: m.cell_log_probs(torch.zeros(1, 2, 2).long(), 3, 0, 0), "concepts are 0 … 1"),
        (
            lambda m: m.complete(torch.zeros(1, 2, 2).long(), torch.ones(1, 2, 2, dtype=torch.bool), 2),
            "concepts are 0 … 1",
        ),
        (lambda m: partial_fit(m, torch.zeros(1, 1, 8, 8), torch.tensor([0])), "images of shape"),
        (lambda m: partial_fit(m, torch.zeros(1, 1, 4, 4), torch.tensor([2])), "a label is 2"),
        (lambda m: partial_fit(m, torch.zeros(1, 1, 4, 4), torch.tensor([-1])), "every image's label"),
        (lambda m: partial_fit(m, torch.zeros(1, 1, 4, 4), None), "every image's label"),
    ],
)
def test_invalid_requests(ask: Callable, message: str) -> None:
    model = toy("flat")
    before = [counts.clone() for counts in model.counts]
    with pytest.raises(RGMError, match=message):
        ask(model)
    assert all(map(torch.equal, before, model.counts))


def test_ranked_symbols_are_not_completed() -> None:
    with pytest.raises(RGMError, match="ranked"):
        ranked().complete_pixels(torch.rand(1, 1, 28, 28), torch.ones(1, 28, 28, dtype=torch.bool))


def _levels(*grids: tuple[int, int, int]) -> tuple[Level, ...]:
    return tuple(Level(grid=(rows, columns), states=states) for rows, columns, states in grids)


@pytest.mark.parametrize(
    ("levels", "options", "message"),
    [
        (_levels((2, 2, 3), (1, 1, 2)), {}, "groups, a root and a concept"),
        (_levels((2, 2, 3), (2, 1, 4), (1, 1, 2)), {}, r"the root is one variable"),
        (_levels((2, 2, 3), (1, 1, 4), (1, 2, 2)), {}, r"the concept is one variable"),
        (_levels((2, 2, 3), (3, 1, 3), (1, 1, 4), (1, 1, 2)), {}, "larger than its child's"),
        (_levels((1, 1, 3), (1, 1, 4), (1, 1, 2)), {}, "single group"),
        (_levels((2, 2, 3), (1, 1, 5), (1, 1, 2)), {}, "are not a multiple of 2"),
        (_levels((4, 4, 3), (1, 1, 4), (1, 1, 2)), {}, "form a grid of"),
        (_levels((2, 2, 3), (1, 1, 4), (1, 1, 2)), {"outliers": 0.5}, "less than 1 / 2"),
    ],
)
def test_invalid_configurations(levels: tuple[Level, ...], options: dict[str, float], message: str) -> None:
    with pytest.raises(RGMError, match=message):
        CountingRGM(
            CountingConfig(image=(1, 4, 4), symbols=PixelSymbols(side=2), levels=levels, smoothing=Smoothing(**options))
        )


def test_presets() -> None:
    assert CountingRGM.from_preset("paper", classes=3).grids == ((4, 4), (2, 2), (1, 1))
    assert counting_preset("counting", (3, 32, 32), 4).levels[0].grid == (8, 8)
    with pytest.raises(RGMError, match="unknown preset 'papers': did you mean 'paper'"):
        counting_preset("papers", (1, 28, 28), 10)
    with pytest.raises(RGMError, match=r"number of classes .* must lie in 2"):
        counting_preset("paper", (1, 28, 28), 1)
    with pytest.raises(RGMError, match="resize to 32 × 28"):
        CountingRGM.from_preset("counting", image=(1, 30, 28))
