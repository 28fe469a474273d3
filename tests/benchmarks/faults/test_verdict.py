"""The judge finds a rig that is not safe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.faults.trial import Recording
from benchmarks.faults.verdict import REACTION, SNAP, judge_machines, judge_robot
from sim.spec.gravity import EARTH

MASS = 15.0
TRIP = 10.0
SINCE = dict.fromkeys(("platform", "treadmill", "counterweight", "robot"), TRIP)


def recording(**changes: Any) -> Recording:
    """A rig that trips at 10 s, 0.05 s after the first row, and does all as it must; ``changes`` spoil a column."""
    time = 9.95 + 0.001 * np.arange(1000)
    after = time - TRIP
    good = {
        "platform_speed": np.where(after < 0.06, 0.3, 0.0),
        "belt_speed": np.clip(0.4 - 2.0 * np.maximum(after - 0.02, 0.0), 0.0, None),
        "brake": after > 0.002,
        "rope_length": np.where(after < 0.002, 3.0 + 0.1 * after, 3.0),
        "tension": 124.0 + 100.0 * np.exp(-20 * np.maximum(after, 0)),
        "mode": np.select([after < 0.002, after < 0.032, after < 0.102], ["run", "hold", "stand"], "damp"),
    }
    columns = good | {name: change(after, good[name]) for name, change in changes.items()}
    return Recording(time.tolist(), **{name: np.asarray(column).tolist() for name, column in columns.items()})


def flight(height: float = 0.5, up: float = 0.0, place: float = 0.1, out: float = 0.0) -> Recording:
    """A base that hangs at a height, with a speed, near the belt's centre."""
    rows = recording()
    rows.base = [np.array([place, 0.0, height, out, 0.0, up])] * len(rows.time)
    return rows


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (flight(), ""), (flight(1.09), ""), (flight(1.11), "0.51 m over its apex"), (flight(0.59, up=3.0), ""),
        (flight(0.61, up=1.49), ""), (flight(0.61, up=1.51), "moved away at 1.51 m/s"), (flight(0.61, up=-3.0), ""),
        (flight(out=1.51), "moved away"), (flight(out=-1.51), ""), (flight(out=-1.51, place=-0.1), "moved away"),
    ],
)  # fmt: skip
def test_how_far_and_how_fast_a_machine_throws_the_robot(rows: Recording, says: str) -> None:
    found = judge_robot(rows, apex=0.6)[0]
    assert len(found) == bool(says) and all(says in text for text in found)


def problems(**changes: Any) -> list[str]:
    return judge_machines(recording(**changes), SINCE, MASS)[0]


def test_a_rig_that_does_as_it_must_is_safe() -> None:
    found, safe, limit, snap = judge_machines(recording(), SINCE, MASS)
    assert found == []
    assert TRIP + 0.2 < safe <= limit == pytest.approx(TRIP + REACTION.belt + 0.4 / 2.0, abs=1e-3)
    assert snap == pytest.approx(224.0 / (MASS * EARTH), abs=1e-3)


@pytest.mark.parametrize(
    ("column", "change", "says"),
    [
        ("platform_speed", lambda t, v: np.where(t < REACTION.platform + 0.002, 0.1, 0.0), "platform was safe"),
        ("platform_speed", lambda t, v: np.where((t > 0.5) & (t < 0.52), 0.1, v), "platform was safe"),
        ("platform_speed", lambda t, v: v + 0.01, "platform never"),
        ("belt_speed", lambda t, v: np.clip(0.4 - 1.0 * np.maximum(t, 0.0), 0.0, None), "treadmill was safe"),
        ("belt_speed", lambda t, v: -v - 0.002, "treadmill never"),
        ("brake", lambda t, v: t > REACTION.rope + 0.002, "counterweight was safe"),
        ("brake", lambda t, v: v & (t < 0.5), "counterweight never"),
        ("mode", lambda t, v: np.where(t < REACTION.robot + 0.002, "stand", "damp"), "robot was safe"),
        ("mode", lambda t, v: np.where(t < 0.0, "run", "stand"), "robot never"),
        ("tension", lambda t, v: np.where(np.abs(t - 0.1) < 0.002, (SNAP + 0.01) * MASS * EARTH, v), "pulled with"),
        ("rope_length", lambda t, v: np.where(t > 0.3, 3.003, 3.0), "paid out 3.0 mm"),
    ],
)  # fmt: skip
def test_a_machine_that_is_not_safe_in_time_is_named(column: str, change: Any, says: str) -> None:
    found = problems(**{column: change})
    assert len(found) == 1 and says in found[0]


def test_slack_that_is_taken_up_is_no_rope_paid_out() -> None:
    assert problems(rope_length=lambda t, v: 3.0 - 0.2 * np.maximum(t, 0.0)) == []


def test_a_device_that_hears_nothing_counts_from_its_own_watchdog() -> None:
    late = {"mode": lambda t, v: np.where(t < 0.2, "run", "damp")}
    assert problems(**late) != []
    since = SINCE | {"robot": TRIP + REACTION.watchdog}
    assert judge_machines(recording(**late), since, MASS)[0] == []
