"""What the past says: how long something lasted, and what changed at once."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_hil.messages import MachineStates, TwinPatch
from matrix_hil.safety.trends import (
    TRAVEL_SPAN,
    WATCHED,
    Trends,
    TrendWatch,
    angle_between,
    ground_difference,
    heights_at,
    tilt_of_gravity,
    tilt_of_quaternion,
)
from matrix_hil.twin.height_map import height_at
from tests.matrix_hil.safety.examples import CFG, DT, NOW, at, good_commands, good_states, rolled
from tests.matrix_hil.test_messages import MALFORMED

TINY = 1e-4


class Past:
    """A watch that is asked every 5 ms."""

    def __init__(self) -> None:
        self.watch = TrendWatch(CFG)
        self.now = NOW

    def step(self, seconds: float = DT, **states: Any) -> Trends:
        options = {"patch": None, "active": True, "running": True, "refused": False}
        given = {name: states.pop(name) for name in list(states) if name in options}
        for _ in range(max(1, round(seconds / DT))):
            self.now += DT
            trends = self.watch.step(
                good_states(self.now, **states), good_commands(self.now), now=self.now, **(options | given)
            )
        return trends


# ---- how long --------------------------------------------------------------------------------------------------------


def moving(axis: int, rate: float) -> dict[str, Any]:
    """A platform that moves although it is told to stand."""
    return {"running": False, "platform__velocity": at(axis, rate, 6)}


LASTING: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("slack_for", {"counterweight__tension": CFG.slack_tension - TINY}, {"counterweight__tension": CFG.slack_tension}),
    ("refused_for", {"refused": True}, {"refused": False}),
    *[("platform_astray_for", {"platform__pose": at(i, sign * (CFG.platform_errors[i] + TINY), 6)},
       {"platform__pose": at(i, sign * CFG.platform_errors[i], 6)}) for i in range(6) for sign in (-1, 1)],
    *[("belt_astray_for", {"treadmill__speed": sign * (CFG.belt_creep + TINY)},
       {"treadmill__speed": sign * CFG.belt_creep}) for sign in (-1, 1)],
    *[("rope_astray_for", {"counterweight__tension": 124.0 + sign * (CFG.rope_astray + TINY)},
       {"counterweight__tension": 124.0 + sign * CFG.rope_astray}) for sign in (-1, 1)],
    ("rope_astray_for", {"counterweight__tension": 0.0}, {"counterweight__tension": 0.0, "running": False}),
    ("rope_astray_for", {"counterweight__tension": math.nan}, {"counterweight__tension": 300.0, "active": False}),
    ("tilts_apart_for", rolled(CFG.tilts_apart + TINY), rolled(CFG.tilts_apart - TINY)),
    ("slack_for", {"counterweight__tension": -5.0}, {"counterweight__tension": -5.0, "running": False}),
    ("refused_for", {"refused": True}, {"refused": True, "running": False}),
    ("platform_astray_for", {"platform__pose": np.full(6, 0.1)}, {"platform__pose": np.full(6, 0.1), "active": False}),
    ("platform_astray_for", {"platform__pose": np.full(6, math.nan)}, {}),
    *[("platform_astray_for", moving(i, sign * (CFG.platform_creeps[i] + TINY)),
       moving(i, sign * CFG.platform_creeps[i]))
      for i in range(6) for sign in (-1, 1)],
    ("platform_astray_for", {"platform__velocity": np.full(6, 0.3), "running": False},
     {"platform__velocity": np.full(6, 0.3)}),
    ("belt_astray_for", {"treadmill__speed": math.nan}, {"treadmill__speed": 1.0, "active": False}),
    ("tilts_apart_for", {"tracker__quaternion": np.zeros(4)}, {}),
    ("tilts_apart_for", {"robot__projected_gravity": np.zeros(3)}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "bad", "good"), LASTING)
def test_durations_count_from_the_first_bad_cycle_and_end_with_it(name: str, bad: Any, good: Any) -> None:
    past = Past()
    assert getattr(past.step(0.5, **good), name) == 0.0
    assert getattr(past.step(**bad), name) == 0.0
    assert getattr(past.step(0.1, **bad), name) == pytest.approx(0.1)
    assert getattr(past.step(**good), name) == 0.0
    assert getattr(past.step(0.02, **bad), name) == pytest.approx(0.015)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_belt_that_runs_may_be_farther_off_its_speed_than_one_that_stands(sign: float) -> None:
    watch, running = TrendWatch(CFG), good_commands(treadmill__speed=1.0)
    for k, speed in enumerate((1.0 + sign * (CFG.belt_astray - TINY), 1.0 + sign * (CFG.belt_astray + TINY))):
        for i in range(21):
            now = NOW + (21 * k + i) * DT
            trends = watch.step(good_states(now, treadmill__speed=speed), running, None, now, True, True, False)
        assert trends.belt_astray_for == pytest.approx(0.1 * k)


def test_a_braked_rope_pulls_as_it_must() -> None:
    watch, braked = TrendWatch(CFG), good_commands(counterweight__brake=True)
    for k in range(100):
        states = good_states(NOW + k * DT, counterweight__tension=400.0)
        trends = watch.step(states, braked, None, NOW + k * DT, True, True, False)
        assert trends.rope_astray_for == 0.0


@pytest.mark.parametrize("name", WATCHED)
def test_a_device_is_frozen_when_all_of_it_repeats_while_running(name: str) -> None:
    past = Past()
    base = good_states()
    for _ in range(20):  # one value alone keeps it alive
        noise = {f"{name}__{WATCHED[name][-1]}": getattr(getattr(base, name), WATCHED[name][-1]) + 1e-9 * past.now}
        assert past.step(**noise).frozen_for[name] == 0.0
    assert past.step(0.305).frozen_for[name] == pytest.approx(0.295), "the first is new, the second repeats it"
    assert past.step(running=False).frozen_for[name] == 0.0
    assert past.step().frozen_for[name] == 0.0
    assert past.step(0.02).frozen_for[name] == pytest.approx(0.015)


def test_a_device_that_is_missing_has_no_past() -> None:
    watch = TrendWatch(CFG)
    trends = watch.step(MachineStates(), None, None, NOW, True, True, False)
    assert trends == replace(Trends(), frozen_for=dict.fromkeys(WATCHED, 0.0))


@pytest.mark.parametrize("moment", [-1000.0, math.nan])
def test_what_lasts_is_still_counted_after_a_clock_that_jumped_back_or_was_none(moment: float) -> None:
    past = Past()
    past.step(0.2, **rolled(0.5))
    now, past.now = past.now, past.now + moment
    assert past.step(**rolled(0.5)).tilts_apart_for == 0.0
    past.now = now if math.isnan(moment) else past.now
    past.step(**rolled(0.5))
    assert past.step(1.0, **rolled(0.5)).tilts_apart_for >= 1.0 - 1e-9


def test_a_clock_that_jumps_back_makes_no_duration_negative() -> None:
    past = Past()
    past.step(0.5, counterweight__tension=0.0)
    past.now -= 5.0
    assert past.step(counterweight__tension=0.0).slack_for == 0.0


# ---- at once ---------------------------------------------------------------------------------------------------------


def test_the_belts_travel_is_compared_with_its_speed_over_a_second() -> None:
    past = Past()
    position = 3.0
    for k in range(400):
        speed = 0.01 * k
        position += 0.01 * (k - 0.5) * DT
        error = past.step(treadmill__speed=speed, treadmill__position=position).travel_error
        assert error == pytest.approx(0, abs=1e-9)
    for _ in range(round(TRAVEL_SPAN / DT) - 5):  # speed goes on, position stands
        error = past.step(treadmill__speed=1.0, treadmill__position=position).travel_error
    assert error < -0.9
    late = [past.step(treadmill__position=position).travel_error for _ in range(250)]
    assert late[-1] == 0.0, "what is over a second old is forgotten"
    assert past.step(treadmill__position=math.nan).travel_error != 0.0


def test_a_step_of_the_tracker_is_told_once_per_sample() -> None:
    past = Past()
    assert past.step().tracker_step == (0.0, 0.0, 0.0)
    moved = {"tracker__position": np.array([0.03, 0.04, 0.3]), **rolled(0.3)}
    assert past.step(**moved).tracker_step == pytest.approx((0.05, 0.3, DT))
    assert past.step(**moved).tracker_step == pytest.approx((0.0, 0.0, DT), abs=1e-6)
    old = past.now - DT / 2
    assert past.step(tracker__time=old, **moved).tracker_step == (0.0, 0.0, 0.0), "not newer than the one before"
    assert math.isnan(past.step(tracker__quaternion=np.zeros(4)).tracker_step[1])


def patch(time: float, x: float, lift: float = 0.0, rows: int = 31, cols: int = 41) -> TwinPatch:
    """A patch of one sloping, wavy ground."""
    gx, gy = np.meshgrid(x + 0.05 * np.arange(cols), -0.7 + 0.05 * np.arange(rows))
    return TwinPatch(time, np.array([x, -0.7]), 0.05, 0.3 * gx - 0.2 * gy + 0.02 * np.sin(gx) + lift)


@pytest.mark.parametrize("lift", [0.0, 0.25, -0.1])
@pytest.mark.parametrize("x", [0.013, -0.7, 1.2])
def test_the_same_ground_seen_from_elsewhere_differs_by_what_it_was_lifted(x: float, lift: float) -> None:
    assert ground_difference(patch(0, 0.0), patch(1, x, lift)) == pytest.approx(lift, abs=1e-3)


def test_heights_between_samples_are_those_of_the_bilinear_surface() -> None:
    """Against the twin's own look-up, on ground without any symmetry; outside, the nearest edge's height."""
    random = np.random.default_rng(2)
    ground = TwinPatch(0.0, np.array([-0.4, 1.3]), 0.07, random.normal(size=(6, 9)))
    x, y = random.uniform(-0.4, -0.4 + 8 * 0.07, 200), random.uniform(1.3, 1.3 + 5 * 0.07, 200)
    expected = [height_at(ground, float(a), float(b)) for a, b in zip(x, y, strict=True)]
    assert heights_at(ground, x, y) == pytest.approx(np.array(expected), abs=1e-9)
    corners = heights_at(ground, np.array([-9.0, 9.0, -9.0, 9.0]), np.array([-9.0, -9.0, 9.0, 9.0]))
    assert corners == pytest.approx(ground.heights[[0, 0, -1, -1], [0, -1, 0, -1]])


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("corner", [0, 4, 9, 12])
def test_a_block_that_was_not_there_before_is_seen_wherever_it_stands(corner: int, sign: float) -> None:
    """0.85 m wide and 1 m high: less than a tenth of a patch of 3 m."""
    old, new = patch(0, 0.0, rows=61, cols=61), patch(1, 0.0, rows=61, cols=61)
    new.heights[3 * corner : 3 * corner + 17, 2 * corner : 2 * corner + 17] += sign
    assert ground_difference(old, new) == pytest.approx(sign, abs=0.05)


@pytest.mark.parametrize("edge", [np.s_[20, :], np.s_[:, 33]])
def test_edges_that_another_view_shows_elsewhere_are_no_change_of_the_ground(edge: Any) -> None:
    old, new = patch(0, 0.0, rows=61, cols=61), patch(1, 0.0, rows=61, cols=61)
    new.heights[edge] += 1.0
    assert ground_difference(old, new) == pytest.approx(0.0, abs=1e-9)


def test_patches_that_share_one_line_can_be_compared_along_it() -> None:
    old = TwinPatch(0, np.zeros(2), 0.25, np.ones((3, 4)))  # exact in binary
    beside, above = (TwinPatch(1, np.array(o), 0.25, np.full((3, 4), 1.5)) for o in ([0.75, 0.0], [0.0, 0.5]))
    assert ground_difference(old, beside) == ground_difference(old, above) == 0.5


def test_grounds_without_a_point_in_common_cannot_be_compared() -> None:
    assert ground_difference(patch(0, 0.0), patch(1, 2.1, 9.0)) == 0.0
    unknown = patch(1, 0.0)
    unknown.heights[:] = math.nan
    assert ground_difference(patch(0, 0.0), unknown) == 0.0
    assert ground_difference(unknown, patch(1, 0.0)) == 0.0


def test_a_step_of_the_ground_is_told_once_per_patch() -> None:
    past = Past()
    first, second = patch(NOW, 0.0), patch(NOW, 0.1, 0.25)
    assert past.step(patch=first).ground_step == 0.0
    assert past.step(patch=first).ground_step == 0.0
    assert past.step(patch=second).ground_step == pytest.approx(0.25, abs=1e-3)
    assert past.step(patch=second).ground_step == 0.0
    assert past.step(patch=second).ground_age == pytest.approx(past.now - NOW)
    assert past.step().ground_age == past.step().ground_step == 0.0


@pytest.mark.parametrize("changes", MALFORMED)
def test_what_is_no_ground_is_told_as_such_and_compared_with_nothing(changes: dict[str, Any]) -> None:
    past = Past()
    first, broken = patch(NOW, 0.0), replace(patch(NOW, 0.0), **changes)
    assert past.step(patch=first).ground_step == 0.0
    assert math.isnan(past.step(patch=broken).ground_step)
    assert past.step(patch=patch(NOW, 0.1, 0.25)).ground_step == pytest.approx(0.25, abs=1e-3)


# ---- geometry --------------------------------------------------------------------------------------------------------


@given(st.floats(0.0, 3.1), st.floats(-3.1, 3.1), st.floats(-3.1, 3.1))
def test_both_sensors_see_the_same_tilt(tilt: float, direction: float, heading: float) -> None:
    gravity = np.array([math.sin(tilt) * math.cos(direction), math.sin(tilt) * math.sin(direction), -math.cos(tilt)])
    # Turn about the vertical, then lean: neither the heading nor the direction of leaning changes the tilt.
    w, z = math.cos(heading / 2), math.sin(heading / 2)
    x, y = math.sin(tilt / 2) * math.cos(direction), math.sin(tilt / 2) * math.sin(direction)
    c = math.cos(tilt / 2)
    quaternion = np.array([w * c, w * x - z * y, w * y + z * x, z * c])
    assert tilt_of_gravity(gravity) == pytest.approx(tilt, abs=1e-6)
    assert tilt_of_quaternion(quaternion) == pytest.approx(tilt, abs=1e-6)


@given(st.floats(0.0, 3.1), st.floats(-3.1, 3.1), st.floats(0.1, 9.0))
def test_the_angle_between_attitudes_is_that_of_the_turn(turn: float, about: float, scale: float) -> None:
    start = np.array([math.cos(0.4), 0.0, math.sin(0.4), 0.0])
    c, s = math.cos(turn / 2), math.sin(turn / 2)
    x, y = s * math.cos(about), s * math.sin(about)
    w0, y0 = start[0], start[2]
    turned = np.array([c * w0 - y * y0, x * w0, y * w0 + c * y0, x * y0])  # the turn after the start
    assert angle_between(scale * turned, -start) == pytest.approx(turn, abs=1e-6)
