"""Training recipes: stages, each with its epochs, its optimiser and the weights of its loss."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from rgm.errors import RGMError
from rgm.presets import preset_of
from rgm.runtime.seeds import as_epochs, whole


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of the terms of the loss; a term of weight 0 is not computed.

    reconstruction   mean squared error over pixels
    concept          cross-entropy −log q(z_L = y | x) in nats per labelled image
    pseudo_label     the same of another view of the image, y its label or the first view's confident concept
    information      −I(c; c′) in nats between the concepts of two views of an image, for unlabelled images
    prior_matching   Σ_ℓ KL(q(z_ℓ | ·) ‖ p(z_ℓ | z_{ℓ+1})) per cell: the notebook's term; independent cells, no bound
    prior            −log p(z_ℓ | z_{ℓ+1}) per cell of the hard codes, without gradient to them
    outliers         the probability γ that a code is an outlier of the prior (see `robust_log_prob`); not a weight
    guidance         w of the factor (p(z_t | z_<t, c) / p(z_t | z_<t))^w of each code in the prior's term; not a weight
    children         −log p(z_ℓ | z_{ℓ+1}) per cell of a grid under a grid, with gradient to z_{ℓ+1}
    codebook         the estimator's own cost, summed over levels (see `VectorQuantised`)
    usage            Σ_ℓ KL(mean over a batch's cells of q(z_ℓ | ·) ‖ uniform) in nats, over grids: uniform use of codes
    locality         mean squared change outside a cell's patch when its code is replaced at random
    adversarial      −D(x̂), the score that a critic D, trained beside, gives a decoded image (see `Critic`)
    free_energy      F(x), or F(x, y) where the label is known, in nats per image, of sampled codes
    rate             weight of the rates within F: β of Higgins et al. (2017), and 1 for a bound
    """

    reconstruction: float = 1.0
    concept: float = 0.0
    pseudo_label: float = 0.0
    information: float = 0.0
    prior_matching: float = 0.0
    prior: float = 0.0
    outliers: float = 0.0
    guidance: float = 0.0
    codebook: float = 0.0
    usage: float = 0.0
    locality: float = 0.0
    adversarial: float = 0.0
    children: float = 0.0
    free_energy: float = 0.0
    rate: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Relocation:
    """Every `every` steps from `start` to `stop`, shares of a stage, hardly needed codes of z_1 are relocated.

    At most one of every 32 codes at a time, the least needed first.

    A code is hardly needed where replacing it by another raises the squared error by less than `need` / (3K) of it,
    with K codes. From `start` on the usage term is off: it spreads similar patches over several codes.
    """

    start: float = 0.25
    stop: float = 0.6
    every: int = 60
    need: float = 1.2

    def __post_init__(self) -> None:
        """Raise RGMError for invalid shares or steps."""
        if not 0 <= self.start <= self.stop <= 1 or self.every < 1:
            raise RGMError(
                f"codes are relocated between two shares of a stage, every so many steps, not between {self.start} and "
                f"{self.stop} every {self.every}"
            )

    def due(self, step: int, steps: int) -> bool:
        """Return whether a code may be relocated after `step` of `steps`."""
        return step % self.every == 0 and self.start * steps <= step < self.stop * steps


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of training with one loss.

    `muon`: the learning rate of Muon (Jordan et al. 2024) for the matrices between a prior's hidden layers and the
    convolutions of the concept, instead of Adam; 0 for Adam alone. `muon_residual`: the same for the convolutions of
    the residual blocks between pixels and codes. `schedule`: `constant`, or `one-cycle` (a rise over the first tenth to
    the learning rates, then a cosine to 0). `shift`: each image is shifted by up to as many pixels on either axis, with
    replicated edges. `mirrored`: half of the images are mirrored, in sets in colour (`rgm.data.images.in_colour`).
    `least_steps`: the minimum number of steps, for small sets. `trains`: the parts that are trained. `warm_up`: the
    share of the stage in which `weights.rate` rises from 0, so that codes are used before their rate is penalised.
    `labelled`: labelled images added to every batch, where most labels are hidden. `second_view_strength`: how far the
    second view of an image is rotated, scaled and shifted, in units of `jitter`; 0 for no second view. `augment_share`:
    the share of a batch that is itself augmented so, the prior being conditioned on how. `relocation`: when hardly
    needed codes are relocated.
    """

    name: str
    epochs: int | float
    least_steps: int = 1
    learning_rate: float = 1e-3
    muon: float = 0.0
    muon_residual: float = 0.0
    batch_size: int = 64
    schedule: Literal["constant", "one-cycle"] = "constant"
    shift: int = 0
    mirrored: bool = False
    trains: Literal["everything", "decoder", "prior", "concept"] = "everything"
    warm_up: float = 0.0
    labelled: int = 0
    second_view_strength: float = 0.0
    augment_share: float = 0.0
    relocation: Relocation | None = None
    weights: Weights

    def rate_at(self, done: float) -> float:
        """Return the learning rates' factor after a share of the stage."""
        if self.schedule == "constant":
            return 1.0
        warm = 0.1
        if done < warm:
            return 0.04 + 0.96 * done / warm
        return 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))

    def weights_at(self, done: float, *, relocates: bool) -> Weights:
        """Return the weights of the loss after a share of the stage, with or without relocation."""
        weights = self.weights
        if done < self.warm_up:
            weights = replace(weights, rate=weights.rate * done / self.warm_up)
        if self.relocation and relocates and done >= self.relocation.start:
            weights = replace(weights, usage=0.0)
        return weights


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The stages in order, and whether the validation split is trained on too.

    A recipe without choices by the validation split may train on it, as the notebook's does.
    """

    stages: tuple[Stage, ...]
    with_validation: bool = False

    @property
    def epochs(self) -> int | float:
        """The sum of all stages' epochs, without rounding errors."""
        return round(sum(stage.epochs for stage in self.stages), 9)

    def adjusted(self, *, epochs: int | float | None = None, batch_size: int | None = None) -> "Recipe":
        """Return the recipe with other epochs, in proportion, and batch size; raise RGMError for invalid ones."""
        stages = self.stages
        if epochs is not None:
            factor = as_epochs(epochs) / self.epochs
            stages = tuple(replace(stage, epochs=stage.epochs * factor, least_steps=1) for stage in stages)
        if batch_size is not None:
            size = whole(batch_size, "the batch size")
            stages = tuple(replace(stage, batch_size=size) for stage in stages)
        return replace(self, stages=stages)

    def with_hidden_labels(self) -> "Recipe":
        """Return the recipe for a set with most or all labels hidden.

        Every stage that learns concepts from labels then maximises the mutual information between the concepts of two
        views of every image; each batch has some labelled images, and confident concepts are pseudo-labels. Without any
        label, images that are typical of clusters replace labelled ones (`rgm.data.neighbours`).
        """

        def changed(stage: Stage) -> Stage:
            if not stage.weights.concept:
                return stage
            weight = stage.weights.concept
            weights = replace(stage.weights, pseudo_label=weight, information=weight)
            return replace(stage, weights=weights, labelled=32, second_view_strength=1.5)

        return replace(self, stages=tuple(map(changed, self.stages)))


def seed() -> Recipe:
    """Return the notebook's recipe: three epochs of Adam at 1e-3 over all 60,000 training images."""
    weights = Weights(reconstruction=1.0, concept=1.0, prior_matching=0.1)
    return Recipe(stages=(Stage(name="seed", epochs=3, weights=weights),), with_validation=True)


PRIOR = Stage(
    name="prior",
    epochs=0.85,
    least_steps=400,
    learning_rate=3e-3,
    muon=0.02,
    schedule="one-cycle",
    trains="prior",
    weights=Weights(reconstruction=0.0, prior=1.0),
)
"""The prior alone."""

_CONCEPT = Stage(
    name="concept",
    epochs=1,
    least_steps=200,
    learning_rate=2e-3,
    schedule="one-cycle",
    trains="concept",
    weights=Weights(reconstruction=0.0, concept=1.0),
)
"""The concept alone, from trained codes."""


_DECODER = Stage(
    name="decoder",
    epochs=1.5,
    least_steps=200,
    schedule="one-cycle",
    trains="decoder",
    mirrored=True,
    weights=Weights(adversarial=0.0025, locality=0.3),
)
"""The decoder alone, from trained codes, against a critic: sharper images at a slightly larger squared error."""


def codes_stage(**weights: float) -> Stage:
    """Return a stage that learns codes and concept together, with these weights."""
    usual = Weights(reconstruction=10.0, concept=0.3, codebook=1.0, usage=0.005)
    return Stage(
        name="codes",
        epochs=4,
        least_steps=800,
        learning_rate=3e-3,
        schedule="one-cycle",
        shift=1,
        weights=replace(usual, **weights),
    )


_PATCHES = replace(
    codes_stage(reconstruction=40.0, concept=1.0, locality=12.0, codebook=10.0),
    least_steps=700,
    batch_size=32,
    relocation=Relocation(),
)
"""Codes whose embeddings start as patches, and the concept."""


def _robust(prior: Stage, outliers: float, **options: Any) -> Stage:
    """Return a short stage after a prior's, at low learning rates, with the outlier-robust loss."""
    weights = replace(prior.weights, outliers=outliers)
    return replace(prior, name="outliers", learning_rate=5e-4, muon=0.005, weights=weights, **options)


def standard() -> Recipe:
    """Return the default recipe: codes and concept, then the prior, then the prior with the outlier-robust loss."""
    prior = replace(PRIOR, epochs=1.1, least_steps=325)
    return Recipe(stages=(replace(_PATCHES, epochs=3), prior, _robust(prior, 0.02, epochs=0.25, least_steps=75)))


def quick() -> Recipe:
    """Return the recipe for a quick result: codes at a high learning rate, then the concept, then a short prior."""
    codes = replace(codes_stage(usage=0.05), epochs=0.23, least_steps=200, learning_rate=6e-3, shift=0)
    concept = replace(_CONCEPT, least_steps=400, learning_rate=6e-3)
    return Recipe(stages=(codes, concept, replace(PRIOR, epochs=0.5)))


def pretrained() -> Recipe:
    """Return the recipe of the packaged weights, in five stages.

    The codes; the prior, also on augmented images and conditioned on the augmentation; the prior with the
    outlier-robust loss; the concept once more, from the trained codes; and the prior with guidance.
    """
    prior = replace(PRIOR, epochs=12, batch_size=128, augment_share=0.8)
    weights = Weights(reconstruction=0.0, concept=0.5, pseudo_label=0.5)
    concept = replace(_CONCEPT, epochs=6, learning_rate=1e-3, shift=1, second_view_strength=1.0, weights=weights)
    robust = _robust(prior, 0.0005, epochs=0.5, least_steps=100)
    guided = replace(robust, name="guidance", weights=replace(prior.weights, guidance=0.2))
    return Recipe(stages=(replace(_PATCHES, epochs=10), prior, robust, concept, guided))


def pyramid() -> Recipe:
    """Return the recipe of models with several grids: all codes and the concept, then the priors over them."""
    codes = codes_stage(children=0.3, usage=0.0, locality=10.0)
    return Recipe(stages=(codes, replace(PRIOR, epochs=1.5)))


def colour() -> Recipe:
    """Return the recipe for natural images: codes and concept together, then the prior.

    Images are shifted, and mirrored where they are in colour. The error weighs more than in `standard`, since more of
    an image is its detail; the codebook's loss too, which keeps embeddings near their codes, and the concept's less,
    which would draw them away. One of every 32 codes may be relocated every 20 steps.
    """
    codes = replace(
        codes_stage(reconstruction=40.0, concept=0.1, locality=3.0, codebook=10.0),
        epochs=4.3,
        shift=2,
        mirrored=True,
        muon=0.02,
        relocation=Relocation(every=20),
    )
    return Recipe(stages=(codes, replace(PRIOR, epochs=2.7, mirrored=True)))


def colour64() -> Recipe:
    """Return `colour` with fewer epochs: an image of 64 × 64 has four times the cells of one of 32 × 32."""
    codes, prior = colour().stages
    return Recipe(stages=(replace(codes, epochs=1.2), replace(prior, epochs=0.8)))


def colour_sharp() -> Recipe:
    """Return `colour` with a last stage of the decoder against a critic, which costs squared error."""
    return Recipe(stages=(*colour().stages, _DECODER))


def colour_medium() -> Recipe:
    """Return the recipe of the packaged weights for clothes: `colour_sharp` for longer."""
    codes, prior, decoder = colour_sharp().stages
    return Recipe(stages=(replace(codes, epochs=8), replace(prior, epochs=6.5), replace(decoder, epochs=3)))


def colour_large() -> Recipe:
    """Return the recipe of the packaged weights for images in colour: codes, concept, prior and decoder, in this order.

    Several times the epochs of `colour`, all but the decoder's in larger batches. The concept has no part in the codes,
    and learns from images that are also rotated and scaled.
    """
    codes, prior = colour().stages
    codes = replace(codes, epochs=25, batch_size=128, muon=0.0, weights=replace(codes.weights, concept=0.0))
    concept = replace(_CONCEPT, epochs=30, batch_size=256, muon=0.02, shift=2, mirrored=True, augment_share=0.8)
    prior = replace(prior, epochs=45, batch_size=256, shift=2)
    return Recipe(stages=(codes, concept, prior, replace(_DECODER, epochs=2.4)))


def likelihood() -> Recipe:
    """Return the recipe for the bound: the free energy alone, with a warm-up of its rates.

    The concept is trained at the end on fixed codes: its loss would change them, at a cost in nats.
    """
    weights = Weights(reconstruction=0.0, free_energy=1.0)
    bound = replace(codes_stage(), name="bound", epochs=18, muon=0.02, muon_residual=0.02, shift=0, warm_up=0.3)
    bound = replace(bound, weights=weights)
    return Recipe(stages=(bound, _CONCEPT))


def recipe(name: str) -> Recipe:
    """Return the recipe of a named preset; raise RGMError for an unknown one."""
    return preset_of(name, "network").make_recipe()
