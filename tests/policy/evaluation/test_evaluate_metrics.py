"""The metrics of ``lunar eval`` against states made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from policy.evaluation.cycle import BINS, hop_cycles
from policy.evaluation.metrics import before_touchdown, cost_of_transport, estimator_errors, push_survival, wilson
from policy.evaluation.trials import MotorLimits, effort
from sim.robots.go2.facts import GO2
from sim.spec.hops import HopTable
from sim.spec.joints import SPEED_LIMIT, TORQUE_LIMIT

DT = 0.02
LIMITS = MotorLimits(*(torch.tensor(v, dtype=torch.float32) for v in (TORQUE_LIMIT, SPEED_LIMIT)), GO2.corner)


def table(*hops: tuple[int, float, float]) -> HopTable:
    """Hops of (robot, lift-off time, flight time)."""
    robot, liftoff, flight = (np.array(column) for column in zip(*hops, strict=True))
    rest = np.zeros(len(hops))
    return HopTable(robot.astype(int), liftoff, flight, *([rest] * 6), np.ones(len(hops), dtype=bool))


def test_power_is_what_joints_give_and_not_what_they_brake():
    torque, speed = torch.zeros(2, 4, 12), torch.zeros(2, 4, 12)
    torque[0, :, 1], speed[0, :, 1] = 10.0, 3.0  # gives 30 W all the time
    torque[0, :, 2], speed[0, :, 2] = -20.0, 5.0  # brakes with 100 W
    torque[1, 0, 5], speed[1, 0, 5] = -40.0, -10.0  # gives 400 W in one of four physics steps
    power = effort(torque, speed, LIMITS)["power"]
    np.testing.assert_allclose(power, [30.0, 100.0])


def test_shares_are_those_of_the_joint_nearest_to_its_limit():
    torque, speed = torch.zeros(1, 4, 12), torch.zeros(1, 4, 12)
    torque[0, 0, 2], torque[0, 1, 0] = 22.715, -23.7  # half of a knee's limit, all of an abduction's
    speed[0, 2, 3] = -15.05
    shares = effort(torque, speed, LIMITS)
    assert shares["torque_share"].item() == pytest.approx(1.0)
    assert shares["speed_share"].item() == pytest.approx(0.5)
    assert shares["power_share"].item() == 0.0


def test_no_motor_gives_more_than_its_greatest_power():
    speed = np.linspace(0.0, 1.0, 10001)[:, None] * SPEED_LIMIT
    curve = TORQUE_LIMIT * np.clip((1.0 - speed / SPEED_LIMIT) / (1.0 - GO2.corner), 0.0, 1.0)
    most = (curve * speed).max(axis=0)
    np.testing.assert_allclose(LIMITS.power, most, rtol=1e-6)


def test_cost_of_transport_is_work_over_weight_and_way():
    steps, robots = 100, 4
    power = np.full((steps, robots), 8.0)
    velocity = np.zeros((steps, robots, 2))
    velocity[:, 0] = [0.3, 0.4]  # as told
    velocity[:, 1] = [0.4, -0.3]  # as fast, but across
    velocity[:, 3] = 9.0  # told to stay
    command = np.array([[0.3, 0.4], [0.3, 0.4], [0.0, 0.5], [0.05, 0.0]])
    alive = np.ones((steps, robots), dtype=bool)
    weight = np.array([16.0, 16.0, 32.0, 16.0])
    first = np.array([0])
    alone = cost_of_transport(power[:, first], velocity[:, first], command[first], alive[:, first], weight[first])
    assert alone == pytest.approx(8.0 / (16.0 * 0.5))
    velocity[:, 2] = [0.0, 0.25]
    assert cost_of_transport(power, velocity, command, alive, weight) == pytest.approx(3 * 8.0 / (16 * 0.5 + 32 * 0.25))
    alive[50:, 2] = False  # a fallen robot neither works nor moves
    assert cost_of_transport(power, velocity, command, alive, weight) == pytest.approx(20.0 / (16 * 0.5 + 16 * 0.25))
    standing = np.array([3])
    assert math.isnan(
        cost_of_transport(power[:, standing], velocity[:, standing], command[standing], alive[:, standing], weight[:1])
    )


def test_only_the_last_tenth_of_a_second_of_a_flight_is_before_touchdown():
    window = before_touchdown(table((0, 0.5, 0.4), (1, 0.013, 0.5), (0, 1.96, 0.5)), DT, 100, 3)
    np.testing.assert_array_equal(np.flatnonzero(window[:, 0]), [40, 41, 42, 43, 44])  # 0.80 to 0.88 s, lands at 0.90
    # lands at 0.513 s: states from 0.42 to 0.50 s; and a landing after the end of the record leaves no trace
    np.testing.assert_array_equal(np.flatnonzero(window[:, 1]), [21, 22, 23, 24, 25])
    assert not window[:, 2].any()


def test_estimator_errors_are_counted_apart_in_each_phase_and_only_while_alive():
    steps, robots = 50, 2
    airborne = np.zeros((steps, robots), dtype=bool)
    airborne[10:40] = True
    touchdown = np.zeros_like(airborne)
    touchdown[35:40] = True
    alive = np.ones_like(airborne)
    alive[:, 1] = False
    error = np.zeros((steps, robots, 4))
    error[:10, 0] = error[40:, 0] = [0.3, 0.4, 0.5, 0.02]
    error[10:40, 0] = [0.0, 0.1, -0.1, 0.04]
    error[35:40, 0] = [0.0, 0.2, -0.2, 0.08]
    error[:, 1] = 99.0
    e = estimator_errors(error, ("vx", "vy", "vz", "height"), alive, airborne, touchdown)
    assert (e["vxy_rmse_stance"], e["vz_rmse_stance"]) == pytest.approx((0.5, 0.5))
    assert (e["vxy_rmse_touchdown"], e["vz_rmse_touchdown"], e["height_rmse_touchdown"]) == pytest.approx(
        (0.2, 0.2, 0.08)
    )
    assert e["vz_rmse_flight"] == pytest.approx(math.sqrt((25 * 0.1**2 + 5 * 0.2**2) / 30))
    assert e["height_rmse"] == pytest.approx(math.sqrt((20 * 0.02**2 + 25 * 0.04**2 + 5 * 0.08**2) / 50))


def test_what_a_policy_does_not_estimate_is_no_number():
    rows = np.ones((5, 1), dtype=bool)
    e = estimator_errors(np.full((5, 1, 2), 0.1), ("vz", "height"), rows, rows, rows)
    assert e["vz_rmse"] == pytest.approx(0.1) and math.isnan(e["vxy_rmse"])
    assert math.isnan(e["vz_rmse_stance"])  # nobody stood


def test_a_push_is_survived_by_who_is_up_two_seconds_later():
    pushed, alive = np.zeros((300, 3), dtype=np.uint8), np.ones((300, 3), dtype=bool)
    pushed[50] = 2
    pushed[250, 0] = 2  # too late to be judged
    pushed[60, 1] = 1
    alive[120:, 1] = False
    alive[290:, 2] = False
    assert push_survival(pushed, alive, 2, DT) == (3, pytest.approx(2 / 3))
    assert push_survival(pushed, alive, 1, DT) == (1, 0.0)


def test_a_cycle_runs_from_lift_off_to_lift_off():
    hops = table((0, 0.1, 0.8), (0, 1.1, 0.5), (0, 3.0, 0.5), (1, 0.2, 0.4))
    cycles = hop_cycles(hops, DT, 300, 2)
    assert cycles.count == 1 and cycles.touchdown == pytest.approx(0.8)  # the second ends in a rest of 1.4 s
    np.testing.assert_allclose(cycles.phase[5:55, 0], np.arange(50) / 50, atol=1e-6)
    assert np.isnan(cycles.phase[:5]).all() and np.isnan(cycles.phase[55:]).all() and np.isnan(cycles.phase[:, 1]).all()


def test_bands_are_the_percentiles_of_each_phase():
    hops = table(*[(robot, time, 0.9) for robot in range(11) for time in (0.0, 1.2)])
    cycles = hop_cycles(hops, DT, 60, 11)
    values = np.arange(11.0) + 100.0 * np.arange(60)[:, None]
    band = cycles.band(values)
    rows = np.arange(BINS) * 100.0
    np.testing.assert_allclose(band.median, rows + 5.0)
    np.testing.assert_allclose(band.low, rows + 1.0)
    np.testing.assert_allclose(band.high, rows + 9.0)


def test_wilson_is_wilsons():
    low, high = wilson(512, 512)
    assert high == 1.0 and low == pytest.approx(0.99255, abs=1e-5)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
