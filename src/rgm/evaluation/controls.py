"""Controls: what must fail, so that a claim that holds says something."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from rgm.counting import variants as trees
from rgm.counting.config import CountingConfig
from rgm.counting.fitting import Recipe as CountingRecipe
from rgm.counting.fitting import default_recipe, learner
from rgm.counting.learning import EMRecipe
from rgm.counting.model import CountingRGM
from rgm.counting.stepwise import StepwiseRecipe
from rgm.data.images import ImageSet, to_unit
from rgm.distributions.noise import seeded
from rgm.evaluation.measurements import PROPERTIES, Property, SampleSizes
from rgm.evaluation.sample_quality import Labels, Sampler
from rgm.model.config import ModelConfig
from rgm.model.decoder import DenseDecoder
from rgm.model.estimator import Gumbel, VectorQuantised
from rgm.model.factorised import DensePrior
from rgm.model.generative import RGM
from rgm.model.recognition import DenseRecognition
from rgm.model.results import Samples
from rgm.model.spatial import SpatialRGM
from rgm.runtime.progress import Watch
from rgm.training.loop import train as trained
from rgm.training.recipe import PRIOR, Recipe, Stage, codes_stage

TEST_IMAGES, SIZES = 2_000, SampleSizes(samples=600, cells=64, concepts=512)
"""Test images, samples and changes on which a control is judged: at most so many."""
FLAT_IMAGES = 5_000
"""Training images of the counted model without a grid, which is learned again: at most so many."""


@dataclass(frozen=True)
class Shuffled(Sampler):
    """A model that samples the next concept: its samples are as good, but not of the requested concept."""

    def sample(self, concept: Labels, count: int = 1, *, generator: torch.Generator | None = None) -> Samples:
        """Return samples of the next concepts under the names of those requested."""
        drawn = self.model.sample((concept + 1) % self.model.num_classes, count, generator=generator)
        return replace(drawn, concept=concept.repeat_interleave(count))


@dataclass(frozen=True)
class Memoriser(Sampler):
    """A model that replays the codes of training images: they are recognised, and nothing about them is new."""

    train: ImageSet

    def sample(self, concept: Labels, count: int = 1, *, generator: torch.Generator | None = None) -> Samples:
        """Return training images of each concept, decoded from their codes."""
        assert self.train.labels is not None
        requested = concept.cpu().repeat_interleave(count)
        picked = torch.empty_like(requested)
        for label in requested.unique():
            places = (self.train.labels == label).nonzero().flatten()
            wanted = requested == label
            drawn = torch.randint(len(places), (int(wanted.sum()),), generator=generator, device=self.device).cpu()
            picked[wanted] = places[drawn]
        z1 = self.model.read(to_unit(self.train.images[picked]).to(self.device))[0]
        return Samples(images=self.model.decode(z1), concept=requested, codes=(z1.cpu(),))


def untrained(model: RGM, *, seed: int) -> RGM:
    """Return a model of the same configuration that has learned nothing."""
    with seeded(seed):
        return type(model).from_config(model.config).eval()


def factorised(model: RGM, train: ImageSet, *, seed: int, watch: Watch = lambda _: None) -> RGM:
    """Return the model with a prior over z_{L−1} that draws every cell on its own, trained on the model's codes."""
    if isinstance(model, CountingRGM):  # summed, not learned
        return trees.factorised(model)
    assert isinstance(model, SpatialRGM)
    *grids, coarsest, concept = model.config.levels
    levels = (*grids, replace(coarsest, prior=DensePrior(width=64)), concept)
    other = _fresh(replace(model.config, levels=levels), seed)
    own = f"priors.{len(model.priors) - 1}."
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith(own)}
    other.load_state_dict(other.state_dict() | kept)
    stage = replace(PRIOR, name="factorised", epochs=0.5, least_steps=300, muon=0.0)
    return _trained(other.to(model.device), train, stage, seed, watch)


def flat(model: RGM, train: ImageSet, *, seed: int, watch: Watch = lambda _: None) -> RGM:
    """Return a model with as many latent bits but no grid: every code depends on and changes all pixels."""
    if isinstance(model, CountingRGM):
        assert train.labels is not None
        with seeded(seed):
            scattered = trees.Scattered(model.config, seed=seed).to(model.device)
        share = max(1, FLAT_IMAGES // model.num_classes)
        few = torch.cat([(train.labels == label).nonzero().flatten()[:share] for label in range(model.num_classes)])
        steps = learner(scattered, _short(model.config), train.images[few], train.labels[few], seed=seed)
        for number in range(len(steps.stages)):
            steps.step(number)
        return scattered.eval()
    assert isinstance(model, SpatialRGM)
    first, *_, concept = model.config.levels
    codes = DenseRecognition(width=256, estimator=VectorQuantised())
    z1 = replace(first, recognition=codes, prior=DensePrior(width=64))
    top = replace(concept, recognition=DenseRecognition(width=64, estimator=Gumbel()))
    config = replace(model.config, levels=(z1, top), decoder=DenseDecoder(width=256))
    stage = replace(codes_stage(prior=0.1), name="flat", epochs=0.4, least_steps=300, learning_rate=1e-3, shift=0)
    return _trained(_fresh(config, seed).to(model.device), train, stage, seed, watch)


def few_of(data: ImageSet, count: int, seed: int) -> ImageSet:
    """Return so many images of a labelled split, taken at random."""
    assert data.labels is not None
    places = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:count]
    return replace(data, images=data.images[places], labels=data.labels[places])


def controls(
    model: RGM, train: ImageSet, *, seed: int, watch: Watch = lambda _: None
) -> Iterator[tuple[str, RGM | Sampler, tuple[Property, ...]]]:
    """Yield every control with its name and the claims that it is tested on, each made when its turn comes."""
    yield "untrained", untrained(model, seed=seed).to(model.device), PROPERTIES
    yield "flat", flat(model, train, seed=seed, watch=watch), ("locality",)
    yield "factorised", factorised(model, train, seed=seed, watch=watch), ("instantiation",)
    yield "shuffled", Shuffled(model), ("instantiation",)
    yield "memoriser", Memoriser(model, train), ("instantiation",)


def _fresh(config: ModelConfig, seed: int) -> SpatialRGM:
    """Return an untrained model; the seed of everything else stays as it was."""
    with seeded(seed):
        return SpatialRGM.from_config(config)


def _short(config: CountingConfig) -> CountingRecipe:
    """Return a short way to learn a counting model, on few images."""
    usually = default_recipe(config)
    if isinstance(usually, EMRecipe):
        return replace(usually, sample=2_000, state_passes=4, prototype_passes=4)
    if isinstance(usually, StepwiseRecipe):
        return replace(usually, windows=10_000, cluster_passes=4, passes=1)
    return replace(usually, batch_size=100)


def _trained(model: SpatialRGM, train: ImageSet, stage: Stage, seed: int, watch: Watch) -> SpatialRGM:
    trained(model, train, Recipe(stages=(stage,)), seed=seed, watch=watch)
    return model
