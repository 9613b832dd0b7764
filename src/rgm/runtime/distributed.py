"""Several processes that train one model: who this one is, and what all of them add up to."""

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
"""How long a process waits for the others before it takes them for dead."""


@dataclass(frozen=True)
class Processes:
    """This process's number among so many; one alone is number 0 of 1."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def rows(self, batch: int, device: torch.device) -> Tensor:
        """Return the rows of a batch that are this process's: at least one, so that all keep step."""
        rows = list(range(self.rank, batch, self.count)) or [0]
        return torch.tensor(rows, device=device)

    def weight(self, batch: int) -> float:
        """Return what the mean over this process's rows weighs in the mean over processes of the means."""
        mine = len(range(self.rank, batch, self.count))
        return mine * self.count / batch


def current() -> Processes:
    """Return this process's place among those that train together."""
    if dist.is_available() and dist.is_initialized():
        return Processes(rank=dist.get_rank(), count=dist.get_world_size())
    return Processes()


def total(x: Tensor) -> Tensor:
    """Return the sum over all processes, without gradient; `x` itself where there is one."""
    if current().count == 1:
        return x
    summed = x.detach().clone()
    dist.all_reduce(summed)
    return summed


def mean(x: Tensor, weight: float = 1.0) -> Tensor:
    """Return the mean over processes of weight · x; its gradient is this process's part alone.

    A function f of it has, averaged over processes, the gradient of f of the mean: what `DistributedDataParallel`
    computes. `weight` is `Processes.weight`, so that every row counts alike.
    """
    processes = current()
    if processes.count == 1:
        return x
    part = weight * x
    return part + (total(part) / processes.count - part).detach()


def gathered(x: Tensor) -> list[Tensor]:
    """Return every process's tensor, which may differ in length, in the order of their numbers."""
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
    """Join the processes that `torchrun` started, where it did, for training on devices of a kind.

    NCCL joins GPUs, one a process; gloo joins CPUs. Raises RGMError where there are fewer GPUs than processes.
    """
    if not started_together():
        yield Processes()
        return
    local = int(os.environ["LOCAL_RANK"])
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if cuda and local >= torch.cuda.device_count():
        raise RGMError(
            f"process {local + 1} of this machine has no GPU of its own, it has {torch.cuda.device_count()}: start as "
            "many processes as GPUs, or take --device cpu"
        )
    if cuda:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield current()
    finally:
        dist.destroy_process_group()
