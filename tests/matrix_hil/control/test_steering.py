"""The outer loop against a simple robot that hops, drifts and listens badly: it comes back and stays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from matrix_hil.control.landing import FreeFlight, Landing, predict_landing, speed_home
from matrix_hil.control.steering import Steering, SteeringConfig
from matrix_hil.control.treadmill import BeltControl, BeltFollower
from sim.spec.command import HopCommand

DT = 0.005
FLIGHT = FreeFlight()
LOW, HIGH = np.array([0.0, -0.2, -0.4]), np.array([0.6, 0.2, 0.4])
TIME, STANCE = 1.2, 0.15  # s


@dataclass(frozen=True)
class Hopper:
    """What its lift-offs make of a command, and what they add."""

    response: tuple[float, float, float] = (0.5, 0.7, 0.4)
    drift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scatter: float = 0.0
    slope: tuple[float, float] = (0.0, 0.0)
    push: float = 0.7


def hops(
    robot: Hopper, count: int, asked: HopCommand | None = None, start: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """Touch-downs (count, 6): x, y, yaw, forward speed over the belt, belt speed, largest distance from the middle."""
    asked = asked or HopCommand(0.2, 0.0, 0.0, 0.3, 0.0)
    steering, belt = Steering(SteeringConfig(), FLIGHT, LOW, HIGH), BeltFollower(BeltControl())
    noise = np.random.default_rng(0)
    position, yaw = np.array([start[0], start[1], 0.3]), start[2]
    velocity, rows, now = np.zeros(3), [], 0.0

    def cycle(landing: Landing | None) -> HopCommand:
        nonlocal now
        now += DT
        told = steering.step(position, velocity, yaw, belt.speed, landing, robot.slope, asked, now)
        home = speed_home(float(position[0]), FLIGHT.swing(0.4), TIME)
        belt.step(float(steering.predicted[0]), home, steering.stance_time, landing is not None, DT)
        return told

    for _ in range(count):
        for _ in range(round(STANCE / DT)):
            told = cycle(None)
        # in its heading frame it is told, in the rig's it flies
        c, s = math.cos(yaw), math.sin(yaw)
        along = [c * told.vx - s * told.vy, s * told.vx + c * told.vy, told.yaw_rate]
        rate = (
            np.array(robot.response) * np.clip(along, LOW, HIGH)
            + robot.drift
            + noise.normal(0.0, 1.0, 3) * (robot.scatter)
        )
        rate[:2] -= robot.push * FLIGHT.gravity * (TIME + STANCE) * np.array(robot.slope)
        velocity = np.array([rate[0] - belt.speed, rate[1], 0.5 * FLIGHT.gravity * TIME])
        farthest = 0.0
        for _ in range(round(TIME / DT)):
            cycle(predict_landing(FLIGHT, position, velocity, 0.3))
            position, velocity = FLIGHT.advance(position, velocity, DT)
            yaw += rate[2] * DT
            farthest = max(farthest, float(np.hypot(*position[:2])))
        yaw += rate[2] * STANCE
        rows.append((position[0], position[1], yaw, rate[0], belt.speed, farthest))
        velocity = np.zeros(3)
    return np.array(rows)


@pytest.mark.parametrize("response", [(0.5, 0.7, 0.4), (1.0, 1.0, 1.0), (0.3, 0.4, 0.25)])
@pytest.mark.parametrize("drift", [(0.1, 0.08, 0.08), (-0.1, -0.05, -0.08)])
def test_drift_is_taken_out_whatever_the_robot_makes_of_commands(
    response: tuple[float, float, float], drift: tuple[float, float, float]
) -> None:
    rows = hops(Hopper(response, drift), 40)
    assert np.abs(rows[25:, :2]).max() < 0.03
    assert np.abs(rows[25:, 2]).max() < 0.06
    assert rows[25:, 3].mean() == pytest.approx(0.2, abs=0.05) or response[0] < 0.5
    assert rows[-1, 4] == pytest.approx(rows[-1, 3], abs=0.02)


def test_a_robot_off_the_middle_and_askew_is_brought_back() -> None:
    rows = hops(Hopper(), 25, start=(0.2, -0.2, 0.5))
    assert np.abs(rows[12:, :2]).max() < 0.03
    assert np.abs(rows[12:, 2]).max() < 0.08


def test_scatter_does_not_build_up() -> None:
    """Lift-offs that differ by 0.04 m/s and 0.04 rad/s (one sigma): within 0.15 m of the rope for 80 hops."""
    rows = hops(Hopper(scatter=0.04), 80)
    assert rows[5:, 5].max() < 0.15
    assert np.abs(rows[5:, 2]).max() < 0.4


def test_a_slope_ahead_is_reckoned_with() -> None:
    """Downhill at 0.2 the lift-off gets 0.3 m/s more: the command falls, and what is left over the belt takes."""
    level, downhill = hops(Hopper(), 20), hops(Hopper(slope=(-0.2, 0.0)), 20)
    assert downhill[-1, 3] == pytest.approx(max(0.2, 0.7 * 1.62 * 1.35 * 0.2), abs=0.03)
    assert downhill[4:, 5].max() < level[4:, 5].max() + 0.05
    assert downhill[-1, 4] == pytest.approx(downhill[-1, 3], abs=0.02)


def test_the_operators_command_passes_before_the_first_hop() -> None:
    steering = Steering(SteeringConfig(), FLIGHT, LOW, HIGH)
    asked = HopCommand(0.2, 0.05, 0.1, 0.3, 0.5)
    told = steering.step(np.zeros(3), np.zeros(3), 0.0, 0.0, None, (0.0, 0.0), asked, 0.0)
    assert told == asked


def test_speeds_are_told_in_the_heading_frame() -> None:
    steering = Steering(SteeringConfig(), FLIGHT, LOW, HIGH)
    told = steering.step(np.zeros(3), np.zeros(3), math.pi / 2, 0.0, None, (0.0, 0.0), HopCommand(0.2), 0.0)
    assert (told.vx, told.vy) == pytest.approx((0.0, -0.2), abs=1e-12)


def test_commands_stay_within_the_policys_range() -> None:
    rows = hops(Hopper(drift=(0.5, 0.5, 0.5)), 10)
    assert np.isfinite(rows).all()
    steering = Steering(SteeringConfig(), FLIGHT, LOW, HIGH)
    steering.rest = np.array([-5.0, 5.0, 5.0])
    steering.flight_time = 1.0
    told = steering.step(np.zeros(3), np.zeros(3), 0.0, 0.0, None, (0.0, 0.0), HopCommand(0.2), 0.0)
    assert (told.vx, told.vy, told.yaw_rate) == pytest.approx((0.6, -0.2, -0.4))
