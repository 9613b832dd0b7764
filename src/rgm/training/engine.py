"""How a training is computed: in what precision, and whether its networks are compiled."""

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
    """How a training is computed: the networks' precision, whether they are compiled first, and how strictly.

    In bfloat16 the networks' products are rounded to 8 bits of mantissa (`torch.autocast`), the loss of a step to
    within 2 %; compiled networks differ from eager ones by rounding alone. `deterministic` has PyTorch take no
    operation whose result may differ between equal runs, on any device, for the rest of the process.
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    deterministic: bool = False

    def prepare(self, model: SpatialRGM) -> None:
        """Do what is asked for before training; raise RGMError where there is no compiler."""
        self.settle()
        if not self.compile:
            return
        if model.device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
            raise RGMError("--compile needs a C++ compiler: install g++, or leave it out")
        for part in networks(model):
            part.compile()

    def settle(self) -> None:
        """Have PyTorch take deterministic operations alone, where that is asked for."""
        if self.deterministic:
            os.environ.setdefault(
                "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
            )  # what CUDA's matrix products need for it
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False

    def context(self, device: torch.device) -> torch.autocast:
        """Return the context that a loss is computed in."""
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")


def networks(model: SpatialRGM) -> list[nn.Module]:
    """Return the parts of a model in which its time goes: what `Engine` compiles."""
    found: list[nn.Module] = [model.recognition(level).features for level in range(1, model.depth + 1)]
    for level in range(1, model.depth):
        prior = model.prior(level)
        found += [*prior.blocks] if isinstance(prior, TransformerPrior) else [prior.get_submodule("net")]
    return [*found, model.likelihood.net]
