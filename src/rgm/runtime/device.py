"""Devices and memory."""

import ctypes

import torch

from rgm.errors import RGMError, unknown

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Parameters of glibc's `mallopt`."""
DEVICES = ("auto", "cpu", "cuda", "mps")


def hold_memory() -> None:
    """Let this process keep the memory it frees for reuse; without glibc, do nothing.

    A training step allocates and frees the same large blocks. If they are returned to the system, every 4 KiB cost a
    page fault: a quarter of the time of a small model's step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for threshold in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
        mallopt(threshold, 1 << 30)


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of a name; `auto` selects CUDA, then MPS, then the CPU.

    Raises RGMError for an unknown name or a device that this machine lacks.
    """
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if present[device])
    if not present[name]:
        raise RGMError(f"PyTorch finds no {name} device on this machine: use --device auto or --device cpu")
    return torch.device(name)
