"""Figures of made-up recordings whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from matrix_hil.fidelity.cli import _print
from matrix_hil.fidelity.closed_loop import Recording
from matrix_hil.fidelity.measures import (
    COMPARED,
    HEADINGS,
    figure_rows,
    find_hops,
    measure,
    relative_errors,
    scheme_rows,
    torque_profile,
)
from matrix_hil.fidelity.schemes import SCHEMES
from sim.spec.gravity import EARTH, MOON, lunar_weight

DT, MASS, STANCE = 0.001, 15.0, 0.2
WANTED = MASS * (EARTH - MOON)


def hopping(speed: float, gravity: float = MOON, hops: int = 4, sideways: float = 0.0) -> Recording:
    """Flights from and to the same height between stances of STANCE s, in which the feet bear 10 lunar weights."""
    flight = 2.0 * speed / gravity
    period = STANCE + flight
    time = np.arange(round(hops * period / DT)) * DT
    phase = time % period
    up = np.maximum(phase - STANCE, 0.0)
    flying = up > 0.0
    height = 0.3 + speed * up - 0.5 * gravity * up**2
    vertical = np.where(flying, speed - gravity * up, 0.0)
    feet = np.where(flying, 0.0, 2.5 * lunar_weight(MASS))
    torque = np.where(flying, 1.0, 5.0)[:, None] * np.ones(12)
    return Recording(
        time=time,
        base_height=height,
        base_speed=vertical,
        tilt=np.full(len(time), 0.1),
        com_velocity=np.stack([sideways * up, np.zeros(len(time)), vertical], axis=1),
        foot_force=np.repeat(feet[:, None], 4, axis=1),
        joint_torque=torque,
        joint_velocity=np.full((len(time), 12), 0.5),
        tension=np.where(flying, WANTED + 2.0, WANTED - 6.0),
        rig_ground=np.zeros(len(time)),
        twin_ground=0.01 * np.floor((time - STANCE - 0.5 * flight) / period),
        latency=np.array([0.005, 0.005, 0.010]),
        mass=MASS,
        trips=0,
        reason="",
    )


def figures(run: Recording, moon: Recording | None = None, settle: float = 0.0) -> dict[str, float]:
    return measure(run, find_hops(run, settle), None if moon is None else (moon, find_hops(moon, settle)))


def test_hops_are_measured() -> None:
    f = figures(hopping(1.0))
    assert f["hops"] == 3  # the first stance has no flight before it, the last flight no landing
    assert f["apex_gain"] == pytest.approx(1.0 / (2 * MOON), abs=0.02)
    assert f["flight_time"] == pytest.approx(2.0 / MOON, abs=0.005)
    assert f["touchdown_speed"] == pytest.approx(1.0, abs=0.01)
    assert f["peak_force_lunar_bw"] == pytest.approx(10.0)
    assert f["hop_rate"] == pytest.approx(1.0 / (STANCE + 2.0 / MOON), rel=0.01)
    assert f["touchdown_tilt_deg"] == pytest.approx(math.degrees(0.1))
    assert (f["hop_accel_up"], f["hop_accel_down"]) == pytest.approx((MOON, MOON), rel=1e-3)


def test_the_first_seconds_do_not_count() -> None:
    run = hopping(1.0)
    assert figures(run, settle=1.5)["hops"] == 2
    assert figures(run, settle=99.0)["hops"] == 0
    assert math.isnan(figures(run, settle=99.0)["apex_gain"])


def test_rope_power_latency_and_terrain() -> None:
    f = figures(hopping(1.0))
    assert f["rope_force_error_n"] == pytest.approx({"flight_rms": 2.0, "stance_rms": 6.0}, rel=0.05)
    flight = 2.0 / MOON
    mean_torque = (flight * 1.0 + STANCE * 5.0) / (flight + STANCE)
    assert f["power_w"] == pytest.approx(12 * 0.5 * mean_torque, rel=0.1)
    assert f["latency_ms"]["p50"] == pytest.approx(5.0)
    assert f["terrain_error_mm"] == pytest.approx(10.0)  # the twin rises by 10 mm in every flight, the rig stays
    assert f["slack_fraction"] == 0.0


def test_lateral_acceleration() -> None:
    assert figures(hopping(1.0, sideways=0.3))["lateral_accel"] == pytest.approx(0.3, rel=1e-3)


def test_without_a_rope_its_figures_are_absent() -> None:
    run = hopping(1.0)
    f = figures(replace(run, tension=np.zeros(len(run.time))))
    assert math.isnan(f["slack_fraction"]) and math.isnan(f["rope_force_error_n"]["flight_rms"])


def test_torques_are_compared_phase_by_phase() -> None:
    """Twice as long a flight is no torque error; one newton metre more in every joint is one of one."""
    moon, low = hopping(1.0), hopping(1.0, gravity=2 * MOON)
    assert figures(low, moon)["joint_torque_error_nm"] == pytest.approx(0.0, abs=0.3)
    strong = replace(moon, joint_torque=moon.joint_torque + 1.0)
    assert figures(strong, moon)["joint_torque_error_nm"] == pytest.approx(1.0)
    profile = torque_profile(moon, find_hops(moon, 0.0))
    assert profile[10:40, 0] == pytest.approx(1.0) and profile[60:90, 0] == pytest.approx(5.0)


def test_errors_are_relative_to_the_moon() -> None:
    moon = {name: 2.0 for name in COMPARED}
    errors = relative_errors(moon | {"apex_gain": 2.1}, moon)
    assert errors["apex_gain_rel_error"] == pytest.approx(0.05)
    assert errors["flight_time_rel_error"] == 0.0


def test_tables_show_values_errors_and_gaps() -> None:
    moon = figures(hopping(1.0)) | {f"{s}_accel_{way}": MOON for s in ("flight", "theory") for way in ("up", "down")}
    other = moon | {"apex_gain": 0.25, "power_w": math.nan}
    other |= relative_errors(other, moon)
    table = {row[0]: row[1:] for row in figure_rows({"moon": moon, "other": other})}
    assert table["apex gain, m"][1] == f"0.250 ({0.25 / moon['apex_gain'] - 1:+.1%})"
    assert table["mechanical power, W"][1] == "–"
    assert scheme_rows({"moon": moon, "other": other})[1][0] == "other"


def test_the_printed_table_is_legible_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """No name, heading or figure is cut, however large the errors."""
    figures = {key: 12.345 for key in COMPARED} | {f"{key}_rel_error": -1.234 for key in COMPARED} | {"reason": ""}
    _print(Console(width=80), {name: figures for name in SCHEMES})
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80 and "…" not in printed
    assert all(name in printed for name in SCHEMES)
    assert printed.count("-123.4%") == 6 * len(SCHEMES) and printed.count("12.3") >= 6 * len(SCHEMES)
    assert set(" ".join(HEADINGS).split()) <= set(printed.split())
