"""rgm: renormalizing generative models of images and films.

The names below are imported on first use, so that `import rgm` is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgm.cli.terminal import progress
    from rgm.counting.model import CountingRGM
    from rgm.data.films import load_films
    from rgm.data.load import load_data
    from rgm.errors import RGMError
    from rgm.evaluation import judge
    from rgm.loading import load
    from rgm.model.spatial import SpatialRGM
    from rgm.temporal.model import TemporalRGM
    from rgm.training.fit import fit

_MODULES = {
    "CountingRGM": "rgm.counting.model",
    "RGMError": "rgm.errors",
    "SpatialRGM": "rgm.model.spatial",
    "TemporalRGM": "rgm.temporal.model",
    "fit": "rgm.training.fit",
    "load": "rgm.loading",
    "load_data": "rgm.data.load",
    "load_films": "rgm.data.films",
    "progress": "rgm.cli.terminal",
}

__all__ = [
    "CountingRGM",
    "RGMError",
    "SpatialRGM",
    "TemporalRGM",
    "fit",
    "judge",
    "load",
    "load_data",
    "load_films",
    "progress",
]


def __getattr__(name: str) -> Any:
    if name == "judge":  # a module, not a name in one
        return importlib.import_module("rgm.evaluation.judge")
    if name not in _MODULES:
        raise AttributeError(f"module 'rgm' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
