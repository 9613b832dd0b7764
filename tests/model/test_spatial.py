import inspect
import itertools
import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rgm.distributions.categorical import CategoricalField, one_hot
from rgm.errors import RGMError
from rgm.model.config import LevelConfig, ModelConfig, preset
from rgm.model.decoder import TransposedDecoder
from rgm.model.estimator import AutoregressiveHead, Gumbel
from rgm.model.factorised import DensePrior
from rgm.model.likelihood import Gaussian
from rgm.model.recognition import ConvRecognition, DenseRecognition, Recognition
from rgm.model.spatial import SpatialRGM
from rgm.presets import NETWORKS


@pytest.fixture(
    params=[name for name in NETWORKS if name not in ("colour32-sharp", "colour32-large", "colour64")]
)  # as colour32
def model(request: pytest.FixtureRequest) -> SpatialRGM:
    torch.manual_seed(0)
    return SpatialRGM.from_preset(request.param).eval()


def tiny(depth: int, *, autoregressive: bool = False) -> SpatialRGM:
    """Return a float64 model small enough to enumerate: 4 × 4 pixels, 2 × 2 cells of 2 states, 2 or 3 levels."""
    gumbel = Gumbel()
    recognition = ConvRecognition(widths=(3,), autoregressive=autoregressive, estimator=gumbel)
    z1 = LevelConfig(grid=(2, 2), states=2, recognition=recognition, prior=DensePrior(width=4))
    z2 = LevelConfig(
        grid=(1, 1), states=3, recognition=DenseRecognition(width=4, estimator=gumbel), prior=DensePrior(width=4)
    )
    top = LevelConfig(grid=(1, 1), states=2, recognition=DenseRecognition(width=4, estimator=gumbel), prior=None)
    levels = (z1, top) if depth == 2 else (z1, z2, top)
    config = ModelConfig(
        image=(1, 4, 4), levels=levels, decoder=TransposedDecoder(width=4, widths=()), pixels=Gaussian(sigma=0.5)
    )
    torch.manual_seed(3)
    model = SpatialRGM.from_config(config).double().eval()
    if isinstance(head := model.recognition(1).head, AutoregressiveHead):  # its cells are independent at first
        torch.nn.init.normal_(head.change.weight, std=3.0)
    return model


def field_given(recognition: Recognition, below: torch.Tensor, z: torch.Tensor) -> CategoricalField:
    """Return q of each cell given the codes of the cells before it, in `z`."""
    if not isinstance(recognition.head, AutoregressiveHead):
        return recognition.field(below)
    known = iter(z.flatten(2).unbind(2))
    return CategoricalField(recognition.head.walk(recognition.features(below), lambda _: next(known))[0])


def grids(model: SpatialRGM, level: int) -> torch.Tensor:
    """Return every grid of codes that a level can take, (all, height, width)."""
    states, height, width = model.config.levels[level].shape
    every = itertools.product(range(states), repeat=height * width)
    return torch.tensor(list(every)).reshape(-1, height, width)


@torch.no_grad()
def enumerated(model: SpatialRGM, image: torch.Tensor) -> tuple[float, float]:
    """Return −log p(x) and F(x) by summing over every state of every level."""
    evidence, bound = 0.0, 0.0
    fields = [grids(model, level) for level in range(model.depth)]
    for states in itertools.product(*(range(len(field)) for field in fields)):
        z = [
            one_hot(field[i : i + 1], model.config.levels[n].states, dtype=torch.float64)
            for n, (field, i) in enumerate(zip(fields, states, strict=True))
        ]
        log_p = float(model.likelihood.log_prob(image, z[0])) - math.log(model.num_classes)
        log_q, below = 0.0, image
        for level in range(1, model.depth + 1):
            log_q += float(field_given(model.recognition(level), below, z[level - 1]).log_prob(z[level - 1]))
            below = z[level - 1]
            if level < model.depth:
                log_p += float(model.prior(level).log_prob(z[level - 1], z[level]))
        evidence += math.exp(log_p)
        bound += math.exp(log_q) * (log_q - log_p)
    return -math.log(evidence), bound


@pytest.mark.parametrize(("depth", "autoregressive"), [(2, False), (2, True), (3, False), (3, True)])
def test_free_energy_is_the_enumerated_bound(depth: int, autoregressive: bool, generator: torch.Generator) -> None:
    model = tiny(depth, autoregressive=autoregressive)
    image = torch.rand(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    evidence, bound = enumerated(model, image)
    draws = model.free_energy(image.expand(20_000, -1, -1, -1), generator=generator).total_nats
    error = float(draws.std()) / math.sqrt(len(draws))
    assert bound > evidence
    assert float(draws.mean()) == pytest.approx(bound, abs=4 * error + 1e-9)


@pytest.mark.parametrize(("depth", "autoregressive"), [(2, False), (2, True), (3, False), (3, True)])
def test_weights_average_to_the_evidence(depth: int, autoregressive: bool, generator: torch.Generator) -> None:
    model = tiny(depth, autoregressive=autoregressive)
    image = torch.rand(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    evidence, _ = enumerated(model, image)
    weights = model.log_weight(image.expand(20_000, -1, -1, -1), generator=generator).exp()
    error = float(weights.std()) / math.sqrt(len(weights))
    assert float(weights.mean()) == pytest.approx(math.exp(-evidence), abs=4 * error)


def test_free_energy_with_labels_bounds_the_joint(generator: torch.Generator) -> None:
    """Σ_y exp(−F(x, y)) cannot exceed p(x), and with samples of the prior F(x, y) ≥ F's share."""
    model = SpatialRGM.from_preset("seed").eval()
    images = torch.rand(3, 1, 28, 28, generator=generator)
    labels = torch.tensor([1, 2, 3])
    result = model.free_energy(images, labels, generator=generator)
    torch.testing.assert_close(result.rate_nats[:, -1], torch.full((3,), math.log(10)))


def test_sampling_agrees_with_enumeration(generator: torch.Generator) -> None:
    model = tiny(2)
    codes = grids(model, 0)
    z = one_hot(codes, 2, dtype=torch.float64)
    parent = one_hot(torch.zeros(len(codes), 1, 1, dtype=torch.int64), 2, dtype=torch.float64)
    expected = model.prior(1).log_prob(z, parent).exp().detach()
    assert float(expected.sum()) == pytest.approx(1.0)
    drawn = model.sample(0, 20_000, generator=generator).z1
    index = (drawn.flatten(1) * torch.tensor([8, 4, 2, 1])).sum(1)
    observed = torch.bincount(index, minlength=16).double()
    chi_squared = float(((observed - 20_000 * expected) ** 2 / (20_000 * expected)).sum())
    assert chi_squared < 37.7  # 15 degrees of freedom, p = 0.001


def test_notebook_network_has_its_parameters() -> None:
    assert sum(p.numel() for p in SpatialRGM(latent_dim=32, num_classes=10).parameters()) == 274_571


def test_infer_and_decode_agree(model: SpatialRGM, generator: torch.Generator) -> None:
    images = torch.rand(5, 1, 28, 28, generator=generator)
    result = model.infer(images, batch_size=2)
    torch.testing.assert_close(model.decode(result.z1), result.reconstruction)
    torch.testing.assert_close(result.concept.sum(1), torch.ones(5))
    assert result.z1.shape == (5, *model.config.levels[0].grid)
    assert 0 <= float(result.reconstruction.min()) <= float(result.reconstruction.max()) <= 1


@pytest.mark.parametrize("name", ["seed", "standard"])
def test_notebook_names_compute_what_the_model_does(name: str, generator: torch.Generator) -> None:
    model = SpatialRGM.from_preset(name).eval()
    images = torch.rand(3, 1, 28, 28, generator=generator)
    z1 = model.reparameterize_gumbel(model.z1_proj(model.enc1(images)))
    result = model.infer(images)
    assert torch.equal(z1.argmax(1), result.z1)
    torch.testing.assert_close(model.dec1(z1), result.reconstruction)
    torch.testing.assert_close(model.enc2(z1).softmax(1), result.concept)
    torch.testing.assert_close(model(images), result.reconstruction)


def test_relaxed_samples_are_hard_in_evaluation(model: SpatialRGM, generator: torch.Generator) -> None:
    levels = model.relax(torch.rand(3, 1, 28, 28, generator=generator), generator)
    for level in levels:
        values = level.sample.detach()
        assert torch.equal(values.round(), values)
        torch.testing.assert_close(values.sum(1), torch.ones_like(values.sum(1)))


def test_straight_through_gradient_reaches_the_embedding_unchanged(generator: torch.Generator) -> None:
    """∂/∂e of a function of the embedded codes equals its gradient at the nearest entries."""
    model = SpatialRGM.from_preset("standard").train()
    recognition = model.recognition(1)
    features = torch.rand(2, 64 + 16, 7, 7, generator=generator, requires_grad=True)  # and the patch's pixels
    _, sample, _ = recognition.head.relax(features, generator)
    embedded = recognition.read(sample)
    direction = torch.randn(embedded.shape, generator=generator)
    (gradient,) = torch.autograd.grad((embedded * direction).sum(), features)
    embedded = recognition.head.project(features)
    (expected,) = torch.autograd.grad((embedded * direction).sum(), features)
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-3)


def test_sampling_is_seeded_and_batched(model: SpatialRGM) -> None:
    one = model.sample(3, 4, generator=torch.Generator().manual_seed(1))
    two = model.sample(3, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(one.images, two.images)
    several = model.sample(torch.tensor([1, 5]), 3, generator=torch.Generator().manual_seed(1))
    assert several.concept.tolist() == [1, 1, 1, 5, 5, 5]
    assert several.images.shape == (6, 1, 28, 28)


@pytest.mark.parametrize(("image", "classes"), [((3, 32, 32), 10), ((1, 64, 48), 3)])
@pytest.mark.parametrize("name", NETWORKS)
def test_other_images_and_classes(name: str, image: tuple[int, int, int], classes: int) -> None:
    model = SpatialRGM.from_preset(name, image=image, classes=classes)
    result = model.infer(torch.rand(2, *image))
    assert result.reconstruction.shape == (2, *image)
    assert result.concept.shape == (2, classes)
    assert result.z1.shape == (2, image[1] // 4, image[2] // 4)
    samples = model.sample(1, 2)
    assert samples.images.shape == (2, *image)
    assert [z.shape[1:] for z in samples.codes] == [level.grid for level in model.config.levels[:-1]]


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("seed", "quick")])
def test_parameters_do_not_grow_with_the_image(name: str) -> None:
    sizes = [
        sum(p.numel() for p in SpatialRGM.from_preset(name, image=(3, side, side)).parameters())
        for side in (32, 64, 128)
    ]
    assert len(set(sizes)) == 1


def test_work_grows_with_the_pixels() -> None:
    """Four times the pixels cost four times the multiplications, except for the top's variable."""

    def operations(side: int) -> int:
        model = SpatialRGM.from_preset("colour32", image=(3, side, side)).eval()
        image = torch.rand(1, 3, side, side)
        with FlopCounterMode(display=False) as counter:
            model.free_energy(image, torch.tensor([1]), generator=torch.Generator().manual_seed(0))
        return counter.get_total_flops()

    small, large = operations(128), operations(256)  # both beyond the context of the prior
    assert 3.8 < large / small < 4.2


def test_black_and_white_pixels_are_bernoulli(generator: torch.Generator) -> None:
    model = SpatialRGM.from_preset("likelihood").eval()
    grey = torch.rand(4, 1, 28, 28, generator=generator)
    observed = model.observe(grey.expand(4, 1, 28, 28), generator)
    assert set(observed.unique().tolist()) == {0.0, 1.0}
    z1 = one_hot(torch.randint(128, (4, 7, 7), generator=generator), 128)
    expected = torch.distributions.Bernoulli(model.mean_image(z1)).log_prob(observed).sum((1, 2, 3))
    torch.testing.assert_close(model.likelihood.log_prob(observed, z1), expected)
    many = model.observe(torch.full((1, 1, 200, 200), 0.3), generator)
    assert float(many.mean()) == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 40_000))


def test_fixed_binarisation_is_the_same_every_time(generator: torch.Generator) -> None:
    fixed = SpatialRGM(config=preset("likelihood", (1, 28, 28), 10, binarise="fixed"))
    grey = torch.rand(4, 1, 28, 28, generator=generator)
    observed = fixed.observe(grey, generator)
    assert set(observed.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(fixed.observe(grey[2:]), observed[2:])
    assert fixed.is_density


def test_grey_values_are_not_a_density() -> None:
    plain = SpatialRGM(config=preset("likelihood", (1, 28, 28), 10, binarise="none"))
    image = torch.rand(1, 1, 28, 28)
    assert plain.observe(image) is image
    assert not plain.is_density
    assert SpatialRGM.from_preset("likelihood").is_density
    with pytest.raises(RGMError, match="use the preset likelihood"):
        preset("standard", (1, 28, 28), 10, binarise="dynamic")


def test_completion_depends_on_kept_codes_alone(generator: torch.Generator) -> None:
    """With three levels, codes outside `keep` change no sample, and kept codes stay."""
    model = SpatialRGM.from_preset("three-level").eval()
    z1 = torch.randint(16, (2, 14, 14), generator=generator)
    keep = torch.zeros(1, 14, 14, dtype=torch.bool)
    keep[:, :9] = True
    other = torch.where(keep, z1, (z1 + 7) % 16)
    drawn = [model.complete(codes, keep, 4, generator=torch.Generator().manual_seed(5)) for codes in (z1, other)]
    for one, two in zip(drawn[0].codes, drawn[1].codes, strict=True):
        assert torch.equal(one, two)
    assert torch.equal(drawn[0].z1[:, :9], z1[:, :9])
    # A z_2 cell depends on z_1 by 4 × 4 and 3 × 3 convolutions: rows 2i − 3 … 2i + 4, so rows 0 … 2 are kept.
    below = model.recognition(1).read(one_hot(z1, 16))
    inferred = model.recognition(2).field(below).mode()
    assert torch.equal(drawn[0].codes[1][:, :3], inferred[:, :3])
    assert not torch.equal(drawn[0].codes[1][:, 3:], inferred[:, 3:])


def test_the_bound_is_tight_where_the_posterior_is_exact(generator: torch.Generator) -> None:
    """With a decoder and a prior independent of the codes, the prior is the posterior: then F = −log p(x)."""
    model = tiny(3)
    with torch.no_grad():
        for part in (*model.priors, model.likelihood, *(model.recognition(n).head for n in (1, 2, 3))):
            for parameter in part.parameters():
                parameter.zero_()
    image = torch.rand(5, 1, 4, 4, generator=generator, dtype=torch.float64)
    evidence = -model.likelihood.log_prob(image, torch.zeros(5, 2, 2, 2, dtype=torch.float64))
    free = model.free_energy(image, generator=generator).total_nats
    torch.testing.assert_close(free, evidence.detach())
    torch.testing.assert_close(-model.log_weight(image, generator=generator), evidence.detach())


@torch.no_grad()
def test_concepts_that_are_as_good_as_impossible_are_not_summed(generator: torch.Generator) -> None:
    model = SpatialRGM.from_preset("seed").double().eval()
    for weights in model.recognition(2).head.parameters():
        weights.mul_(300)
    image = torch.rand(40, 1, 28, 28, generator=generator, dtype=torch.float64)
    fields, drawn = model._draw(image, generator)
    weights = fields[-1].probs().flatten(1)
    assert 40 <= int((weights >= 1e-6).sum()) < 200
    exact, short = (model.bound(image, fields, drawn, negligible=cut).total_nats for cut in (0.0, 1e-6))
    assert not torch.equal(exact, short)
    torch.testing.assert_close(short, exact, atol=1e-3, rtol=0)


def test_samples_follow_the_prior_level_by_level() -> None:
    """A concept's samples are those of `sample_below`, level by level."""
    model = SpatialRGM.from_preset("three-level").eval()
    seeded = [torch.Generator().manual_seed(4) for _ in range(2)]
    samples = model.sample(torch.tensor([3, 8]), generator=seeded[0])
    z1, z2 = model.sample_below(torch.tensor([3, 8])[:, None, None], 3, generator=seeded[1])
    assert torch.equal(samples.z1, z1)
    assert torch.equal(samples.codes[1], z2)
    assert model.sample_below(z1, 1) == []
    (again,) = model.sample_below(z2, 2, generator=torch.Generator().manual_seed(1))
    assert again.shape == z1.shape


@pytest.mark.parametrize("preset", ["standard", "three-level"])
def test_a_morph_begins_and_ends_as_samples_of_its_concepts(preset: str) -> None:
    model = SpatialRGM.from_preset(preset).eval()
    frames = model.morph(3, 8, 5, generator=torch.Generator().manual_seed(4))
    assert frames.concept.tolist() == [3, 3, 3, 8, 8]
    for place, concept in ((0, 3), (4, 8)):
        sample = model.sample(concept, generator=torch.Generator().manual_seed(4))
        assert torch.equal(frames.z1[place], sample.z1[0])
    assert torch.equal(frames.images, model.decode(frames.z1))
    same = model.morph(3, 3, 4, generator=torch.Generator().manual_seed(4))
    assert torch.equal(same.z1, frames.z1[:1].expand(4, -1, -1))
    with pytest.raises(RGMError, match=r"must lie in 2 … .*, but is 1"):
        model.morph(3, 8, 1)
    with pytest.raises(RGMError, match="concepts are 0 … 9, but 10"):
        model.morph(3, 10, 4)


def test_a_cell_beyond_the_grid_has_no_probabilities() -> None:
    model = SpatialRGM.from_preset("standard").eval()
    z1 = model.sample(3).z1
    assert model.cell_log_probs(z1, 3, 6, 6).exp().sum() == pytest.approx(1, abs=1e-5)
    for row, column in ((7, 0), (0, 7), (-1, 0)):
        with pytest.raises(RGMError, match="a cell in a grid of 7 × 7 must lie in 0 … 6"):
            model.cell_log_probs(z1, 3, row, column)


@pytest.mark.parametrize("depth", [2, 3])
def test_gradients_of_the_enumerated_bound_are_its_differences(depth: int, generator: torch.Generator) -> None:
    """∂F/∂θ = Σ_z [q (∂f + f ∂ log q)]: autograd of `bound`, weighted by q over every z, against finite differences."""
    model = tiny(depth)
    image = torch.rand(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    below = [grids(model, level) for level in range(depth - 1)]
    states = torch.tensor(list(itertools.product(*(range(len(field)) for field in below))))
    samples = [
        one_hot(field[states[:, n]], model.config.levels[n].states, dtype=torch.float64)
        for n, field in enumerate(below)
    ]
    images = image.expand(len(samples[0]), -1, -1, -1)

    def enumerated_bound() -> torch.Tensor:
        fields, below = [], images
        for level in range(1, depth + 1):
            fields.append(model.recognition(level).field(below))
            below = samples[level - 1] if level < depth else below
        log_q = torch.stack([f.log_prob(z) for f, z in zip(fields, samples, strict=False)]).sum(0)
        return (log_q.exp() * model.bound(images, fields, samples).total_nats).sum()

    value = enumerated_bound()
    assert float(value.detach()) == pytest.approx(enumerated(model, image)[1])
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    step = 1e-6
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            flat = parameter.view(-1)
            place = int(torch.randint(len(flat), (), generator=generator))
            flat[place] += step
            above = float(enumerated_bound())
            flat[place] -= 2 * step
            under = float(enumerated_bound())
            flat[place] += step
            expected = 0.0 if gradient is None else float(gradient.view(-1)[place])
            assert (above - under) / (2 * step) == pytest.approx(expected, abs=1e-7, rel=1e-5)


def test_errors_of_wrong_input(model: SpatialRGM) -> None:
    with pytest.raises(RGMError, match=r"\(n, 1, 28, 28\).*\(2, 1, 32, 32\)"):
        model.infer(torch.rand(2, 1, 32, 32))
    states, height, width = model.config.levels[0].shape
    with pytest.raises(RGMError, match=f"0 … {states - 1}"):
        model.decode(torch.full((1, height, width), states))
    with pytest.raises(RGMError, match=rf"\(n, {height}, {width}\)"):
        model.decode(torch.zeros(1, 8, 8, dtype=torch.int64))
    with pytest.raises(RGMError, match="3 images, but got 2"):
        model._labels(torch.tensor([1, 2]), 3)
    with pytest.raises(RGMError, match=r"range over 0 … 255"):
        model.infer(torch.tensor([0.0, 255.0]).repeat(392).reshape(1, 1, 28, 28))
    with pytest.raises(RGMError, match="10 was requested"):
        model.sample(10, 1)
    with pytest.raises(RGMError, match="number of samples must lie in 1"):
        model.sample(0, 0)


def test_renamed_concepts_are_the_same_model(model: SpatialRGM, generator: torch.Generator) -> None:
    images = torch.rand(3, 1, 28, 28, generator=generator)
    before, labels = model.infer(images), torch.tensor([0, 4, 9])
    names = torch.randperm(10, generator=generator)
    cost = model.free_energy(images, labels, generator=torch.Generator().manual_seed(1)).total_nats
    model.rename_concepts(names)
    torch.testing.assert_close(model.infer(images).concept[:, names], before.concept)
    again = model.free_energy(images, names[labels], generator=torch.Generator().manual_seed(1)).total_nats
    torch.testing.assert_close(again, cost)
    with pytest.raises(RGMError, match="permutation"):
        model.rename_concepts(torch.zeros(10, dtype=torch.int64))


@pytest.mark.parametrize("wrong", [torch.zeros(1, 1, 28, 28, dtype=torch.uint8), np.zeros((1, 1, 28, 28))])
def test_inputs_must_be_float_tensors(wrong: object) -> None:
    """In tests jaxtyping checks shapes before the model does, so its check is called directly."""
    check = SpatialRGM._check_images
    with pytest.raises(RGMError, match=r"floats in \[0, 1\], but got (torch.uint8|ndarray)"):
        inspect.unwrap(check)(SpatialRGM(), wrong)  # type: ignore[arg-type]


def test_configurations_that_make_no_model() -> None:
    with pytest.raises(RGMError, match=r"cells of 4 × 4 .* resize to 48 × 20"):
        preset("colour32", (3, 46, 20), 10)
    with pytest.raises(RGMError, match=r"cells of 4 × 4 .* resize to 28 × 32"):
        preset("three-level", (3, 28, 30), 10)
    with pytest.raises(RGMError, match="resize to 32 × 28"):
        preset("standard", (1, 31, 28), 10)
    with pytest.raises(RGMError, match="did you mean 'standard'"):
        preset("standart", (1, 28, 28), 10)
    with pytest.raises(RGMError, match=r"number of classes .* must lie in 2"):
        preset("seed", (1, 28, 28), 1)
