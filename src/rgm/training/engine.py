"""How training is computed: precision, compilation, determinism."""

import os
import shutil
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from rgm.errors import RGMError
from rgm.model.spatial import SpatialRGM
from rgm.model.transformer import TransformerPrior


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How training is computed: the networks' precision, compilation, and determinism.

    In bfloat16 the networks' products have 8 bits of mantissa (`torch.autocast`), and a step's loss is within 2 % of
    float32's; compiled networks differ from eager ones by rounding alone. `deterministic` makes PyTorch use
    deterministic operations only, on any device, for the rest of the process.
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    deterministic: bool = False

    def prepare(self, model: SpatialRGM) -> None:
        """Apply the options before training; raise RGMError where there is no compiler."""
        self.settle()
        if not self.compile:
            return
        if model.device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
            raise RGMError("--compile needs a C++ compiler: install g++, or leave it out")
        for part in networks(model):
            part.compile()

    def settle(self) -> None:
        """Make PyTorch use deterministic operations only, if requested."""
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by CUDA's matrix products
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False

    def context(self, device: torch.device) -> torch.autocast:
        """Return the autocast context of a loss."""
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")


def networks(model: SpatialRGM) -> list[nn.Module]:
    """Return the parts of a model that take most of the time: those that `Engine` compiles."""
    found: list[nn.Module] = [model.recognition(level).features for level in range(1, model.depth + 1)]
    for level in range(1, model.depth):
        prior = model.prior(level)
        found += [*prior.blocks] if isinstance(prior, TransformerPrior) else [prior.get_submodule("net")]
    return [*found, model.likelihood.net]
