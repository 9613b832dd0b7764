"""What a bug report needs to say of where it happened."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from rgm.data.named import NAMED, at_hand, cache_dir
from rgm.errors import RGMError
from rgm.loading import load_checkpoint
from rgm.runtime.device import DEVICES, resolve_device
from rgm.storage.checkpoint import PACKAGED, packaged

LIBRARIES = ("numpy", "scipy", "scikit-learn", "safetensors", "pydantic", "matplotlib", "starlette")
EXTRAS = {"onnx": "onnx", "tensorboard": "tensorboard", "hub": "huggingface_hub"}
VARIABLES = ("RGM_DATA_DIR", "RGM_CACHE_DIR", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def findings() -> dict[str, str]:
    """Return what there is, by name; nothing is written, nothing is fetched."""
    found = {
        "rgm": f"{version('rgm')}, in {Path(__file__).parent}",
        "Python": f"{platform.python_version()}, {platform.python_implementation()}",
        "system": f"{platform.platform()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "PyTorch": f"{torch.__version__}, built for CUDA {torch.version.cuda or '(none)'}",
        "devices": ", ".join(filter(_present, DEVICES[1:])),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }
    for extra, module in EXTRAS.items():
        try:
            found[f"extra {extra}"] = version(module)
        except PackageNotFoundError:
            found[f"extra {extra}"] = "not installed"
    found |= {f"${name}": os.environ.get(name, "not set") for name in VARIABLES}
    for known in NAMED.values():
        place = at_hand(known)
        found[f"data {known.name}"] = (
            str(place) if place else f"not here, would be fetched to {cache_dir(known.name)}"
        )
    return found | {f"weights {name}": _whole(name) for name in PACKAGED}


def _present(device: str) -> bool:
    try:
        resolve_device(device)
    except RGMError:
        return False
    return True


def _whole(name: str) -> str:
    try:
        origin = load_checkpoint(packaged(name)).origin
    except RGMError as error:
        return str(error)
    return f"whole: {origin.preset} on {origin.data}, seed {origin.seed}"
