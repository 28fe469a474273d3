"""What a run's results say: gravity in flight, heights per hop, offsets, and how long data took to become motion."""

from __future__ import annotations

import numpy as np
import pytest

from matrix_hil.control.counterweight import wanted_tension
from matrix_hil.control.platform import HopHeights
from matrix_hil.control.sync import SyncConfig, SyncInfo
from matrix_hil.messages import (
    CounterweightCommand,
    CounterweightState,
    MachineCommands,
    MachineStates,
    PlatformCommand,
    PlatformState,
    RobotCommand,
    RobotState,
    TrackerState,
    TreadmillCommand,
    TreadmillState,
)
from matrix_hil.run.loop import Cycle
from matrix_hil.run.metrics import Physics, RunMetrics, Samples, flight_gravity, percentiles
from matrix_hil.safety.supervisor import SupervisorState
from sim.spec.command import HopCommand
from sim.spec.joints import NOMINAL_POSE

DT = 0.005


def test_rising_and_falling_are_told_apart() -> None:
    """Two flights that rise at 1.7 and fall at 1.5 m/s^2 between stances of noise."""
    time = np.arange(600) * DT
    speed = np.random.default_rng(0).normal(0.0, 3.0, 600)
    flying = np.zeros(600, dtype=bool)
    for begin in (50, 350):
        t = np.arange(200) * DT
        up = 0.8 - 1.7 * t
        speed[begin : begin + 200] = np.where(up > 0.0, up, -1.5 * (t - 0.8 / 1.7))
        flying[begin : begin + 200] = True
    rising, falling = flight_gravity(time, flying, speed)
    assert rising == pytest.approx([1.7, 1.7], rel=1e-6) and falling == pytest.approx([1.5, 1.5], rel=1e-6)
    physics = Physics(1.0 / DT, 15.206)
    for row in zip(time, flying.astype(float), speed, *np.zeros((5, 600)), strict=True):
        physics.add(row)
    results = physics.results()
    assert results["flight_gravity"] == pytest.approx({"rising": 1.7, "falling": 1.5}, rel=1e-6)
    assert results["flight_fraction"] == pytest.approx(400 / 600) and results["run_seconds"] == pytest.approx(3.0)


def test_without_flight_gravity_is_unknown() -> None:
    assert flight_gravity(np.arange(10) * DT, np.zeros(10, dtype=bool), np.zeros(10)) == ([], [])
    assert np.isnan([*Physics(200.0, 15.2).results()["flight_gravity"].values()]).all()


def test_a_long_run_keeps_no_more_than_a_short_one() -> None:
    physics, samples = Physics(200.0, 15.206), Samples(1000)
    t = np.arange(280) * DT
    flying, speed = (t < 0.98).astype(float), np.where(t < 0.98, 0.8 - 1.62 * t, 0.0)
    for _ in range(20):
        for row in zip(t, flying, speed, *np.zeros((5, 280)), strict=True):
            physics.add(row)
        assert len(physics._rows) <= 280
    for k in range(20_000):
        physics.add((k * DT, 0.0, *np.zeros(6)))
        samples.add(float(k))
    assert len(physics._rows) < 5000 and len(samples.values) == 1000 and samples.count == 20_000
    assert np.median(samples.values) == pytest.approx(10_000, abs=1000), "an even draw"
    assert physics.results()["run_seconds"] == pytest.approx((20 * 280 + 20_000) * DT)


def test_percentiles_are_microseconds() -> None:
    assert percentiles(np.full(100, 1e-3))["p99"] == pytest.approx(1000.0)
    assert np.isnan(percentiles(np.zeros(0))["p50"])


def cycle(
    now: float, heights: HopHeights | None = None, count: int = 0, place: tuple[float, float] = (0.0, 0.0)
) -> Cycle:
    """A cycle of a run whose platform state is 5 ms old, robot state 2 ms, tracker sample 8 ms, the others 1 ms."""
    states = MachineStates(
        PlatformState(now - 0.005, np.zeros(6), np.zeros(6)),
        TreadmillState(now - 0.001, 0.2, 0.0),
        CounterweightState(now - 0.001, wanted_tension(15.206) + 3.0, 3.7, 0.0),
        TrackerState(now - 0.008, np.array([*place, 0.3]), np.array([1.0, 0.0, 0.0, 0.0])),
        RobotState(now - 0.002, NOMINAL_POSE, np.zeros(12), np.zeros(3), np.array([0.0, 0.0, -1.0]), np.full(4, 6.0)),
    )
    info = SyncInfo(
        now, True, False, np.ones(4, bool), np.zeros(3), 0.2, HopCommand(), 1, 1, None, np.zeros(3), heights, count,
        0.0, now,
    )  # fmt: skip
    wanted = MachineCommands(
        PlatformCommand(now, np.zeros(6)),
        TreadmillCommand(now, 0.2),
        CounterweightCommand(now, 124.0),
        RobotCommand(now, NOMINAL_POSE, 30.0, 0.75),
    )
    judged = SupervisorState(now, "run", "", 0, 0)
    return Cycle(0, now, states, wanted, wanted, judged, info, np.zeros(3), None, HopCommand(), ())


def test_heights_count_once_and_only_within_the_travel() -> None:
    metrics = RunMetrics(SyncConfig(), None)
    hops = [HopHeights(0.03, 0.02, True, 0.0), HopHeights(0.0, 0.03, True, 0.0), HopHeights(0.2, 0.0, False, 0.0)]
    for i in range(40):
        metrics.add(cycle(i * DT, hops[i // 10 - 1] if i >= 10 else None, i // 10))
    results = metrics.results("simulated")
    assert results["hops_over_known_ground"] == 3
    assert results["hops_in_travel"] == pytest.approx(2 / 3)
    assert results["hop_height_rms_mm"] == pytest.approx(1e3 * np.sqrt((0.01**2 + 0.03**2) / 2))


def test_offsets_and_rope_force() -> None:
    metrics = RunMetrics(SyncConfig(), None)
    for i in range(10):
        metrics.add(cycle(i * DT, place=(0.03, -0.04) if i == 5 else (0.01, 0.0)))
    results = metrics.results("simulated")
    assert results["belt_offset_max_m"] == pytest.approx(0.04)
    assert results["rope_offset_max_m"] == pytest.approx(0.05)
    assert results["rope_force_rms_n"] == pytest.approx(3.0)


def test_end_to_end_is_from_the_measurement_to_the_machine() -> None:
    cfg = SyncConfig()
    metrics = RunMetrics(cfg, None)
    for i in range(50):
        now = i * DT
        metrics.add(cycle(now))
        metrics.wired({"robot": (now, now + 0.0007), "platform": (now, now + 0.001), "tracker": None})
        metrics.wired({"robot": (now, now + 0.0007)})  # the same again counts once
    results = metrics.results("wall")
    ages = results["end_to_end_ms"]
    assert ages["robot"]["p50"] == pytest.approx(1e3 * (0.002 + 0.0007 + cfg.delays.robot))
    assert ages["platform"]["p99"] == pytest.approx(1e3 * (0.008 + cfg.tracker.latency + 0.001 + cfg.delays.platform))
    assert np.isnan(ages["treadmill"]["p50"])
    assert results["command_to_wire_us"]["p50"] == pytest.approx(850.0, abs=151.0)
    assert results["skew_ms"]["p50"] == pytest.approx(1e3 * (0.008 + cfg.tracker.latency - 0.001))
