"""How often a monitor trips for nothing, and how soon it catches what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policy.monitor.calibrate import upper_rate
from policy.monitor.config import EvalConfig
from policy.monitor.families import CONTROLS, FAULTS, HIJACK, Fault
from policy.monitor.nominal import ALLOWED, Feed, Guard, nominal, run, world_of
from policy.monitor.scores import peaks, trace
from policy.networks.actor import Actor
from policy.networks.policy_file import load_actor
from policy.networks.student import Student
from policy.runtime.card import Card
from policy.runtime.monitor_file import Fitted, channel_names, load
from sim.envs.grounds import grounds
from sim.envs.world import PronkWorld
from sim.files import find_policy
from sim.mdp.state import State
from sim.tasks.config import WorldConfig
from sim.terrain.generators import TerrainConfig
from sim.terrain.height_field import HeightField

ONSET = (4.0, 6.0)
"""s, between which something goes wrong."""
AFTER = 4.0
"""s that a trial goes on after the latest onset."""
WITHIN = (0.5, 1.0, 2.0)
"""s after the onset within which it is caught."""
SUITE = "mare"
"""Where faults are tried."""
QUICK = ("encoder off by 0.2 rad", "noise x 5", "knee dead", HIJACK)
"""Faults and controls of a quick look."""


@dataclass(frozen=True)
class Health:
    """False trips of healthy trials."""

    hours: float
    trips: int
    """Trials in which it tripped."""
    advised: int
    """Trials in which it advised."""

    @property
    def per_hour(self) -> float:
        """Trips per robot-hour."""
        return self.trips / self.hours

    @property
    def upper(self) -> float:
        """95% upper bound of that."""
        return upper_rate(self.trips, self.hours)


def health(fitted: Fitted, feed: Feed, dt: float) -> Health:
    """Of healthy trials of one suite."""
    highest = fitted.doubt(peaks(fitted, feed)).max(0)
    hours = float(feed.healthy.sum()) * dt / 3600.0
    return Health(hours, int((highest >= 1.0).sum()), int((highest >= fitted.advice).sum()))


def disturbed(
    actor: Actor | Student, card: Card, fault: Fault | None, suite: str, robots: int, seed: int,
    guard: Guard | None = None, visit: Callable[[int, State], None] | None = None,
) -> tuple[Feed, np.ndarray]:  # fmt: skip
    """Trials in which ``fault`` sets in, or the same without it; and the steps (N,) of its onsets."""
    cfg = world_of(suite, card, robots)
    if fault and fault.terrain:
        cfg = replace(cfg, terrain=TerrainConfig(fault.terrain))
    ground = _ground(cfg.terrain, cfg.maps, seed)
    world = PronkWorld(cfg, seed, restart=False, privileged=False, threads=1, ground=ground)
    first, last = (round(t / world.dt) for t in ONSET)
    onset = np.random.default_rng(seed).integers(first, last, robots)
    steps = round((ONSET[1] + AFTER) / world.dt)
    return run(actor, world, steps, fault.make() if fault else None, onset, visit, guard), onset


@lru_cache(maxsize=2)
def _ground(terrain: TerrainConfig, maps: int, seed: int) -> HeightField:
    """What a world would make itself: many faults are tried on the same maps, and one takes half a second."""
    return grounds(WorldConfig(terrain=terrain, maps=maps), seed)


def caught(doubt: np.ndarray, onset: np.ndarray, dt: float, limit: float = 1.0) -> dict[str, float]:
    """Share of trials with a doubt (T, N) over its limit within each of ``WITHIN`` s after the onset (N,); those that
    tripped before it do not count."""
    step = np.arange(len(doubt))[:, None]
    over = doubt >= limit
    early = np.any(over & (step < onset), axis=0)
    shares = {}
    for seconds in WITHIN:
        inside = (step >= onset) & (step <= onset + round(seconds / dt))
        shares[f"{seconds:g}s"] = (
            float(np.any(over & inside, axis=0)[~early].mean()) if not early.all() else float("nan")
        )
    return shares


def auroc(bad: np.ndarray, good: np.ndarray) -> float:
    """Probability that one of ``bad`` (n,) is larger than one of ``good`` (m,)."""
    order = np.sort(good)
    below, upto = np.searchsorted(order, bad, "left"), np.searchsorted(order, bad, "right")
    return float((below + upto).mean() / (2 * len(good)))


def window_peaks(doubt: np.ndarray, onset: np.ndarray, dt: float, seconds: float = 2.0) -> np.ndarray:
    """(N,) the largest doubt of the ``seconds`` after each onset."""
    step = np.arange(len(doubt))[:, None]
    return np.where((step >= onset) & (step <= onset + round(seconds / dt)), doubt, -np.inf).max(0)


def judge(
    fitted: Fitted, feed: Feed, healthy: Feed, onset: np.ndarray, fault: Fault, card: Card, dt: float
) -> dict[str, float | None]:
    """Figures of one fault, against the same trials without it: ``auroc``, the shares caught, the share that got
    advice within 2 s, the share of verdicts at the first advice that name a right channel, and falls."""
    scores, worst = trace(fitted, feed)
    doubt, calm = (fitted.doubt(s).max(1) for s in (scores, trace(fitted, healthy)[0]))
    found: dict[str, float | None] = {"auroc": auroc(*(window_peaks(d, onset, dt) for d in (doubt, calm)))}
    found |= caught(doubt, onset, dt)
    found["advised_2s"] = caught(doubt, onset, dt, fitted.advice)["2s"]
    names = channel_names(card.observation)
    first = np.argmax((doubt >= fitted.advice) & (np.arange(len(doubt))[:, None] >= onset), axis=0)
    named = [names[worst[k, i]] for i, k in enumerate(first) if k > 0]
    right = [name.startswith(fault.channels) for name in named]
    found["channel_right"] = float(np.mean(right)) if fault.channels and named else None
    found["fell"] = float((feed.fell < feed.steps).mean())
    return found


def evaluate(cfg: EvalConfig, tick: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Figures of the monitor beside a policy: ``trips``, ``hours``, ``trips_per_hour`` and its bound over all suites
    (``suites`` one by one), and by fault or control what ``judge`` says.

    Raises:
        LunarError: a damaged policy, or no monitor beside it.
    """
    folder = Path(find_policy(cfg.policy))
    actor, card = load_actor(folder)
    fitted, _ = load(folder, card, hidden_size(actor))
    dt = 1.0 / card.observation.rate
    robots, seconds, suites = (8, 6.0, ALLOWED[:2]) if cfg.quick else (cfg.robots, cfg.seconds, ALLOWED)
    by_suite: dict[str, Health] = {}
    for name, feed in nominal(actor, card, robots, seconds, cfg.seed, suites):
        tick(name)
        by_suite[name] = health(fitted, feed, dt)
    total = Health(*(sum(getattr(h, part) for h in by_suite.values()) for part in ("hours", "trips", "advised")))
    calm, onset = disturbed(actor, card, None, SUITE, cfg.faulty, cfg.seed)
    chosen = {**FAULTS, **CONTROLS}
    if cfg.quick:
        chosen = {name: chosen[name] for name in QUICK}
    faults: dict[str, Any] = {}
    for name, fault in chosen.items():
        tick(name)
        feed, _ = disturbed(actor, card, fault, SUITE, cfg.faulty, cfg.seed)
        faults[name] = {"family": fault.family, **judge(fitted, feed, calm, onset, fault, card, dt)}
    return {
        "trips": total.trips, "hours": total.hours, "trips_per_hour": total.per_hour,
        "trips_per_hour_upper95": total.upper, "advices_per_hour": total.advised / total.hours,
        "suites": {name: vars(h) for name, h in by_suite.items()}, "faults": faults,
        "robots": robots, "seconds": seconds, "faulty": cfg.faulty,
    }  # fmt: skip


def hidden_size(actor: Actor | Student) -> int:
    """Of the last hidden layer."""
    with torch.no_grad():
        return actor(torch.zeros(1, actor.size)).hidden.shape[1]
