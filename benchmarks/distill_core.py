"""``lunar bench distill --suite core``: the loss core against plain torch on the same logits, in turn, in one process.

Bytes are those that torch's allocator hands out: the profiler records each allocation and release, and the largest
running sum since the call began, less the gradient that both must leave behind, is what a loss needs above its inputs.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from benchmarks.harness import by_turns, countdown, medians, ratio, seconds, show_table
from policy.distill.config import DivergenceConfig, Kind
from policy.distill.losses import average, divergence
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
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
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
    divergences: dict[str, dict[str, float]] = {}
    for kind in KINDS[:1] if cfg.quick else KINDS:
        calls = {name: partial(gradient, loss, student, teacher, kind) for name, loss in losses.items()}
        reference, ours = (call() for call in calls.values())
        difference = float((ours - reference).abs().max() / reference.abs().max())
        del reference, ours
        peaks = {f"{name}_bytes": peak_bytes(call) - student.nbytes for name, call in calls.items()}
        clocks = {name: partial(seconds, call) for name, call in calls.items()}
        times = by_turns(clocks, 3 if cfg.quick else cfg.rounds, kind, countdown(cfg.quick))
        divergences[kind] = {
            **peaks, "difference": difference, **{f"{name}_s": s for name, s in medians(times).items()},
            "speedup": ratio(times, "plain", "core"), "memory_ratio": peaks["core_bytes"] / peaks["plain_bytes"],
        }  # fmt: skip
    main_row = divergences["reverse_kl"]
    return {
        "speedup": main_row["speedup"], "memory_ratio": main_row["memory_ratio"], "positions": cfg.positions,
        "bins": cfg.bins, "divergences": divergences,
    }  # fmt: skip


def show_core(core: dict[str, Any]) -> None:
    """What ``measure_core`` found, for a terminal."""
    rows = []
    for kind, r in core["divergences"].items():
        times, megabytes = ([r[f"{side}_{what}"] for side in ("plain", "core")] for what in ("s", "bytes"))
        rows.append((
            kind, *(f"{s:.3f}" for s in times), f"{r['speedup']:.1f}x", *(f"{m / 1e6:.1f}" for m in megabytes),
            f"{r['memory_ratio']:.4f}",
        ))  # fmt: skip
    columns = ("", "plain, s", "core, s", "faster", "plain, MB", "core, MB", "of bytes")
    show_table(f"Loss and gradient, {core['positions']} positions x {core['bins']} tokens", columns, rows)
