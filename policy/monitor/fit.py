"""Fit, calibrate and write the monitor of a policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from policy.monitor.calibrate import share_of_trials, threshold
from policy.monitor.config import FitConfig
from policy.monitor.nominal import ALLOWED, nominal
from policy.monitor.scores import fit, peaks
from policy.networks.policy_file import load_actor
from policy.runtime.card import Card
from policy.runtime.monitor_file import FILES, FORMAT, REACTIONS, Fitted, channel_names
from policy.runtime.weights import weights_digest
from sim.errors import LunarError
from sim.files import find_policy
from sim.output import write_whole


def fit_monitor(cfg: FitConfig, tick: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Write the monitor of a policy beside it; returns what ``monitor.json`` says.

    Args:
        cfg: what to fit to.
        tick: takes what is done next, once per suite and purpose.

    Raises:
        LunarError: a damaged policy, one that no robot can run, or too few trials for the budget.
    """
    folder = Path(find_policy(cfg.policy))
    actor, card = load_actor(folder)
    if card.observation.scan:
        raise LunarError(f"policy {folder} sees the ground ahead, which no robot does: no monitor stands beside it")
    if cfg.reaction not in REACTIONS:
        raise LunarError(f"reaction is '{cfg.reaction}', it must be one of {', '.join(REACTIONS)}")
    count = cfg.calibration * len(ALLOWED)
    shares = [share_of_trials(budget, cfg.seconds) for budget in (cfg.budget, cfg.advice)]
    threshold(np.zeros(count), shares[0])  # too few trials: say so before minutes are spent
    feeds = []
    for name, feed in nominal(actor, card, cfg.robots, cfg.seconds, cfg.seed):
        tick(f"fit {name}")
        feeds.append(feed)
    fitted = fit(feeds, len(channel_names(card.observation)), cfg.seed)
    highest = []
    for name, feed in nominal(actor, card, cfg.calibration, cfg.seconds, cfg.seed + 500):
        tick(f"calibrate {name}")
        highest.append(fitted.doubt(peaks(fitted, feed)).max(0))
    trip, advice = (threshold(np.concatenate(highest), share) for share in shares)
    fitted = replace(fitted, limit=trip, advice=min(advice / trip, 1.0), reaction=cfg.reaction)
    about = {
        "budget_per_hour": cfg.budget, "advice_budget_per_hour": cfg.advice, "trials": count,
        "fitted_to": cfg.robots * len(ALLOWED), "seconds": cfg.seconds, "seed": cfg.seed, "suites": list(ALLOWED),
    }  # fmt: skip
    return write(folder, card, fitted, about)


def write(folder: Path, card: Card, fitted: Fitted, about: dict[str, Any]) -> dict[str, Any]:
    """Write both files for the policy of ``card``; returns what ``monitor.json`` says."""
    arrays = {name: value for name, value in asdict(fitted).items() if isinstance(value, np.ndarray)}
    data = save({name: np.ascontiguousarray(value, dtype=np.float32) for name, value in arrays.items()})
    document = {
        "format": FORMAT, "weights": card.weights, "tensors": weights_digest(data),
        "limit": fitted.limit, "advice": fitted.advice, "reaction": fitted.reaction, **about,
    }  # fmt: skip
    write_whole({folder / FILES[0]: json.dumps(document, indent=2) + "\n", folder / FILES[1]: data})
    return document | {"bytes": sum((folder / name).stat().st_size for name in FILES)}
