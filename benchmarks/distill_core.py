"""``lunar bench distill --suite core``: the loss core against plain torch on the same logits, in turn, in one process.

Bytes are those that torch's allocator hands out: the profiler records each allocation and release, and the largest
running sum since the call began, less the gradient that both must leave behind, is what a loss needs above its inputs.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from policy.distill.losses import DivergenceConfig, Kind, average, divergence
from policy.networks.distributions import Categorical
from sim.errors import LunarError

KINDS: tuple[Kind, ...] = ("reverse_kl", "forward_kl", "jsd")


@dataclass(frozen=True)
class CoreConfig:
    """Time and memory of the distillation losses against plain torch."""

    positions: int = 100_000
    """Positions in the batch."""
    bins: int = 512
    """Tokens at each position."""
    rounds: int = 9
    """Interleaved rounds; medians of each round's ratio are reported."""
    quick: bool = False
    """Three rounds of reverse KL alone."""


def plain(student: Tensor, teacher: Tensor, kind: Kind) -> Tensor:
    """The loss as one writes it in torch: whole arrays, gradient by autograd. Logits (P, V)."""
    log_p, log_q = log_softmax(student, -1), log_softmax(teacher, -1)

    def kl(of: Tensor, to: Tensor) -> Tensor:
        return kl_div(to, of, reduction="none", log_target=True).sum(-1)

    if kind == "reverse_kl":
        return kl(log_p, log_q).mean()
    if kind == "forward_kl":
        return kl(log_q, log_p).mean()
    half = torch.tensor(0.5).log()
    log_m = torch.logaddexp(log_p + half, log_q + half)
    return (0.5 * kl(log_q, log_m) + 0.5 * kl(log_p, log_m)).mean()


def core(student: Tensor, teacher: Tensor, kind: Kind) -> Tensor:
    """The same by the loss core."""
    return average(divergence(Categorical(student), Categorical(teacher), DivergenceConfig(kind)))


def gradient(loss: Callable[[Tensor, Tensor, Kind], Tensor], student: Tensor, teacher: Tensor, kind: Kind) -> Tensor:
    """(P, V) gradient of a loss with respect to the student's logits."""
    student = student.detach().requires_grad_()
    loss(student, teacher, kind).backward()
    assert student.grad is not None
    return student.grad


def peak_bytes(call: Callable[[], Any]) -> int:
    """Largest number of bytes that ``call`` holds at once through torch's CPU allocator, above what is held before."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler prints a line at each start and stop
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    held = peak = 0
    for event in sorted((e for e in events if e["name"] == "[memory]"), key=lambda e: e["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


def measure_core(cfg: CoreConfig, seed: int) -> dict[str, Any]:
    """Measure all divergences on logits drawn by ``seed``.

    Returns:
        ``speedup`` and ``memory_ratio`` of reverse KL, and the same with seconds, bytes and the difference of the
        gradients for each divergence in ``divergences``.
    """
    if cfg.positions < 1 or cfg.bins < 2 or cfg.rounds < 1:
        raise LunarError("core.positions and core.rounds must be at least 1 and core.bins at least 2")
    generator = torch.Generator().manual_seed(seed)
    teacher = 2 * torch.randn(cfg.positions, cfg.bins, generator=generator)
    student = teacher + torch.randn(cfg.positions, cfg.bins, generator=generator)
    losses = {"plain": plain, "core": core}
    rounds = 3 if cfg.quick else cfg.rounds
    kinds = KINDS[:1] if cfg.quick else KINDS
    seconds: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in losses} for kind in kinds}
    divergences: dict[str, dict[str, float]] = {}
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("bench distill core", total=len(kinds) * (rounds + 1))
        for kind in kinds:  # also the warm-up
            reference, ours = (gradient(loss, student, teacher, kind) for loss in losses.values())
            difference = float((ours - reference).abs().max() / reference.abs().max())
            del reference, ours
            peaks = {
                name: peak_bytes(partial(gradient, loss, student, teacher, kind)) - student.nbytes
                for name, loss in losses.items()
            }
            divergences[kind] = {"plain_bytes": peaks["plain"], "core_bytes": peaks["core"], "difference": difference}
            bar.advance(task)
        for _ in range(rounds):
            for kind in kinds:
                for name, loss in losses.items():
                    start = time.perf_counter()
                    gradient(loss, student, teacher, kind)
                    seconds[kind][name].append(time.perf_counter() - start)
                bar.advance(task)
    for name, row in divergences.items():
        times = seconds[name]
        row["plain_s"], row["core_s"] = (statistics.median(times[way]) for way in ("plain", "core"))
        row["speedup"] = statistics.median(p / c for p, c in zip(times["plain"], times["core"], strict=True))
        row["memory_ratio"] = row["core_bytes"] / row["plain_bytes"]
    main_row = divergences["reverse_kl"]
    return {
        "speedup": main_row["speedup"], "memory_ratio": main_row["memory_ratio"], "positions": cfg.positions,
        "bins": cfg.bins, "divergences": divergences,
    }  # fmt: skip


def core_table(core: dict[str, Any]) -> Table:
    """What ``measure_core`` found, for a terminal."""
    title = f"Loss and gradient, {core['positions']} positions x {core['bins']} tokens"
    table = Table(title=title, title_justify="left")
    for column in ("", "plain, s", "core, s", "faster", "plain, MB", "core, MB", "of bytes"):
        table.add_column(column, justify="right" if column else "left")
    for kind, r in core["divergences"].items():
        seconds, megabytes = ([r[f"{way}_{what}"] for way in ("plain", "core")] for what in ("s", "bytes"))
        table.add_row(
            kind, *(f"{s:.3f}" for s in seconds), f"{r['speedup']:.1f}x", *(f"{m / 1e6:.1f}" for m in megabytes),
            f"{r['memory_ratio']:.4f}",
        )  # fmt: skip
    return table
