"""``lunar bench monitor``: what a policy's monitor catches at how many false trips, and who stays upright for it.

Trials are run once and kept, case by case, as what the policy felt and said: an interrupted run goes on, and
``--quick`` scores again what is there, with whatever monitor lies beside the policy by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import bar, show_table
from benchmarks.monitor_claims import bars, claims
from benchmarks.monitor_outcome import outcomes, show_outcomes, step_time
from benchmarks.monitor_scores import SCORES, Scores
from benchmarks.plots import draw_doubt, save
from policy.monitor.calibrate import share_of_trials, threshold, upper_rate
from policy.monitor.evaluate import auroc, caught, disturbed, hidden_size, window_peaks
from policy.monitor.families import CONTROLS, FAULTS, LOOKED_AT, Fault
from policy.monitor.nominal import ALLOWED, Feed, nominal
from policy.monitor.scores import trace
from policy.networks.actor import Actor
from policy.networks.policy_file import load_actor
from policy.networks.student import Student
from policy.runtime.card import Card
from policy.runtime.monitor_file import Fitted, channel_names, load
from sim.errors import LunarError
from sim.files import find_policy

GROUNDS = ("mare", "craters")
"""Suites in which things go wrong, half of the trials in each."""
DRAWN = "knee dead"
"""Fault of the picture."""
CALM = "calm"
"""The same trials, in which nothing goes wrong."""


@dataclass(frozen=True)
class Config:
    """What a policy's monitor catches, against other scores."""

    policy: str = "policy/zoo/dual"
    """Folder of a policy with a monitor, or a name in the zoo."""
    robots: int = 72
    """Healthy trials per suite."""
    seconds: float = 20.0
    """s of a healthy trial."""
    faulty: int = 48
    """Trials of each fault and control."""
    seed: int = 9000
    """Other than that of the fit."""
    cache: str = "runs/bench/monitor"
    """Folder for the trials that were run; 2 GB at the sizes by default."""
    quick: bool = False
    """Score again what is in ``cache``, and run nothing."""
    picture: str = ""
    """File for the doubt of one robot whose knee loses its motor, as a PNG."""
    json: str = ""
    """File for the results as data."""


def run(cfg: Config) -> dict[str, Any]:
    """Run what the cache lacks, and score.

    Raises:
        LunarError: no monitor beside the policy; or ``quick`` and trials that the cache lacks.
    """
    torch.set_num_threads(1)
    folder = Path(find_policy(cfg.policy))
    actor, card = load_actor(folder)
    hidden = hidden_size(actor)
    fitted, about = load(folder, card, hidden)
    kept = Path(cfg.cache, f"{folder.name}-{card.weights[:12]}-{cfg.robots}x{cfg.seconds:g}-{cfg.faulty}-{cfg.seed}")
    if not cfg.quick:
        kept.mkdir(parents=True, exist_ok=True)
    cases = {CALM: None, **FAULTS, **CONTROLS}
    with bar() as progress:
        task = progress.add_task("trials", total=len(ALLOWED) + len(GROUNDS) * len(cases))
        for path, make in _wanted(cfg, kept, actor, card, cases):
            if not path.is_file():
                if cfg.quick:
                    raise LunarError(f"{path} is missing: run 'lunar bench monitor' without --quick first")
                feed, onset = make()
                _write(path, **{f.name: getattr(feed, f.name) for f in fields(Feed)}, onset=onset)
            progress.advance(task)
    found = _score(cfg, kept, actor, card, fitted)
    half = cfg.faulty // len(GROUNDS)
    monitor = f"{about['tensors'][:12]}-{fitted.limit:.6g}"
    found |= outcomes(kept, actor, card, fitted, monitor, half, cfg.seed, cfg.quick)
    if cfg.picture:
        _draw(kept, fitted, 1.0 / card.observation.rate, Path(cfg.picture))
    found |= {"step_us_p99": step_time(folder, card, hidden)}
    return found | {"bars": bars(found)}


def _wanted(
    cfg: Config, kept: Path, actor: Actor | Student, card: Card, cases: dict[str, Fault | None]
) -> Iterator[tuple[Path, Callable[[], tuple[Feed, np.ndarray]]]]:
    """Files of all trials, and how they are run."""
    for k, suite in enumerate(ALLOWED):

        def healthy(k: int = k, suite: str = suite) -> tuple[Feed, np.ndarray]:
            ((_, feed),) = nominal(actor, card, cfg.robots, cfg.seconds, cfg.seed + 10 * k, (suite,))
            return feed, np.full(cfg.robots, feed.steps)

        yield kept / f"healthy {suite}.npz", healthy
    for name, fault in cases.items():
        for ground in GROUNDS:

            def wrong(fault: Fault | None = fault, ground: str = ground) -> tuple[Feed, np.ndarray]:
                return disturbed(actor, card, fault, ground, cfg.faulty // len(GROUNDS), cfg.seed)

            yield case_file(kept, name, ground), wrong


def case_file(kept: Path, name: str, ground: str) -> Path:
    """Of one fault or control on one ground."""
    return kept / f"{name.replace('/', 'per')} {ground}.npz"


def _write(path: Path, **arrays: Any) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.rename(path)


def _read(path: Path) -> tuple[Feed, np.ndarray]:
    with np.load(path) as stored:
        return Feed(**{f.name: stored[f.name] for f in fields(Feed)}), stored["onset"]


def _both(kept: Path, name: str) -> tuple[Feed, np.ndarray]:
    """The trials of a case on all grounds side by side, and their onsets."""
    feeds, onsets = zip(*(_read(case_file(kept, name, ground)) for ground in GROUNDS), strict=True)
    joined = {f.name: np.concatenate([getattr(x, f.name) for x in feeds], axis=-1 if f.name == "fell" else 1)
              for f in fields(Feed)}  # fmt: skip
    return Feed(**joined), np.concatenate(onsets)


def _score(cfg: Config, kept: Path, actor: Actor | Student, card: Card, fitted: Fitted) -> dict[str, Any]:
    dt, names = 1.0 / card.observation.rate, channel_names(card.observation)
    healthy = [kept / f"healthy {suite}.npz" for suite in ALLOWED]
    scores = Scores(
        actor, card, fitted, (_read(path)[0] for path in healthy),
        ((fault.family, *_both(kept, name)) for name, fault in FAULTS.items()),
    )  # fmt: skip
    peaks: dict[str, list[np.ndarray]] = {}
    suites: dict[str, dict[str, float]] = {}
    with bar() as progress:
        task = progress.add_task("scores", total=len(healthy) + 1 + len(FAULTS) + len(CONTROLS))
        for suite, path in zip(ALLOWED, healthy, strict=True):
            feed, _ = _read(path)
            of = scores.of(feed, "control") | {f"contrast vector {f}": v for f, v in scores.contrasts(feed).items()}
            for name, values in of.items():
                peaks.setdefault(name, []).append(np.where(feed.healthy, values, -np.inf).max(0))
            top = peaks["monitor"][-1]
            suites[suite] = {"hours": float(feed.healthy.sum()) * dt / 3600.0, "trips": int((top >= 1.0).sum()),
                             "advised": int((top >= fitted.advice).sum())}  # fmt: skip
            progress.advance(task)
        hours, trips, advised = (sum(s[part] for s in suites.values()) for part in ("hours", "trips", "advised"))
        alpha = max(share_of_trials(1.0, cfg.seconds), 1.0 / (cfg.robots * len(ALLOWED)))
        limits = {name: threshold(np.concatenate(rows), alpha) for name, rows in peaks.items()} | {"monitor": 1.0}
        calm_feed, _ = _both(kept, CALM)
        calm, calm_contrasts = scores.of(calm_feed, "control"), scores.contrasts(calm_feed)
        progress.advance(task)
        rows: dict[str, Any] = {}
        for name, fault in {**FAULTS, **CONTROLS}.items():
            feed, onset = _both(kept, name)
            case, calm["contrast vector"] = scores.of(feed, fault.family), calm_contrasts[fault.family]
            limit = limits | {"contrast vector": limits[f"contrast vector {fault.family}"]}
            doubt, fell = case["monitor"], feed.fell < feed.steps
            row: dict[str, Any] = {"family": fault.family, "held_out": fault.family not in LOOKED_AT}
            row["fell"] = float(fell.mean())
            row["upright_3s"] = float((feed.fell > onset + round(3.0 / dt)).mean())
            row["auroc"] = {m: auroc(*(window_peaks(c[m], onset, dt) for c in (case, calm))) for m in SCORES}
            row["caught"] = {m: caught(case[m], onset, dt, limit[m]) for m in SCORES}
            row["advised"] = caught(doubt, onset, dt, fitted.advice)
            after = np.arange(len(doubt))[:, None] >= onset
            tripped = np.argmax((doubt >= 1.0) & after, axis=0)
            lead = (feed.fell - tripped)[fell & (tripped > 0) & (tripped < feed.fell)] * dt
            row["lead_s"] = float(np.median(lead)) if len(lead) else None
            first, worst = np.argmax((doubt >= fitted.advice) & after, axis=0), trace(fitted, feed)[1]
            right = [names[worst[k, i]].startswith(fault.channels) for i, k in enumerate(first) if k]
            row["channel_right"] = float(np.mean(right)) if fault.channels and right else None
            rows[name] = row
            progress.advance(task)
    faults = {name: row for name, row in rows.items() if name in FAULTS}
    named = [row["channel_right"] for row in faults.values() if row["channel_right"] is not None]
    return {
        "policy": cfg.policy, "robots": cfg.robots, "faulty": cfg.faulty, "seconds": cfg.seconds,
        "hours": hours, "trips": trips, "trips_per_hour": trips / hours,
        "trips_per_hour_upper95": upper_rate(int(trips), hours), "advices_per_hour": advised / hours, "suites": suites,
        "caught_1s": {name: row["caught"]["monitor"]["1s"] for name, row in faults.items()},
        "control_trips": {name: rows[name]["caught"]["monitor"]["2s"] for name in CONTROLS},
        "worst_channel_right": float(np.mean(named)) if named else None, "rows": rows, "claims": claims(rows),
    }  # fmt: skip


def _draw(kept: Path, fitted: Fitted, dt: float, path: Path) -> None:
    """The first robot that does not trip before its knee is dead, and does then; if none does, that of most doubt."""
    feed, onset = _read(case_file(kept, DRAWN, GROUNDS[0]))
    doubt = fitted.doubt(trace(fitted, feed)[0]).max(1)
    tripped = np.argmax(doubt >= 1.0, axis=0)
    shown = (tripped > onset) & (tripped < feed.fell)
    one = int(np.argmax(shown) if shown.any() else np.argmax(doubt.max(0)))
    steps = slice(onset[one] - 200, min(onset[one] + 100, feed.fell[one]))
    figure = draw_doubt(doubt[steps, one], feed.phase[steps, one] > 0, 200, fitted.advice, dt, "the knee has no motor")
    save(figure, path)


def show(found: dict[str, Any]) -> None:
    """Print it."""

    def cell(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    rows, others = [], []
    for name, row in found["rows"].items():
        shares = row["caught"]["monitor"]
        rows.append((name, row["family"] + (" *" if row["held_out"] else ""), cell(row["auroc"]["monitor"]),
                     *(cell(shares[k]) for k in ("0.5s", "1s", "2s")), cell(row["advised"]["1s"]),
                     cell(row["lead_s"]), cell(row["channel_right"]), cell(row["fell"])))  # fmt: skip
        others.append((name, *(f"{row['auroc'][m]:.2f} / {row['caught'][m]['2s']:.2f}" for m in SCORES)))
    title = (
        f"{found['policy']}: {found['trips']} false trips in {found['hours']:.2f} robot-hours, {found['robots']} "
        f"trials of {found['seconds']:g} s per suite (95%: at most {found['trips_per_hour_upper95']:.2f} per hour), "
        f"{found['advices_per_hour']:.1f} advices per hour; {found['faulty']} trials per fault; "
        f"step p99 {found['step_us_p99']:.0f} us"
    )
    heads = ("fault", "family", "AUROC", "0.5 s", "1 s", "2 s", "advice 1 s", "lead, s", "channel right", "fell")
    show_table(title, heads, rows, "* no score was chosen by this family")
    show_table("AUROC in 2 s / caught in 2 s at one trip per robot-hour", ("fault", *SCORES), others)
    show_outcomes(found)
    show_table("bars", ("asked", "measured", "met"),
               [(b["bar"], b["measured"], "yes" if b["met"] else "no") for b in found["bars"]])  # fmt: skip
    show_table("claims", ("claim", "measured", "holds"),
               [(c["claim"], c["measured"], "yes" if c["holds"] else "no") for c in found["claims"]])  # fmt: skip
