"""``lunar bench monitor``: what a policy's monitor catches at how many false trips, against other scores.

Healthy trials of every suite and trials in which something goes wrong are run once and kept as scores below ``cache``,
case by case: an interrupted run goes on, and ``--quick`` scores again what is there. Limits of the other scores are set
on the very trials that they are tested on, which favours them; the monitor has its own from before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import bar, show_table
from policy.monitor.calibrate import share_of_trials, threshold, upper_rate
from policy.monitor.evaluate import auroc, caught, disturbed, hidden_size, window_peaks
from policy.monitor.families import CONTROLS, FAULTS, LOOKED_AT
from policy.monitor.nominal import ALLOWED, Feed, nominal
from policy.monitor.scores import mahalanobis, trace
from policy.networks.policy_file import load_actor
from policy.runtime.card import Card
from policy.runtime.monitor import Monitor
from policy.runtime.monitor_file import Fitted, channel_names, load
from policy.runtime.onnx_policy import PolicyOutput
from sim.errors import LunarError
from sim.files import find_policy

SCORES = ("monitor", "hidden", "raw frames", "tilt", "entropy")
_SUITE = "mare"


@dataclass(frozen=True)
class Config:
    """What a policy's monitor catches, against other scores."""

    policy: str = "policy/zoo/dual"
    """Folder of a policy with a monitor, or a name in the zoo."""
    robots: int = 24
    """Healthy trials per suite."""
    seconds: float = 20.0
    """s of a healthy trial."""
    faulty: int = 24
    """Trials of each fault and control."""
    seed: int = 9000
    """Other than that of the fit."""
    cache: str = "runs/bench/monitor"
    """Folder for the cases that were run."""
    quick: bool = False
    """Score again what is in ``cache``, and run nothing."""
    json: str = ""
    """File for the results as data."""


def run(cfg: Config) -> dict[str, Any]:
    """Run what the cache lacks, and score.

    Raises:
        LunarError: no monitor beside the policy; or ``quick`` and no healthy trials in the cache.
    """
    folder = Path(find_policy(cfg.policy))
    actor, card = load_actor(folder)
    fitted, about = load(folder, card, hidden_size(actor))
    name = f"{folder.name}-{about['tensors'][:12]}-{cfg.robots}x{cfg.seconds:g}-{cfg.faulty}-{cfg.seed}"
    kept = Path(cfg.cache, name)
    if not cfg.quick:
        kept.mkdir(parents=True, exist_ok=True)
        _fill(cfg, kept, actor, card, fitted)
    if not all((kept / f"healthy {suite}.npz").is_file() for suite in ALLOWED) or not (kept / "calm.npz").is_file():
        raise LunarError(f"{kept} lacks healthy trials: run 'lunar bench monitor' without --quick first")
    return _score(cfg, kept, card, fitted) | {"step_us_p99": _step_time(folder, card, hidden_size(actor))}


def _fill(cfg: Config, kept: Path, actor: Any, card: Card, fitted: Fitted) -> None:
    cases = {**FAULTS, **CONTROLS}
    with bar() as progress:
        task = progress.add_task("monitor", total=len(ALLOWED) + len(cases) + 1)
        usual = disturbed(actor, card, None, _SUITE, cfg.faulty, cfg.seed + 1)[0]
        methods = _methods(fitted, usual)
        for k, suite in enumerate(ALLOWED):
            path = kept / f"healthy {suite}.npz"
            if not path.is_file():
                ((_, feed),) = nominal(actor, card, cfg.robots, cfg.seconds, cfg.seed + 10 * k, (suite,))
                peaks = {m: np.where(feed.healthy, f(feed), -np.inf).max(0) for m, f in methods.items()}
                np.savez(path, hours=feed.healthy.sum() / card.observation.rate / 3600.0, **peaks)
            progress.advance(task)
        for name, fault in {"calm": None, **cases}.items():
            path = kept / f"{_file(name)}.npz"
            if not path.is_file():
                feed, onset = disturbed(actor, card, fault, _SUITE, cfg.faulty, cfg.seed)
                worst = trace(fitted, feed)[1].astype(np.int8)
                rows: dict[str, Any] = {m: f(feed).astype(np.float32) for m, f in methods.items()}
                rows |= {"onset": onset, "worst": worst, "fell": feed.fell}
                np.savez(path, **rows)
            progress.advance(task)


def _file(name: str) -> str:
    return name.replace("/", "per")


def _methods(fitted: Fitted, usual: Feed) -> dict[str, Callable[[Feed], np.ndarray]]:
    """Scores (T, N) by name; distances are from what is ``usual``, and means of a second as the monitor's are."""

    def distance(part: Callable[[Feed], np.ndarray]) -> Callable[[Feed], np.ndarray]:
        nominal = part(usual)[usual.healthy]

        def of(feed: Feed) -> np.ndarray:
            values = part(feed)
            return _mean(mahalanobis(nominal, values.reshape(-1, values.shape[2])).reshape(values.shape[:2]))

        return of

    return {
        "monitor": lambda feed: fitted.doubt(trace(fitted, feed)[0]).max((1, 2)),
        "hidden": distance(lambda feed: feed.hidden),
        "raw frames": distance(lambda f: np.concatenate([f.frame, np.roll(f.frame, 1, axis=0)], axis=2)),
        "tilt": lambda feed: np.arccos(np.clip(-feed.frame[:, :, 5], -1.0, 1.0)),
        "entropy": lambda feed: _mean(np.log(feed.std).sum(2)),
    }


def _mean(values: np.ndarray, steps: int = 50) -> np.ndarray:
    """(T, N) mean over the newest ``steps``."""
    sums = np.cumsum(np.concatenate([np.zeros((1, values.shape[1])), values]), axis=0)
    first = np.maximum(np.arange(1, len(sums)) - steps, 0)
    return (sums[1:] - sums[first]) / steps


def _score(cfg: Config, kept: Path, card: Card, fitted: Fitted) -> dict[str, Any]:
    dt, names = 1.0 / card.observation.rate, channel_names(card.observation)
    healthy = [np.load(kept / f"healthy {suite}.npz") for suite in ALLOWED]
    peaks = {m: np.concatenate([h[m] for h in healthy]) for m in SCORES}
    hours = float(sum(h["hours"] for h in healthy))
    trips = int((peaks["monitor"] >= 1.0).sum())
    alpha = share_of_trials(1.0, cfg.seconds)
    limits = {m: 1.0 if m == "monitor" else threshold(peaks[m], max(alpha, 1.0 / len(peaks[m]))) for m in SCORES}
    calm, rows = np.load(kept / "calm.npz"), dict[str, Any]()
    for name, fault in {**FAULTS, **CONTROLS}.items():
        if not (path := kept / f"{_file(name)}.npz").is_file():
            continue
        case = np.load(path)
        onset, doubt = case["onset"], case["monitor"]
        row: dict[str, Any] = {"family": fault.family, "held_out": fault.family not in LOOKED_AT}
        row["fell"] = float((case["fell"] < len(doubt)).mean())
        row["auroc"] = {m: auroc(*(window_peaks(c[m], onset, dt) for c in (case, calm))) for m in SCORES}
        row["caught"] = {m: caught(case[m], onset, dt, limits[m]) for m in SCORES}
        row["advised"] = caught(doubt, onset, dt, fitted.advice)
        first = np.argmax((doubt >= fitted.advice) & (np.arange(len(doubt))[:, None] >= onset), axis=0)
        right = [names[case["worst"][k, i]].startswith(fault.channels) for i, k in enumerate(first) if k]
        row["channel_right"] = float(np.mean(right)) if fault.channels and right else None
        rows[name] = row
    faults = {name: row for name, row in rows.items() if name in FAULTS}
    named = [row["channel_right"] for row in faults.values() if row["channel_right"] is not None]
    found = {
        "policy": cfg.policy, "hours": hours, "trips": trips, "trips_per_hour": trips / hours,
        "trips_per_hour_upper95": upper_rate(trips, hours), "robots": cfg.robots, "faulty": cfg.faulty,
        "caught_1s": {name: row["caught"]["monitor"]["1s"] for name, row in faults.items()},
        "control_trips": {name: rows[name]["caught"]["monitor"]["2s"] for name in CONTROLS if name in rows},
        "upright_gain_points": None, "worst_channel_right": float(np.mean(named)) if named else None, "rows": rows,
    }  # fmt: skip
    return found | {"claims": _claims(faults, rows) if faults else []}


def _claims(faults: dict[str, Any], rows: dict[str, Any]) -> list[dict[str, Any]]:
    """The papers' claims with what was measured."""

    def mean(chosen: dict[str, Any], of: Callable[[dict[str, Any]], float]) -> float:
        return float(np.mean([of(row) for row in chosen.values()])) if chosen else float("nan")

    hidden, raw = (mean(faults, lambda row, m=m: row["auroc"][m]) for m in ("hidden", "raw frames"))  # type: ignore[misc]
    seen, new = (
        mean({n: r for n, r in faults.items() if r["held_out"] == out}, lambda row: row["caught"]["monitor"]["2s"])
        for out in (False, True)
    )
    shares = {m: mean(faults, lambda row, m=m: row["caught"][m]["2s"]) for m in SCORES}  # type: ignore[misc]
    entropy = rows["command to its limit"]["auroc"]["entropy"] if "command to its limit" in rows else float("nan")
    return [
        {"claim": "the hidden layer tells more than raw frames (AUROC)", "measured": f"{hidden:.2f} / {raw:.2f}",
         "holds": hidden > raw},
        {"claim": "doubt (entropy) rises before a hijacked action (AUROC)", "measured": f"{entropy:.2f}",
         "holds": entropy > 0.6},
        {"claim": "families not looked at are caught as well (2 s, drop <= 5 points)",
         "measured": f"{seen:.2f} / {new:.2f}", "holds": new >= seen - 0.05},
        {"claim": "it beats raw frames and tilt at the same trips per hour (caught in 2 s)",
         "measured": ", ".join(f"{m} {v:.2f}" for m, v in shares.items()),
         "holds": shares["monitor"] > max(shares["raw frames"], shares["tilt"])},
    ]  # fmt: skip


def _step_time(folder: Path, card: Card, hidden: int) -> float:
    """us, 99th percentile of the computing time of a step for one robot."""
    monitor, rng, taken = Monitor(folder, card, hidden), np.random.default_rng(0), []
    latent = monitor.fitted.centres.shape[1]
    latent = 0 if latent == card.observation.frame_size else latent
    for _ in range(2000):
        frame, *rest = (rng.normal(size=n).astype(np.float32) for n in (42, 12, 12, 0, latent, hidden))
        begin = time.process_time()
        monitor.step(frame, PolicyOutput(*rest))
        taken.append(time.process_time() - begin)
    return 1e6 * float(np.percentile(taken, 99))


def show(found: dict[str, Any]) -> None:
    """Print it."""
    rows = []
    for name, row in found["rows"].items():
        right = "–" if row["channel_right"] is None else f"{row['channel_right']:.2f}"
        shares = [f"{row['caught'][m]['2s']:.2f}" for m in SCORES]
        rows.append((name, f"{row['auroc']['monitor']:.2f}", f"{row['caught']['monitor']['1s']:.2f}", *shares,
                     f"{row['advised']['1s']:.2f}", right, f"{row['fell']:.2f}"))  # fmt: skip
    title = (
        f"{found['policy']}: {found['trips']} false trips in {found['hours']:.2f} robot-hours (95%: at most "
        f"{found['trips_per_hour_upper95']:.2f} per hour), step p99 {found['step_us_p99']:.0f} us"
    )
    heads = ("fault", "AUROC", "1 s", *(f"{m} 2 s" for m in SCORES), "advice 1 s", "channel right", "fell")
    show_table(title, heads, rows)
    show_table("claims", ("claim", "measured", "holds"),
               [(c["claim"], c["measured"], "yes" if c["holds"] else "no") for c in found["claims"]])  # fmt: skip
