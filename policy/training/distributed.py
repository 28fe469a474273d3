"""Several processes that train one policy together, as ``torchrun`` starts them: gloo on CPUs, nccl on GPUs.

Every process steps its own robots. An update draws its minibatches from the samples of all: all processes shuffle the
same deck with the same random numbers, each computes on the cards that it holds, and sums are taken over all. So the
update is that of one process with all robots, whatever their number.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

from sim.errors import LunarError

SEED_STRIDE = 100_003
"""Between the seeds of processes that train together."""


@dataclass(frozen=True)
class Group:
    """The processes of a training; every method but ``cards`` is called by all of them at the same point."""

    rank: int = 0
    """This process's number; 0 writes files and shows progress."""
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """This process's own, where the group has ``seed``."""
        return seed + SEED_STRIDE * self.rank

    def cards(self, batch: Tensor, robots: int) -> Tensor:
        """This process's part of a minibatch.

        Args:
            batch: (B,) numbers of samples: control step of the rollout times robots of all processes, plus the robot's
                number, where process r has the robots r * ``robots`` to (r + 1) * ``robots``.
            robots: of each process.

        Returns:
            Numbers (b,) among this process's own samples, in the minibatch's order.
        """
        if self.size == 1:
            return batch
        step, robot = batch // (robots * self.size), batch % (robots * self.size)
        return (step * robots + robot % robots)[robot // robots == self.rank]

    def sum(self, value: Tensor) -> Tensor:
        """Sum over the processes, in place of ``value``."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def max(self, value: Tensor) -> Tensor:
        """Largest over the processes, in place of ``value``."""
        if self.size > 1:
            dist.all_reduce(value, dist.ReduceOp.MAX)
        return value

    def sum_gradients(self, parameters: Iterable[Parameter], others: Tensor) -> Tensor:
        """Sum gradients over the processes, and ``others`` (K,) with them in the same message; returns their sum."""
        if self.size == 1:
            return others
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.sum(torch.cat([others, *(g.flatten() for g in gradients)]))
        offset = len(others)
        for gradient in gradients:
            gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
            offset += gradient.numel()
        return flat[: len(others)]

    def gather(self, value: Tensor) -> Tensor:
        """(size, ...) the values of all processes, of one shape."""
        if self.size == 1:
            return value[None]
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        parts = [torch.empty_like(value, device=device) for _ in range(self.size)]
        dist.all_gather(parts, value.to(device))
        return torch.stack(parts).to(value.device)


ALONE = Group()


@contextmanager
def join(device: str) -> Iterator[tuple[Group, str, int]]:
    """The group that ``torchrun`` started this process for, or ``ALONE``.

    Yields:
        The group, this process's device, and its share of the cores (0 for all).

    Raises:
        LunarError: more processes than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE, device, 0
        return
    local, beside = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    gpu = torch.device(device).type == "cuda"
    if gpu:
        if beside > torch.cuda.device_count():
            raise LunarError(f"{beside} processes for {torch.cuda.device_count()} GPUs: start one process per GPU")
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if gpu else "gloo")
    try:
        yield Group(dist.get_rank(), size), device, max(1, (os.cpu_count() or 1) // beside)
    finally:
        dist.destroy_process_group()
