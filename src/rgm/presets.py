"""The presets: of each its model, its recipe, its natural image size and a line of help.

Models and recipes are named by where they are defined and looked up when they are asked for: this table imports
nothing, so that `--help` answers at once and every module may read it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal

from rgm.errors import RGMError, unknown

Kind = Literal["network", "counting", "film"]
MODELS: dict[Kind, str] = {"network": "SpatialRGM", "counting": "CountingRGM", "film": "TemporalRGM"}
"""The class of each kind of preset."""


@dataclass(frozen=True)
class Preset:
    """A model with the recipe that trains it.

    `model` is a function of the image's shape and the number of classes (of tones, for films) that returns a
    configuration, `recipe` one that returns a recipe, both as `module:name`; `kind` is the kind of model;
    `size` is the side in pixels that images of a folder are resized to where no other is asked for, None for any.
    """

    help: str
    model: str
    recipe: str
    kind: Kind = "network"
    size: int | None = None

    def make_model(self) -> Callable[..., Any]:
        """Return the function that returns the model's configuration."""
        return resolve_name(self.model)

    def make_recipe(self) -> Any:
        """Return the recipe."""
        return resolve_name(self.recipe)()


# fmt: off
PRESETS: dict[str, Preset] = {
    "standard": Preset(
        "the default: vector-quantised codes on a 7 × 7 grid, a local decoder, an autoregressive prior",
        model="rgm.model.config:standard", recipe="rgm.training.recipe:standard", size=28,
    ),
    "quick": Preset(
        "the notebook's quality in a seventh of its time: a small encoder, a small classifier of the codes",
        model="rgm.model.config:quick", recipe="rgm.training.recipe:quick", size=28,
    ),
    "pretrained": Preset(
        "standard for longer, with a decoder that reaches half a patch and a larger prior",
        model="rgm.model.config:pretrained", recipe="rgm.training.recipe:pretrained", size=28,
    ),
    "seed": Preset(
        "the notebook's network and recipe: Gumbel-Softmax, squared error, 3 epochs",
        model="rgm.model.config:seed", recipe="rgm.training.recipe:seed", size=28,
    ),
    "three-level": Preset(
        "two grids and a concept: 14 × 14, 7 × 7, one digit; a local prior between the grids",
        model="rgm.model.config:three_level", recipe="rgm.training.recipe:pyramid", size=28,
    ),
    "likelihood": Preset(
        "black and white pixels, trained on the free energy alone: nats that compare with the literature",
        model="rgm.model.config:likelihood", recipe="rgm.training.recipe:likelihood", size=28,
    ),
    "colour32": Preset(
        "natural images, about 32 × 32, in colour or grey: 512 codes on an 8 × 8 grid, a prior with guidance",
        model="rgm.model.config:colour32", recipe="rgm.training.recipe:colour", size=32,
    ),
    "colour32-sharp": Preset(
        "colour32, its decoder then trained against a critic: sharper images at a larger squared error",
        model="rgm.model.config:colour32", recipe="rgm.training.recipe:colour_sharp", size=32,
    ),
    "colour32-medium": Preset(
        "colour32-sharp for longer, with 1,024 codes, a deeper prior and a finer concept: an hour or two",
        model="rgm.model.config:colour32_large", recipe="rgm.training.recipe:colour_medium", size=32,
    ),
    "colour32-large": Preset(
        "colour32-medium for much longer: minutes on a GPU",
        model="rgm.model.config:colour32_large", recipe="rgm.training.recipe:colour_large", size=32,
    ),
    "colour64": Preset(
        "colour32 for images of about 64 × 64 or more: a 16 × 16 grid, fewer epochs",
        model="rgm.model.config:colour64", recipe="rgm.training.recipe:colour64", size=64,
    ),
    "paper": Preset(
        "the closed-form model of the literature: a tree of exemplars, each image seen once, no gradients",
        model="rgm.counting.config:paper", recipe="rgm.counting.exemplars:ExemplarRecipe", size=28, kind="counting",
    ),
    "counting": Preset(
        "the same tree fitted better: all images, a few minutes, exact evidence and completions, no gradients",
        model="rgm.counting.config:counting", recipe="rgm.counting.learning:EMRecipe", size=28, kind="counting",
    ),
    "counting-shifted": Preset(
        "counting, from images that are also moved by a pixel in four directions: more accurate, four times as long",
        model="rgm.counting.config:counting", recipe="rgm.counting.learning:shifted", size=28, kind="counting",
    ),
    "exact": Preset(
        "8-bit pixels under hidden Chow–Liu trees, fitted by expectation–maximisation: exact bits per dimension",
        model="rgm.counting.config:exact", recipe="rgm.counting.stepwise:StepwiseRecipe", size=28, kind="counting",
    ),
    "film-memory": Preset(
        "films: remembers them exactly, a tree of blocks in space and time under a chain of events; one pass",
        model="rgm.temporal.config:film_memory", recipe="rgm.temporal.fitting:MemoryRecipe", kind="film",
    ),
    "film-latent": Preset(
        "films: latent events learned by expectation–maximisation, from noisy films too",
        model="rgm.temporal.config:film_latent", recipe="rgm.temporal.fitting:LatentRecipe", kind="film",
    ),
    "film-flow": Preset(
        "films: paths as local transformations, which predict films that were never seen",
        model="rgm.temporal.config:film_flow", recipe="rgm.temporal.fitting:FlowRecipe", kind="film",
    ),
    "film-clip": Preset(
        "films: the same for grey clips of the world, paths by half pixels, one a neighbourhood",
        model="rgm.temporal.config:film_clip", recipe="rgm.temporal.flow_learning:clip_recipe", kind="film",
    ),
}
# fmt: on
NETWORKS = tuple(name for name, preset in PRESETS.items() if preset.kind == "network")
FILMS = tuple(name for name, preset in PRESETS.items() if preset.kind == "film")

ESTIMATORS: dict[str, str] = {
    "gumbel": "relaxed samples at a temperature: soft in training, hard afterwards (Gumbel-Softmax)",
    "straight-through": "hard samples with the gradient of the relaxed ones (straight-through Gumbel-Softmax)",
    "vector-quantised": "the nearest entry of a learned codebook; no noise",
    "reinmax": "hard samples with a gradient that is right to second order (ReinMax)",
}


def preset_of(name: str, kind: Kind | None = None) -> Preset:
    """Return a preset; raise RGMError for an unknown name, or one of another kind of model."""
    among: Iterable[str] = [other for other, preset in PRESETS.items() if kind in (None, preset.kind)]
    if name not in PRESETS:
        raise unknown("preset", name, among)
    found = PRESETS[name]
    if kind not in (None, found.kind):
        other = MODELS[found.kind]
        raise RGMError(
            f"the preset {name} is a {other}: take {other}.from_preset({name!r}), or one of {', '.join(among)}"
        )
    return found
