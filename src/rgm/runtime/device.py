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


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return a device by its name, `auto` for CUDA, MPS or CPU in this order; raise RGMError where there is none."""
    name, _, index = str(device).partition(":")
    if name not in DEVICES or (index and (name == "auto" or not index.isdecimal())):
        raise unknown("device", str(device), DEVICES)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if present[device])
    if not present[name]:
        raise RGMError(f"PyTorch finds no {name} device on this machine: use --device auto or --device cpu")
    count = torch.cuda.device_count() if name == "cuda" else 1
    if index and int(index) >= count:
        raise RGMError(
            f"PyTorch finds {count} {name} device{'s' if count > 1 else ''} on this machine, but not {device}"
        )
    return torch.device(name, int(index)) if index and name == "cuda" else torch.device(name)


def check_processor(device: str | torch.device) -> None:
    """Raise RGMError for a device other than the processor, which models of films are learned and used on."""
    if str(device) != "auto" and resolve_device(device).type != "cpu":
        raise RGMError(f"models of films run on the CPU, not on {device}: use --device cpu, or leave it out")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether a device has instructions for products in bfloat16; else they are slower than in float32."""
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def shapes_alone() -> bool:
    """Return whether tensors are made on the device meta: for their shapes, without numbers.

    There, whatever draws or computes numbers imports PyTorch's compiler, which takes seconds.
    """
    return torch.empty(0).is_meta


def check_generator(generator: object, device: torch.device | None = None) -> None:
    """Raise RGMError for what is no generator, or one on another than a given device; None is the global one."""
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise RGMError(
            f"generator must be a torch.Generator, but is {type(generator).__name__}: "
            "torch.Generator().manual_seed(0) makes one"
        )
    if device is not None and generator.device.type != device.type:
        raise RGMError(f"the generator is on {generator.device}, but the model on {device}: make one there")
