"""The rig's clock, and who may slow it down."""

from __future__ import annotations

from dataclasses import replace

import pytest

from matrix_hil.config import HilConfig, Treadmill
from matrix_hil.link import HostClock
from matrix_hil.run.start_check import check
from sim.errors import LunarError


def test_a_slow_clock_shows_less_and_waits_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 120.0)
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    clock = HostClock(pace=0.25, began=100.0)
    assert clock() == 5.0
    assert clock.until(6.0) == 4.0 and clock.until(4.0) == 0.0
    clock.sleep(5.5)
    assert slept == [2.0]


@pytest.mark.parametrize("pace", [0.0, -1.0, 2.0, float("nan")])
def test_a_pace_that_is_none_is_refused(pace: float) -> None:
    with pytest.raises(LunarError, match="pace"):
        check(HilConfig(clock="wall", pace=pace))


def test_simulated_time_has_no_pace() -> None:
    with pytest.raises(LunarError, match="set clock to 'wall'"):
        check(HilConfig(pace=0.5))


def test_real_machines_keep_real_time() -> None:
    cfg = HilConfig(clock="wall", allow_mixed=True, treadmill=Treadmill(port="/dev/ttyX"))
    check(cfg)
    with pytest.raises(LunarError, match="treadmill is real"):
        check(replace(cfg, pace=0.5))
