from dataclasses import replace

import pytest
import torch

import rgm
from rgm.data.images import ImageSet, to_unit
from rgm.data.labels import HIDDEN, few_labels
from rgm.data.load import from_arrays, load_data
from rgm.errors import RGMError
from rgm.model.estimator import CodebookHead
from rgm.model.spatial import SpatialRGM
from rgm.presets import NETWORKS
from rgm.runtime.distributed import current
from rgm.runtime.progress import StepRecord
from rgm.training.batches import Batches, shifted
from rgm.training.loop import NeuralTrainer, train
from rgm.training.recipe import Recipe, Stage, Weights, recipe


class StopError(Exception):
    """Raised by a callback to end training early."""


@pytest.fixture(scope="module")
def subset(digits: ImageSet) -> ImageSet:
    assert digits.labels is not None
    return replace(digits, images=digits.images[:200], labels=digits.labels[:200])


def new_model(name: str = "seed") -> SpatialRGM:
    torch.manual_seed(0)
    return SpatialRGM.from_preset(name)


def two_stages() -> Recipe:
    weights = Weights(concept=1.0, prior_matching=0.1)
    first = Stage(name="first", epochs=1.5, batch_size=64, weights=weights, schedule="one-cycle")
    return Recipe(stages=(first, replace(first, name="second", epochs=1)))


SHORT = ("seed", "quick", "standard")
"""The presets that quick runs train, too."""


@pytest.mark.parametrize(
    "name", [name if name in SHORT else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_every_preset_learns(name: str) -> None:
    size = 32 if name.startswith("colour") else 28
    channels = 3 if name.startswith("colour") else 1
    images = load_data("digits", "train", size=size, channels=channels)
    assert images.labels is not None
    images = replace(images, images=images.images[:200], labels=images.labels[:200])
    torch.manual_seed(0)
    model = SpatialRGM.from_preset(name, image=images.shape)
    plan = recipe(name).adjusted(epochs=8, batch_size=32)
    steps: list[StepRecord] = []
    train(model, images, plan, seed=0, watch=steps.append)
    learned = {"codes": "reconstruction", "seed": "reconstruction", "bound": "distortion_nats", "prior": "prior"}
    stages = [stage.name for stage in plan.stages if stage.name in learned]
    assert stages
    for stage in stages:
        values = [step.terms[learned[stage]] for step in steps if step.stage == stage]
        assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("name", ["likelihood", "quick"])
@pytest.mark.parametrize("part", ["decoder", "prior", "concept"])
def test_a_stage_of_one_part_freezes_the_others(subset: ImageSet, name: str, part: str) -> None:
    """Codes that are in no use stay as they are, too: an entry of a codebook moves only while it is trained."""
    model = new_model(name)
    if isinstance(head := model.recognition(1).head, CodebookHead):
        head.usage[:3] = 0.0
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = {"decoder": Weights(adversarial=0.01), "prior": Weights(reconstruction=0.0, prior=1.0)}.get(
        part, Weights(reconstruction=0.0, concept=1.0)
    )
    stage = Stage(name=part, epochs=2, learning_rate=3e-3, trains=part, weights=weights)  # type: ignore[arg-type]
    learned, start = {
        "decoder": ("reconstruction", "likelihood."),
        "prior": ("prior", "priors.0."),
        "concept": ("concept", "recognitions.1."),
    }[part]
    history = train(model, subset, Recipe(stages=(stage,)), seed=0).history
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(start) for name in moved)
    assert history[-1].terms[learned] < history[0].terms[learned]


def test_equal_seeds_give_equal_runs(subset: ImageSet) -> None:
    models = [new_model(), new_model()]
    histories = [train(model, subset, two_stages(), seed=5, validation=subset).history for model in models]
    assert histories[0] == histories[1]
    for one, two in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(one, two)


def test_another_seed_gives_another_run(subset: ImageSet) -> None:
    losses = [train(new_model(), subset, two_stages(), seed=seed).history[-1].loss for seed in (0, 1)]
    assert losses[0] != losses[1]


def test_steps_and_epochs_are_counted_over_stages(subset: ImageSet) -> None:
    seen: list[StepRecord] = []
    history = train(new_model(), subset, two_stages(), seed=0, watch=seen.append).history
    # 200 images in batches of 64 make 4 steps per epoch: 6 of the first stage, then 4.
    assert [record.step for record in seen] == list(range(1, 11))
    assert {record.steps for record in seen} == {10}
    assert [(record.stage, record.epoch, record.step) for record in history] == [
        ("first", 1, 4),
        ("first", 2, 6),
        ("second", 1, 10),
    ]
    first = [record.loss for record in seen[:4]]
    assert history[0].loss == pytest.approx(sum(first) / 4)


def adversarial() -> Recipe:
    codes, *_ = two_stages().stages
    decoder = replace(codes, name="decoder", epochs=1, trains="decoder", weights=Weights(adversarial=0.1))
    return Recipe(stages=(codes, decoder))


PLANS = {"seed": two_stages, "adversarial": adversarial}
"""Those of the preset seed; else a preset's own, shortened."""


def plan_of(name: str) -> Recipe:
    return PLANS[name]() if name in PLANS else recipe(name).adjusted(epochs=2.5, batch_size=64)


def trainer_of(name: str, subset: ImageSet) -> NeuralTrainer:
    return NeuralTrainer(new_model("seed" if name in PLANS else name), subset, subset, plan_of(name), seed=2)


@pytest.fixture(
    scope="module", params=["seed", "adversarial", "standard", pytest.param("pretrained", marks=pytest.mark.slow)]
)
def uninterrupted(request: pytest.FixtureRequest, subset: ImageSet) -> tuple[str, NeuralTrainer]:
    """An uninterrupted training."""
    done = trainer_of(request.param, subset)
    done.run(lambda _: None, lambda *_: None)
    return request.param, done


@pytest.mark.parametrize("stop_at", [1, 4, 6, 9])
def test_training_resumed_at_any_step_is_bit_identical(
    subset: ImageSet, uninterrupted: tuple[str, NeuralTrainer], stop_at: int
) -> None:
    name, undisturbed = uninterrupted
    broken = trainer_of(name, subset)
    kept: list[tuple[object, object, dict[str, torch.Tensor]]] = []

    def keep(training: NeuralTrainer, _record: object) -> None:
        weights = {name: value.clone() for name, value in training.model.state_dict().items()}
        numbers, tensors = training.state()
        kept.append((numbers, {name: value.clone() for name, value in tensors.items()}, weights))

    def watch(record: StepRecord) -> None:
        if record.step == stop_at:
            raise StopError

    with pytest.raises(StopError):
        broken.run(watch, keep)
    numbers, tensors, weights = kept[-1]
    resumed = trainer_of(name, subset)
    resumed.model.load_state_dict(weights)
    resumed.restore(numbers, tensors)  # type: ignore[arg-type]
    resumed.run(lambda _: None, lambda *_: None)
    assert resumed.history == undisturbed.history
    for one, two in zip(undisturbed.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_a_loss_that_is_not_finite_stops_with_step_and_terms(subset: ImageSet) -> None:
    model = new_model()
    with torch.no_grad():
        model.likelihood.net[0].bias.fill_(float("nan"))
    place = r"nan at step 1, batch 1 of epoch 1 of stage 'seed'"
    with pytest.raises(RGMError, match=place + r" \(training images \d+, .* by its term reconstruction \("):
        train(model, subset, recipe("seed"), seed=0)


def test_weights_that_are_not_finite_are_never_a_checkpoint(subset: ImageSet) -> None:
    training = NeuralTrainer(new_model(), subset, None, recipe("seed"), seed=0)
    with torch.no_grad():
        training.model.likelihood.net[0].bias[3] = float("inf")
    with pytest.raises(RGMError, match=r"weights likelihood.net.0.bias are no longer finite after step 0"):
        training.state()


def test_the_state_of_another_training_is_refused(subset: ImageSet) -> None:
    training = NeuralTrainer(new_model(), subset, None, two_stages(), seed=0)
    training.run(lambda _: None, lambda *_: None)
    numbers, tensors = training.state()
    fresh = NeuralTrainer(new_model(), subset, None, two_stages(), seed=0)
    for wrong in ({"stage": 2}, {"step": -1}, {"step": 10**9}, {"epoch": 40}, {"step": "many"}):
        with pytest.raises(RGMError, match="state of another training"):
            fresh.restore(numbers | {"position": numbers["position"] | wrong}, tensors)
    name = next(name for name in tensors if name.endswith("exp_avg"))
    for other in ({name: tensors[name][..., :1]}, {name: tensors[name].long()}, {"7.0.step": torch.zeros(())}):
        with pytest.raises(RGMError, match="its optimisers have no"):
            fresh.restore(numbers, tensors | other)
    with pytest.raises(RGMError, match="its optimisers have only exp_avg of weights 0"):
        fresh.restore(numbers, {"0.0.exp_avg": tensors["0.0.exp_avg"]})
    fresh.restore(numbers, tensors)
    assert fresh.finished


def test_the_critic_is_part_of_the_state(subset: ImageSet) -> None:
    training = NeuralTrainer(new_model(), subset, None, adversarial(), seed=0)
    training.run(lambda _: None, lambda *_: None)
    numbers, tensors = training.state()
    learned = [name for name in tensors if name.startswith("weights.critic.")]
    assert learned
    fresh = NeuralTrainer(new_model(), subset, None, adversarial(), seed=0)
    for other in ({learned[0]: tensors[learned[0]][:1]}, {"weights.critic.other": torch.zeros(1)}):
        with pytest.raises(RGMError, match="another training than this recipe's: of its critic, "):
            fresh.restore(numbers, tensors | other)
    with pytest.raises(RGMError, match=f"of its critic, .*{learned[0].removeprefix('weights.critic.')} is missing"):
        fresh.restore(numbers, {name: value for name, value in tensors.items() if name != learned[0]})
    fresh.restore(numbers, tensors)
    assert fresh.finished


def test_labels_are_needed_where_the_recipe_learns_concepts(subset: ImageSet) -> None:
    with pytest.raises(RGMError, match="learns concepts from labels"):
        train(new_model(), replace(subset, labels=None, classes=()), recipe("seed"), seed=0)


def plan_for_hidden_labels() -> Recipe:
    stages = recipe("standard").adjusted(epochs=2.5, batch_size=64).with_hidden_labels().stages
    return Recipe(stages=tuple(replace(stage, batch_size=64) for stage in stages))


def test_hidden_labels_have_no_effect(subset: ImageSet) -> None:
    """Hidden labels change no weight, in either stage."""
    assert subset.labels is not None
    known = few_labels(subset, 20, seed=0)
    assert known.labels is not None
    other = replace(subset, labels=torch.where(known.labels == HIDDEN, (subset.labels + 1) % 10, subset.labels))
    found = []
    for source in (subset, other):
        assert source.labels is not None
        labels = torch.where(known.labels == HIDDEN, HIDDEN, source.labels)
        model = new_model("standard")
        train(model, replace(source, labels=labels), plan_for_hidden_labels(), seed=1)
        found.append(model.state_dict())
    assert all(torch.equal(one, two) for one, two in zip(found[0].values(), found[1].values(), strict=True))


@pytest.mark.parametrize("count", [20, pytest.param(0, marks=pytest.mark.slow)])
def test_training_with_few_labels_is_resumed(subset: ImageSet, count: int) -> None:
    data = few_labels(subset, count, seed=0)
    uninterrupted = NeuralTrainer(new_model("standard"), data, subset, plan_for_hidden_labels(), seed=2)
    states: list[tuple[object, object, dict[str, torch.Tensor]]] = []

    def keep(training: NeuralTrainer, _record: object) -> None:
        numbers, tensors = training.state()
        weights = {name: value.clone() for name, value in training.model.state_dict().items()}
        states.append((numbers, {name: value.clone() for name, value in tensors.items()}, weights))

    uninterrupted.run(lambda _: None, keep)
    numbers, tensors, weights = states[1]
    resumed = NeuralTrainer(new_model("standard"), data, subset, plan_for_hidden_labels(), seed=2)
    resumed.model.load_state_dict(weights)
    resumed.restore(numbers, tensors)  # type: ignore[arg-type]
    resumed.run(lambda _: None, lambda *_: None)
    assert resumed.history == uninterrupted.history
    assert {"concept", "pseudo_label", "information"} <= set(uninterrupted.history[0].terms)


def test_fit_takes_arrays(subset: ImageSet) -> None:
    assert subset.labels is not None
    model = new_model()
    result = rgm.fit(model, subset.images.numpy(), subset.labels.numpy(), recipe="seed", epochs=1, device="cpu")
    assert result.model is model
    assert len(result.history) == 1
    assert not model.training


def test_invalid_recipes_are_refused() -> None:
    for epochs in (0, -1, float("inf"), float("nan")):
        with pytest.raises(RGMError, match="epochs is a finite number above 0"):
            recipe("seed").adjusted(epochs=epochs)
    with pytest.raises(RGMError, match=r"at most 1,000,000, but is 1e\+300"):
        recipe("seed").adjusted(epochs=1e300)
    assert recipe("seed").adjusted(epochs=1_000_000).epochs == 1_000_000
    with pytest.raises(RGMError, match="batch size"):
        recipe("seed").adjusted(batch_size=0)
    with pytest.raises(RGMError, match="did you mean 'seed'"):
        recipe("sead")


def test_images_are_shifted_by_every_amount_and_no_more(generator: torch.Generator) -> None:
    image = torch.arange(36.0).reshape(1, 1, 6, 6)
    moved = shifted(image.expand(400, -1, -1, -1), 1, generator)
    seen = {(int(m[0, 2, 2]) - 14) for m in moved}
    assert seen == {6 * down + right for down in (-1, 0, 1) for right in (-1, 0, 1)}
    inner = moved[:, 0, 1:5, 1:5]
    steps = inner - inner[:, :1, :1]
    torch.testing.assert_close(steps, (image[0, 0, 1:5, 1:5] - image[0, 0, 1, 1]).expand(400, 4, 4))
    assert shifted(image, 0, generator) is image


@pytest.mark.parametrize(("channels", "coloured"), [(1, False), (3, False), (3, True)])
def test_half_of_the_images_are_mirrored_in_sets_in_colour_alone(
    channels: int, coloured: bool, generator: torch.Generator
) -> None:
    ramp = torch.arange(64).repeat(8, 1)[:, :8].to(torch.uint8).expand(400, channels, 8, 8).clone()
    if coloured:
        ramp[:, 1] += 100
    data = from_arrays(ramp, torch.zeros(400, dtype=torch.int64))
    stage = Stage(name="codes", epochs=1, batch_size=400, mirrored=True, weights=Weights())
    model = SpatialRGM.from_preset("quick", image=(channels, 8, 8))
    batches = Batches(model, data, None, Recipe(stages=(stage,)), current(), seed=0)
    images = batches.batch(stage, torch.arange(400), generator).images
    turned = images[:, 0, 0, 0] > images[:, 0, 0, 7]
    assert 0.4 < float(turned.double().mean()) < 0.6 if coloured else not turned.any()
    expected = to_unit(ramp)
    torch.testing.assert_close(images, torch.where(turned[:, None, None, None], expected.flip(3), expected))


def test_frozen_weights_do_not_change(digits: ImageSet) -> None:
    torch.manual_seed(0)
    model = SpatialRGM.from_preset("quick")
    frozen = model.recognition(2).features[0].weight.requires_grad_(False)
    before = frozen.clone()
    subset = replace(
        digits, images=digits.images[:64], labels=digits.labels[:64] if digits.labels is not None else None
    )
    NeuralTrainer(model, subset, None, recipe("quick").adjusted(epochs=3), seed=0).run(lambda _: None, lambda *_: None)
    assert torch.equal(frozen, before)
    assert [weight.requires_grad for weight in model.parameters()].count(False) == 1
