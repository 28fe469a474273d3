"""The sync loop on an injected clock: what it asks of the machines, and where it says that the robot is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from matrix_hil.control.counterweight import wanted_tension
from matrix_hil.control.sync import Sync, SyncConfig, SyncInfo
from matrix_hil.messages import (
    CounterweightState,
    MachineCommands,
    MachineStates,
    PlatformState,
    RobotState,
    TrackerState,
    TreadmillState,
    TwinPatch,
)
from policy.runtime.onnx_policy import OnnxPolicy
from sim.spec.command import HopCommand
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION

DT = 0.005
STANCE, FLIGHT = np.full(4, 30.0), np.zeros(4)


def states(
    now: float,
    position: tuple[float, float, float] = (0.0, 0.0, 0.3),
    yaw: float = 0.0,
    feet: np.ndarray = STANCE,
    belt: tuple[float, float] = (0.0, 0.0),
) -> MachineStates:
    return MachineStates(
        platform=PlatformState(now, np.zeros(6), np.zeros(6)),
        treadmill=TreadmillState(now, belt[0], belt[1]),
        counterweight=CounterweightState(now, 124.5, 3.7, 0.0),
        tracker=TrackerState(now, np.array(position), np.array([math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])),
        robot=RobotState(now, NOMINAL_POSE, np.zeros(12), np.zeros(3), np.array([0.0, 0.0, -1.0]), feet),
    )


def echo_policy(make_policy: Callable[..., Path]) -> OnnxPolicy:
    """Its first three actions are the command's vx, vy and yaw rate in SI units."""
    weight = np.zeros((PRONK_OBSERVATION.size, 12))
    first = PRONK_OBSERVATION.size - 5
    for i, channel in enumerate(PRONK_OBSERVATION.command[:3]):
        weight[first + i, i] = 1.0 / channel.scale
    return OnnxPolicy(make_policy(weight, np.zeros(12)))


@pytest.fixture
def sync(standing_policy: Path) -> Sync:
    return Sync(SyncConfig(), OnnxPolicy(standing_policy))


COMMAND = HopCommand(0.3, 0.0, 0.0, 0.3, 0.0)
LEVEL = TwinPatch(0.0, np.array([-3.0, -3.0]), 0.1, np.zeros((61, 61)))


def test_before_the_start_the_robot_stands_and_nothing_else_moves(sync: Sync) -> None:
    for i in range(100):
        commands, _, info = sync.step(states(i * DT, feet=FLIGHT), LEVEL, COMMAND, i * DT)
    assert commands.robot.mode == "stand"
    assert commands.treadmill.speed == 0.0
    assert (commands.platform.pose == 0.0).all()
    assert not info.running and info.hops == 0


def test_nothing_heard_yet_asks_for_nothing_dangerous(sync: Sync) -> None:
    commands, world, _ = sync.step(MachineStates(), None, COMMAND, 0.0)
    assert commands.robot.mode == "stand"
    assert commands.treadmill.speed == 0.0
    assert np.isfinite(world).all()


def test_rope_carries_all_but_the_lunar_weight(sync: Sync) -> None:
    commands, _, _ = sync.step(states(0.0), None, COMMAND, 0.0)
    assert commands.counterweight.tension == pytest.approx(wanted_tension(sync.cfg.mass))
    assert not commands.counterweight.brake


def test_policy_acts_at_its_own_rate_with_its_own_gains(standing_policy: Path) -> None:
    sync = Sync(SyncConfig(leg_relief=False), OnnxPolicy(standing_policy))
    sync.start()
    acted = []
    for i in range(200):
        commands, _, info = sync.step(states(i * DT), None, COMMAND, i * DT)
        acted.append(info.policy_time)
    assert len(set(acted)) == 50
    assert (commands.robot.mode, commands.robot.kp, commands.robot.kd) == ("run", 30.0, 0.75)
    assert commands.robot.targets == pytest.approx(NOMINAL_POSE)


def test_a_command_is_as_old_as_the_policys_step_that_it_comes_from(sync: Sync) -> None:
    sync.start()
    for i in range(200):
        commands, _, info = sync.step(states(i * DT), None, COMMAND, i * DT)
        assert commands.robot.time == info.policy_time
        assert commands.platform.time == commands.treadmill.time == commands.counterweight.time == i * DT
    sync.stop()
    commands, _, _ = sync.step(states(1.0), None, COMMAND, 1.0)
    assert commands.robot.time == 1.0, "a stand is no policy's"


def test_belt_starts_with_the_command_and_is_quiet_in_flight(sync: Sync) -> None:
    sync.start()
    for i in range(400):
        commands, _, _ = sync.step(states(i * DT), None, COMMAND, i * DT)
    in_stance = commands.treadmill.speed
    assert in_stance > 0.1
    speeds = []
    for i in range(400, 600):
        commands, _, _ = sync.step(states(i * DT, feet=FLIGHT), None, COMMAND, i * DT)
        speeds.append(commands.treadmill.speed)
    assert np.ptp(speeds[10:]) == 0.0  # 10 ms of load make a landing, none of it a lift-off


def test_world_position_is_belt_travel_plus_body_turned_by_the_heading(standing_policy: Path) -> None:
    cfg = SyncConfig(start_x=10.0, start_y=5.0, heading=math.pi / 2)
    sync = Sync(cfg, OnnxPolicy(standing_policy))
    sync.step(states(0.0, belt=(0.3, 7.0)), None, COMMAND, 0.0)
    for i in range(1, 200):
        _, world, _ = sync.step(states(i * DT, (0.2, 0.1, 0.3), belt=(0.3, 9.0)), None, COMMAND, i * DT)
    assert world[:2] == pytest.approx([10.0 - 0.1, 5.0 + 2.0 + 0.2], abs=5e-3)


def hop_on(
    sync: Sync,
    patch: TwinPatch | None,
    flight: float = 0.9,
    hops: int = 1,
    yaw: float = 0.0,
    y: float = 0.0,
) -> tuple[list[MachineCommands], list[SyncInfo]]:
    """Half a second of stance, then ballistic flights with stances of 0.15 s between, and a landing."""
    sync.start()
    rise, stance, begin, n = 0.5 * 1.62 * flight, 30, 100, round(flight / DT)
    commands, infos = [], []
    for i in range(begin + hops * (n + stance) + 70):
        phase = (i - begin) % (n + stance) if begin <= i < begin + hops * (n + stance) else n
        now, t = i * DT, phase * DT
        flying = phase < n
        z = 0.3 + (rise * t - 0.81 * t * t if flying else 0.0)
        seen = states(now, (0.0, y, z), yaw, feet=FLIGHT if flying else STANCE)
        out, _, info = sync.step(seen, patch, COMMAND, now)
        commands.append(out)
        infos.append(info)
    return commands, infos


def test_heading_and_drift_are_steered_back(make_policy: Callable[..., Path]) -> None:
    """A robot that stays askew and aside is told more and more to turn and to go back, up to the policy's range."""

    def asked(yaw: float, y: float) -> np.ndarray:
        sync = Sync(replace(SyncConfig(), ramp=0.0), echo_policy(make_policy))
        commands, _ = hop_on(sync, None, hops=3, yaw=yaw, y=y)
        return (commands[-1].robot.targets - NOMINAL_POSE)[:3] / 0.35

    left, right = asked(0.3, 0.0), asked(-0.3, 0.0)
    assert left[2] < -0.1 and right[2] > 0.1
    assert asked(0.0, 0.2)[1] < -0.1
    assert asked(0.0, -0.2)[1] > 0.1


def test_the_landing_is_predicted_from_the_flight(sync: Sync) -> None:
    """From 0.2 s after the lift-off on: when, within 30 ms."""
    _, infos = hop_on(sync, LEVEL)
    begin, end = 100, 100 + round(0.9 / DT)
    for i in range(begin + 40, end - 2):
        landing = infos[i].landing
        assert landing is not None
        assert landing.left == pytest.approx((end - i) * DT, abs=0.03)
    assert infos[begin - 5].landing is None and infos[end + 5].landing is None


def test_hops_are_counted_only_while_the_policy_drives(sync: Sync) -> None:
    """A robot that is lifted or set down while it stands makes none, and a new start counts from zero."""
    _, infos = hop_on(sync, None)
    made = infos[-1].hops
    sync.stop()
    now = infos[-1].time + DT
    for k in range(400):
        lifted = 100 <= k < 300
        position = (0.0, 0.0, 0.3 + (0.2 * math.sin(math.pi * (k - 100) / 200) if lifted else 0.0))
        _, _, info = sync.step(states(now, position, feet=FLIGHT if lifted else STANCE), None, COMMAND, now)
        now += DT
    assert sync.detector.hops[0] > made > 0 and info.hops == made
    sync.start()
    assert sync.step(states(now), None, COMMAND, now)[2].hops == 0


def test_hops_are_counted(sync: Sync) -> None:
    _, infos = hop_on(sync, replace(LEVEL, time=1.0))
    assert (infos[-1].hops, infos[-1].pronks) == (1, 1)
    assert not infos[-1].airborne
    assert infos[-1].heights_count == 1


def test_platform_meets_rising_ground_in_flight_only(standing_policy: Path) -> None:
    """Ground that rises at 0.1 ahead: the robot flies 0.3 m/s * 0.9 s over the running belt."""
    axis = np.arange(61) * 0.1 - 3.0
    slope = replace(LEVEL, heights=np.tile(0.1 * axis, (61, 1)), time=1.0)
    sync = Sync(SyncConfig(), OnnxPolicy(standing_policy))
    seen, infos = hop_on(sync, slope)
    poses = np.array([c.platform.pose for c in seen])
    assert (poses[:100] == 0.0).all()
    assert np.ptp(poses[-90:], axis=0).max() < 1e-3
    assert poses[-1, 4] == pytest.approx(-math.atan(0.1), abs=0.01)
    heights = infos[-1].heights
    assert heights is not None and heights.within


def test_the_platform_stands_before_the_landing(standing_policy: Path) -> None:
    """From the settling time before touch-down on no new target: only the end of what had begun."""
    axis = np.arange(61) * 0.1 - 3.0
    slope = replace(LEVEL, heights=np.tile(0.15 * axis, (61, 1)), time=1.0)
    sync = Sync(SyncConfig(), OnnxPolicy(standing_policy))
    seen, _ = hop_on(sync, slope)
    touch_down = 100 + round(0.9 / DT)
    last = np.array([c.platform.pose for c in seen[touch_down - round(0.5 * sync.cfg.settle / DT) : touch_down]])
    assert np.ptp(last, axis=0).max() < 1e-3


def test_height_in_the_world_is_that_of_the_flight_over_the_ground_of_the_lift_off(standing_policy: Path) -> None:
    """A plate that moves under the flying robot does not move the robot."""
    axis = np.arange(61) * 0.1 - 3.0
    slope = replace(LEVEL, heights=5.0 + np.tile(0.1 * axis, (61, 1)), time=1.0)
    sync = Sync(SyncConfig(), OnnxPolicy(standing_policy))
    sync.start()
    for i in range(200):
        now = i * DT
        flying = i >= 100
        z = 0.3 + (0.729 * (i - 100) * DT - 0.81 * ((i - 100) * DT) ** 2 if flying else 0.0)
        out, world, info = sync.step(states(now, (0.0, 0.0, z), feet=FLIGHT if flying else STANCE), slope, COMMAND, now)
    assert np.abs(out.platform.pose).max() > 0.01
    assert info.landing is not None
    assert world[2] == pytest.approx(5.0 + z, abs=0.02)


def test_stale_ground_keeps_the_platform_still(standing_policy: Path) -> None:
    slope = replace(LEVEL, time=-5.0, heights=np.tile(np.arange(61) * 0.01, (61, 1)))
    seen, _ = hop_on(Sync(SyncConfig(), OnnxPolicy(standing_policy)), slope)
    assert all((c.platform.pose == 0.0).all() for c in seen)


def test_no_ground_keeps_the_platform_still(sync: Sync) -> None:
    sync.start()
    for i in range(100):
        commands, _, _ = sync.step(states(i * DT, feet=FLIGHT), None, COMMAND, i * DT)
    assert (commands.platform.pose == 0.0).all()


def test_same_inputs_same_outputs(standing_policy: Path) -> None:
    first = hop_on(Sync(SyncConfig(), OnnxPolicy(standing_policy)), LEVEL)[0]
    again = hop_on(Sync(SyncConfig(), OnnxPolicy(standing_policy)), LEVEL)[0]
    assert all((a.platform.pose == b.platform.pose).all() for a, b in zip(first, again, strict=True))
    assert [a.treadmill.speed for a in first] == [b.treadmill.speed for b in again]
