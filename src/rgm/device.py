"""Where to compute."""

import torch

from rgm.errors import RGMError, unknown

DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of a name; `auto` takes CUDA, then MPS, then the CPU.

    Raises RGMError for an unknown name or a device that this machine lacks.
    """
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if present[device])
    if not present[name]:
        raise RGMError(f"this machine offers PyTorch no {name} device: take --device auto or --device cpu")
    return torch.device(name)
