"""The command that collects what a bug report needs: `doctor`."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rgm.cli import options
from rgm.cli.terminal import show
from rgm.errors import RGMError

LIBRARIES = ("numpy", "scipy", "scikit-learn", "safetensors", "pydantic", "matplotlib", "starlette")
EXTRAS = {
    "onnx": "onnx",
    "tensorboard": "tensorboard",
    "hub": "huggingface_hub",
    "compress": "constriction",
    "play": "gymnasium",
    "video": "av",
}
VARIABLES = ("RGM_DATA_DIR", "RGM_CACHE_DIR", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def doctor(*, quiet: options.Quiet = False) -> None:
    """Print what a bug report needs: versions, machine, devices, extras, and where data and weights are.

    Example: `rgm doctor`
    """
    from rgm.cli.tables import plain_table

    found = findings()
    if not quiet:
        show(plain_table("rgm doctor", found))


def findings() -> dict[str, str]:
    """Return the state of the installation, by name; writes and downloads nothing."""
    import torch

    from rgm.data.named import NAMED, at_hand, cache_dir
    from rgm.runtime.device import DEVICES
    from rgm.storage.checkpoint import PACKAGED

    found = {
        "rgm": f"{version('rgm')}, in {Path(__file__).parents[1]}",
        "Python": f"{platform.python_version()}, {platform.python_implementation()}",
        "system": f"{platform.platform()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "PyTorch": f"{torch.__version__}, built for CUDA {torch.version.cuda or '(none)'}",
        "devices": ", ".join(filter(_available, DEVICES[1:])),
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
        missing = f"not on this machine; would be downloaded to {cache_dir(known.name)}"
        found[f"data {known.name}"] = str(place) if place else missing
    return found | {f"weights {name}": _weights(name) for name in PACKAGED}


def _available(device: str) -> bool:
    from rgm.runtime.device import resolve_device

    try:
        resolve_device(device)
    except RGMError:
        return False
    return True


def _weights(name: str) -> str:
    from rgm.loading import load_checkpoint
    from rgm.storage.checkpoint import packaged

    try:
        origin = load_checkpoint(packaged(name)).origin
    except RGMError as error:
        return str(error)
    return f"intact: {origin.preset} on {origin.data}, seed {origin.seed}"
