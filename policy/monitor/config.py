"""What ``lunar monitor fit`` and ``lunar monitor eval`` are told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FitConfig:
    """Fit a monitor to a policy and calibrate it; writes monitor.json and monitor.safetensors beside the policy."""

    policy: str = "policy/zoo/pronk"
    """Folder with policy.safetensors and card.json, or the name of one in policy/zoo/."""
    robots: int = 16
    """Trials per suite that it is fitted to."""
    calibration: int = 32
    """Trials per suite, of other seeds, from which its limits come."""
    seconds: float = 20.0
    """s of a trial."""
    budget: float = 1.0
    """Trips per robot-hour that may be for nothing."""
    advice: float = 10.0
    """Advices per robot-hour that may be for nothing."""
    reaction: str = "hold"
    """What a robot does on a trip: damp, hold or stand; 'lunar bench monitor' says who stays upright."""
    seed: int = 5000
    """Of ground, commands, robots and sensor noise."""
    json: str = ""
    """File for the results as data."""


@dataclass(frozen=True)
class EvalConfig:
    """Measure the monitor beside a policy: trips for nothing, and what it catches how soon."""

    policy: str = "policy/zoo/pronk"
    """Folder with the policy and its monitor, or the name of one in policy/zoo/."""
    robots: int = 24
    """Healthy trials per suite."""
    seconds: float = 20.0
    """s of a healthy trial."""
    faulty: int = 16
    """Trials of each fault."""
    seed: int = 9000
    """Of ground, commands, robots and sensor noise; another than that of the fit."""
    quick: bool = False
    """A few trials of 6 s on two suites, and four faults."""
    json: str = ""
    """File for the results as data."""
