"""The outer loop against a simple robot that hops, drifts and listens badly: it comes back and stays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    turned: float = 0.0
    """rad/m. Turn per speed told to the left."""
    time: float = TIME
    """s, of a flight."""
    waves: Sequence[tuple[float, float]] = ()
    """Slopes of its landings, instead of ``slope``."""
    yields: bool = False
    """The plate shows of the slope what can be borne."""


def hops(
    robot: Hopper, count: int, asked: HopCommand | None = None, start: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """Touch-downs (count, 6): x, y, yaw, forward speed over the belt, belt speed, largest distance from the middle."""
    asked = asked or HopCommand(0.2, 0.0, 0.0, 0.3, 0.0)
    steering, belt = Steering(SteeringConfig(), FLIGHT, LOW, HIGH), BeltFollower(BeltControl())
    noise = np.random.default_rng(0)
    position, yaw = np.array([start[0], start[1], 0.3]), start[2]
    velocity, rows, now, slope = np.zeros(3), [], 0.0, robot.slope

    def cycle(landing: Landing | None) -> HopCommand:
        nonlocal now
        now += DT
        nonlocal slope
        told = steering.step(position, velocity, yaw, belt.speed, landing, slope, asked, now)
        if landing is not None and robot.yields:  # the plate moves in flight
            least, most = steering.bearable
            slope = robot.slope[0], min(max(robot.slope[1], least), most)
        home = speed_home(float(position[0]), FLIGHT.swing(0.4), robot.time)
        belt.step(float(steering.predicted[0]), home, steering.stance_time, landing is not None, DT)
        return told

    for k in range(count):
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
        rate[2] += robot.turned * float(np.clip(told.vy, LOW[1], HIGH[1]))
        rate[:2] -= robot.push * FLIGHT.gravity * (robot.time + STANCE) * np.array(slope)
        velocity = np.array([rate[0] - belt.speed, rate[1], 0.5 * FLIGHT.gravity * robot.time])
        farthest = 0.0
        if robot.waves:
            slope = robot.waves[k]
        for _ in range(round(robot.time / DT)):
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
    assert told(np.array([-5.0, 5.0, 0.0]))[:2] == pytest.approx((0.6, -0.2))
    assert told(np.array([0.0, 0.0, 5.0]))[2] == pytest.approx(-0.4)


def told(rest: np.ndarray, yaw: float = 0.0) -> tuple[float, float, float]:
    """vx, vy and yaw rate told to a robot that has hopped, whose lift-offs have this ``rest``."""
    steering = Steering(SteeringConfig(), FLIGHT, LOW, HIGH)
    steering.rest, steering.flight_time = rest, 1.0
    command = steering.step(np.zeros(3), np.zeros(3), yaw, 0.0, None, (0.0, 0.0), HopCommand(0.2), 0.0)
    return command.vx, command.vy, command.yaw_rate


# like policy/zoo/pronk: told to go right it turns left faster than it can be told to turn right
SPINNER = Hopper((0.8, 0.55, 0.33), (0.0, 0.0, 0.08), slope=(0.0, -0.4), turned=-0.6, time=0.9, yields=True)


def test_the_heading_is_held_before_the_side() -> None:
    """What would turn it back goes sideways; a robot that is pushed aside is told so only as far as it can face on."""
    assert told(np.array([0.0, 0.2, 0.0]))[1] == pytest.approx(-0.2)
    _, aside, turn = told(np.array([0.0, 0.2, 0.14]))
    assert turn == pytest.approx(-0.4)
    assert SteeringConfig().turned * aside + 0.4 * turn + 0.14 == pytest.approx(0.0)
    assert told(np.array([0.0, 0.2, 0.4]))[1:] == pytest.approx((0.0, -0.4))


def test_a_robot_that_faces_aside_is_told_within_its_range() -> None:
    for yaw in np.linspace(-3.0, 3.0, 13):
        for rest in ([0.6, 0.2, 0.0], [-0.6, -0.2, 0.4], [0.0, 0.2, -0.4]):
            command = np.array(told(np.array(rest), float(yaw)))
            assert (command >= LOW - 1e-12).all() and (command <= HIGH + 1e-12).all()


def test_a_side_slope_carries_no_robot_off_the_belt() -> None:
    """One whose flights are too short to swing home: the plate shows what can be borne, and it faces on."""
    rows = hops(SPINNER, 40)
    assert rows[:, 5].max() < 0.36
    assert np.abs(rows[20:, 2]).max() < 0.6
    assert hops(replace(SPINNER, yields=False), 8)[:, 5].max() > 0.45


@pytest.mark.parametrize("y", [0.0, 0.1, -0.25, 0.5])
@pytest.mark.parametrize("rest", [-0.1, 0.0, 0.15])
def test_from_a_bearable_slope_the_next_flight_stays_in_its_room(y: float, rest: float) -> None:
    cfg = SteeringConfig()
    steering = Steering(cfg, FLIGHT, LOW, HIGH)
    steering.flight_time, steering.rest = TIME, np.array([0.0, rest, 0.0])
    landing = Landing(0.0, np.array([0.0, y, 0.3]), np.zeros(3))
    steering.step(np.zeros(3), np.zeros(3), 0.0, 0.0, landing, (0.0, 0.0), HopCommand(0.2), 0.0)
    least, most = steering.bearable
    assert least <= 0.0 <= most
    for slope in (least, most):
        speed = rest - (cfg.push + cfg.push_doubt) * FLIGHT.gravity * (TIME + cfg.stance) * slope
        start, farthest = np.array([0.0, y, 0.3]), 0.0
        for t in np.arange(0.0, TIME, DT):
            there, _ = FLIGHT.advance(start, np.array([0.0, speed, 0.0]), float(t))
            farthest = max(farthest, abs(float(there[1])))
        assert farthest < max(cfg.room, math.hypot(y, rest / FLIGHT.swing(0.3))) + 1e-9


def test_a_robot_turned_away_gets_a_plate_that_is_level_sideways() -> None:
    steering = Steering(SteeringConfig(), FLIGHT, LOW, HIGH)
    steering.flight_time = TIME
    landing = Landing(0.0, np.array([0.0, 0.0, 0.3]), np.zeros(3))
    widths = []
    for yaw in (0.0, 0.3, 0.6, 2.0):
        steering.step(np.zeros(3), np.zeros(3), yaw, 0.0, landing, (0.0, 0.0), HopCommand(0.0), 0.0)
        widths.append(steering.bearable[1] - steering.bearable[0])
    assert widths[0] > widths[1] > widths[2] == widths[3] == 0.0


@pytest.mark.parametrize("push", [0.0, 0.4, 0.8])
def test_how_much_of_a_slopes_push_the_policy_leaves_is_learned(push: float) -> None:
    """Over ground that rises and falls no rest could say it: then speed and place stay as on the level."""
    waves = [(0.15 * math.sin(k), 0.1 * math.cos(2.0 * k)) for k in range(40)]
    rows = hops(Hopper(push=push, response=(0.9, 0.7, 0.4), waves=waves), 40)
    assert rows[12:, 3].std() < 0.03
    assert rows[12:, 5].max() < 0.05
