"""Who stays upright when a monitor trips, by what is done then; and what a step of it costs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import bar, show_table
from policy.monitor.evaluate import disturbed
from policy.monitor.families import FAULTS, Fault
from policy.monitor.reactions import LATER, PHASES, TRIED, Guard, Outcome, best
from policy.networks.actor import Actor
from policy.networks.student import Student
from policy.runtime.card import Card
from policy.runtime.monitor import Monitor
from policy.runtime.monitor_file import Fitted
from policy.runtime.onnx_policy import PolicyOutput
from sim.mdp.state import State

GROUND = "mare"
_MANY = 0.2  # share of robots that fall, from which on every reaction is tried


def outcomes(
    kept: Path, actor: Actor | Student, card: Card, fitted: Fitted, monitor: str, trials: int, seed: int, quick: bool
) -> dict[str, Any]:
    """``reactions``, share upright ``LATER`` s after a trip by phase and reaction, with the best; and what the reaction
    that is shipped gains by family, in points of robots upright ``LATER`` s after the onset.

    Args:
        kept: folder of what was run before.
        monitor: name of it and its limit, in which no other has a part.
        trials: of each fault and reaction.
        seed: of the trials.
        quick: run nothing; what is missing is left out.
    """
    dt = 1.0 / card.observation.rate
    runs: dict[str, dict[str, tuple[Outcome, np.ndarray]]] = {}
    with bar() as progress:
        task = progress.add_task("outcomes", total=len(FAULTS) * len(TRIED))
        for name, fault in FAULTS.items():
            runs[name] = {}
            for reaction in ("go on", fitted.reaction, *TRIED):
                progress.advance(task, 0 if reaction in runs[name] else 1)
                base = runs[name].get("go on")
                few = base is not None and (base[0].fell < base[0].steps).mean() < _MANY
                if reaction in runs[name] or (few and reaction != fitted.reaction):
                    continue
                if base is not None and (base[0].tripped < 0).all():
                    runs[name][reaction] = base  # nobody reacts
                    continue
                path = kept / f"outcome {monitor} {reaction} {name.replace('/', 'per')}.npz"
                if not path.is_file() and not quick:
                    _run(path, actor, card, fitted, fault, reaction, trials, seed)
                if path.is_file():
                    with np.load(path) as stored:
                        onset = stored["onset"]
                        runs[name][reaction] = Outcome(**{k: stored[k] for k in stored.files if k != "onset"}), onset
    tried = [r for r in runs.values() if all(name in r for name in TRIED)]
    table = {}
    for k, phase in enumerate(PHASES):
        rows = {reaction: [r[reaction][0] for r in tried] for reaction in TRIED}
        chosen, upright, count = best(rows, dt, k)
        force = {n: [o.force[(o.tripped >= 0) & (o.phase == k)] for o in of] for n, of in rows.items()}
        table[phase] = {
            "best": chosen if count else None, "trips": count, "upright": upright if count else None,
            "force": {n: float(np.concatenate(v).mean()) if count else None for n, v in force.items()},
        }  # fmt: skip
    gains: dict[str, list[float]] = {}
    for name, fault in FAULTS.items():
        if "go on" in runs[name] and fitted.reaction in runs[name]:
            (without, onset), (reacting, _) = runs[name]["go on"], runs[name][fitted.reaction]
            end = onset + round(LATER / dt)
            gain = 100.0 * float((reacting.fell > end).mean() - (without.fell > end).mean())
            gains.setdefault(fault.family, []).append(gain)
    return {
        "reaction": fitted.reaction, "reactions": table,
        "upright_gain_points": {family: float(np.mean(v)) for family, v in gains.items()},
        "upright_trials": trials,
        "upright": {
            name: {n: float((o.fell > onset + round(LATER / dt)).mean()) for n, (o, onset) in r.items()}
            for name, r in runs.items()
        },
    }  # fmt: skip


def _run(
    path: Path, actor: Actor | Student, card: Card, fitted: Fitted, fault: Fault, reaction: str, trials: int, seed: int
) -> None:
    guard, forces = Guard(fitted, reaction), []

    def visit(_: int, state: State) -> None:
        forces.append((state.total_force / state.weight).numpy().copy())

    feed, onset = disturbed(actor, card, fault, GROUND, trials, seed, guard, visit)
    after = np.arange(feed.steps)[:, None] >= guard.tripped
    phase = feed.phase[guard.tripped.clip(min=0), np.arange(trials)]
    outcome = Outcome(guard.tripped, feed.fell, phase, np.where(after, forces, 0.0).max(0), feed.steps)
    part = path.with_suffix(".part.npz")
    np.savez(part, **vars(outcome), onset=onset)
    part.rename(path)


def step_time(folder: Path, card: Card, hidden: int, rounds: int = 25, steps: int = 1000) -> float:
    """us, 99th percentile over steps of one robot's monitor; of each step the shortest of some rounds, in which nobody
    else had the core."""
    monitor, rng = Monitor(folder, card, hidden), np.random.default_rng(0)
    latent = monitor.fitted.centres.shape[1]
    latent = 0 if latent == card.observation.frame_size else latent
    said = [
        [rng.normal(size=n).astype(np.float32) for n in (42, 12, 12, 0, latent, hidden)] for _ in range(steps)
    ]  # fmt: skip
    taken = np.full(steps, np.inf)
    for _ in range(rounds):
        monitor.reset()
        for k, (frame, *rest) in enumerate(said):
            begin = time.perf_counter()
            monitor.step(frame, PolicyOutput(*rest))
            taken[k] = min(taken[k], time.perf_counter() - begin)
    return 1e6 * float(np.percentile(taken, 99))


def show_outcomes(found: dict[str, Any]) -> None:
    """Print them."""
    rows = []
    for phase, row in found["reactions"].items():
        shares = (f"{100 * row['upright'][n]:.0f}%" if row["trips"] else "–" for n in TRIED)
        rows.append((phase, str(row["trips"]), *shares, row["best"] or "–"))
    show_table(f"upright {LATER:g} s after a trip, in faults that bring robots down",
               ("phase", "trips", *TRIED, "best"), rows)  # fmt: skip
    title = (
        f"upright {LATER:g} s after the onset with '{found['reaction']}' on a trip, {found['upright_trials']} trials "
        "of each fault on mare ground"
    )
    gains = found["upright_gain_points"].items()
    show_table(title, ("family", "gain, points"), [(family, f"{gain:+.1f}") for family, gain in gains])
