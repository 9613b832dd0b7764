"""Distributed training: this process's rank, and reductions over all processes."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from rgm.errors import RGMError

PATIENCE = timedelta(seconds=45)
"""Timeout of a process for the others."""


@dataclass(frozen=True)
class Processes:
    """This process's rank and the number of processes; a single one has rank 0 of 1."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def rows(self, batch: int, device: torch.device) -> Tensor:
        """Return this process's rows of a batch: at least one, so that all stay in step."""
        rows = list(range(self.rank, batch, self.count)) or [0]
        return torch.tensor(rows, device=device)

    def weight(self, batch: int) -> float:
        """Return the weight of the mean over this process's rows in the mean of the means over processes."""
        rows = len(range(self.rank, batch, self.count))
        return rows * self.count / batch


def current() -> Processes:
    """Return this process's rank among those that train together."""
    if dist.is_available() and dist.is_initialized():
        return Processes(rank=dist.get_rank(), count=dist.get_world_size())
    return Processes()


def total(x: Tensor) -> Tensor:
    """Return the sum over all processes, without gradient; `x` itself for a single process."""
    if current().count == 1:
        return x
    summed = x.detach().clone()
    dist.all_reduce(summed)
    return summed


def mean(x: Tensor, weight: float = 1.0) -> Tensor:
    """Return the mean over processes of weight · x; its gradient is that of this process's part.

    Averaged over processes, a function f of it has the gradient of f of the mean, as `DistributedDataParallel`
    computes. `weight` is `Processes.weight`, so that all rows have equal weight.
    """
    processes = current()
    if processes.count == 1:
        return x
    part = weight * x
    return part + (total(part) / processes.count - part).detach()


def gathered(x: Tensor) -> list[Tensor]:
    """Return every process's tensor, which may differ in length, in the order of their ranks."""
    processes = current()
    if processes.count == 1:
        return [x]
    lengths = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(processes.count)]
    dist.all_gather(lengths, torch.tensor([len(x)], device=x.device))
    longest = int(torch.cat(lengths).max())
    padded = x.new_zeros(longest, *x.shape[1:])
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in range(processes.count)]
    dist.all_gather(parts, padded)
    return [part[: int(length)] for part, length in zip(parts, lengths, strict=True)]


def started_together() -> bool:
    """Return whether `torchrun` started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the process group started by `torchrun`, if there is one, on a kind of device.

    NCCL for GPUs, one per process; gloo for CPUs. Raises RGMError where there are fewer GPUs than processes.
    """
    if not started_together():
        yield Processes()
        return
    local = int(os.environ["LOCAL_RANK"])
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if cuda and local >= torch.cuda.device_count():
        raise RGMError(
            f"process {local + 1} of this machine has no GPU of its own, it has {torch.cuda.device_count()}: start as "
            "many processes as GPUs, or use --device cpu"
        )
    if cuda:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield current()
    finally:
        dist.destroy_process_group()
