"""The supervisor: what it lets through, and what it tells the rig when something is wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix_hil.messages import CounterweightCommand, MachineCommands, MachineStates, TwinPatch
from matrix_hil.safety import SafetyConfig, Supervisor, SupervisorState
from matrix_hil.safety_rules import OPERATOR
from sim.spec.joints import NOMINAL_POSE, UPPER
from tests.matrix_hil.safety_examples import CFG, DT, NOW, at, good_commands, good_states, rolled


class Loop:
    """A supervisor that is stepped at 200 Hz with machines that do what they are told."""

    def __init__(self, cfg: SafetyConfig = CFG) -> None:
        self.supervisor = Supervisor(cfg)
        self.now = NOW
        self.states: dict[str, Any] = {}
        """What is measured instead of what was told."""
        self.frozen = False
        """Whether the sensors repeat themselves."""
        self.travel = 0.0
        self.patch: TwinPatch | None = None
        self.log: list[tuple[MachineCommands, SupervisorState]] = []

    def step(self, dt: float = DT, age: float = 0.0, **wanted: Any) -> MachineCommands:
        self.now += dt
        told: dict[str, Any] = {}
        if self.log:
            sent = self.log[-1][0]
            self.travel += sent.treadmill.speed * max(dt, 0.0)
            told = {"platform__pose": sent.platform.pose, "treadmill__speed": sent.treadmill.speed}
        states = good_states(self.now, **{"treadmill__position": self.travel, **told, **self.states})
        states = states if self.frozen else noisy(states, 1e-6 * (len(self.log) % 2))
        result = self.supervisor.step(states, good_commands(self.now - age, **wanted), self.now, self.patch)
        self.log.append(result)
        return result[0]

    @property
    def state(self) -> str:
        return self.supervisor.state

    def start(self) -> Loop:
        self.step()
        assert self.supervisor.arm(self.now)
        self.step()
        assert self.supervisor.run(self.now)
        return self


def noisy(states: MachineStates, noise: float) -> MachineStates:
    """No sensor repeats itself."""
    rope, tracker, robot = states.counterweight, states.tracker, states.robot
    assert rope is not None and tracker is not None and robot is not None
    return replace(
        states,
        counterweight=replace(rope, tension=rope.tension + noise),
        tracker=replace(tracker, position=tracker.position + noise, quaternion=tracker.quaternion + noise),
        robot=replace(robot, angular_velocity=robot.angular_velocity + noise),
    )


def assert_safe(commands: MachineCommands, pose: np.ndarray, tension: float) -> None:
    assert np.array_equal(commands.platform.pose, pose)
    assert commands.treadmill.speed == 0.0
    assert commands.counterweight.brake and commands.counterweight.tension == pytest.approx(tension, abs=1e-5)
    assert commands.robot.mode == "damp" and commands.robot.kp == 0.0


def test_commands_within_the_limits_pass_untouched() -> None:
    loop = Loop().start()
    for k in range(100):
        pose = at(2, 0.0002 * k, 6)
        wanted = {"platform__pose": pose, "treadmill__speed": 0.005 * k, "robot__targets": NOMINAL_POSE + 0.003 * k}
        given = loop.step(**wanted)
        assert given.treadmill.speed == pytest.approx(0.005 * k)
        assert given.robot.targets == pytest.approx(NOMINAL_POSE + 0.003 * k)
        assert (given.robot.mode, given.robot.kp, given.robot.kd) == ("run", 30.0, 0.75)
        assert given.counterweight == CounterweightCommand(loop.now, 124.0, False)
        assert np.abs(given.platform.pose - pose).max() < 1e-3  # at 40 mm/s the plate may lag by v^2 / 2a
    assert loop.supervisor.reason == ""
    assert set(loop.supervisor.clamped) <= {"S21"}


def test_a_trip_is_latched_with_its_first_reason_until_reset_and_arm() -> None:
    loop = Loop().start()
    loop.step()
    loop.states = rolled(math.radians(70))
    loop.step()
    assert loop.state == "safe"
    assert loop.supervisor.reason == "S12 robot tilt 70.0 deg, limit 60.0 deg"
    loop.states = {"robot__fault": 2}
    loop.step()
    assert loop.supervisor.reason.startswith("S12")
    assert not loop.supervisor.run(loop.now) and not loop.supervisor.arm(loop.now)
    loop.supervisor.reset(loop.now)
    assert loop.state == "idle" and loop.supervisor.reason == ""
    assert not loop.supervisor.arm(loop.now), "nothing was judged since"
    loop.step()
    assert loop.supervisor.blocked == "S04 robot reports fault bits 0x2"
    assert not loop.supervisor.arm(loop.now)
    loop.states = {}
    loop.step()
    assert not loop.supervisor.run(loop.now), "not without arming"
    assert loop.supervisor.arm(loop.now) and loop.supervisor.run(loop.now)
    loop.step()
    assert loop.log[-1][1] == SupervisorState(loop.now, "run", "", 1, 0)


@pytest.mark.parametrize("state", ["idle", "armed", "run", "hold", "safe"])
@pytest.mark.parametrize("how", ["operator", "device"])
def test_an_estop_works_from_anywhere_and_stays(state: str, how: str) -> None:
    loop = Loop()
    loop.step()
    if state != "idle":
        loop.start()
    if state == "armed":
        loop = Loop()
        loop.step()
        loop.supervisor.arm(loop.now)
    elif state == "hold":
        loop.supervisor.hold(loop.now)
    elif state == "safe":
        loop.step(dt=1.0)
    assert loop.state == state
    if how == "operator":
        loop.supervisor.estop(loop.now)
    else:
        loop.states = {"treadmill__fault": 1}
    for _ in range(50):
        commands = loop.step(treadmill__speed=1.0)
    assert loop.state == "estop"
    assert loop.supervisor.reason[:3] == ("S03" if state == "safe" else OPERATOR if how == "operator" else "S01")
    assert_safe(commands, np.zeros(6), 124.0)
    loop.supervisor.run(loop.now)
    loop.supervisor.hold(loop.now)
    loop.supervisor.arm(loop.now)
    assert loop.state == "estop"


def test_safe_commands_freeze_ramp_brake_and_damp() -> None:
    loop = Loop().start()
    pose = np.array([0.01, 0.0, 0.03, 0.02, 0.0, 0.0])
    joints = NOMINAL_POSE + 0.1
    loop.states = {"platform__pose": pose, "counterweight__tension": 130.0, "robot__joint_position": joints}
    for _ in range(150):
        loop.step(treadmill__speed=1.0)
    assert loop.log[-1][0].treadmill.speed == 1.0
    loop.states["tracker__position"] = np.array([0.6, 0.0, 0.3])
    trip = len(loop.log)
    loop.step(treadmill__speed=1.0)
    for k in range(120):  # what is measured later moves nothing
        loop.states |= {"platform__pose": pose + 0.0001 * k, "counterweight__tension": 60.0}
        loop.step(treadmill__speed=1.0)
    after = [commands for commands, _ in loop.log[trip:]]
    assert all(np.array_equal(c.platform.pose, pose) for c in after)
    assert after[0].counterweight.tension == pytest.approx(130.0, abs=1e-5)
    assert all(c.counterweight.brake and c.counterweight.tension == after[0].counterweight.tension for c in after)
    speeds = np.array([1.0, *(c.treadmill.speed for c in after)])
    assert (np.diff(speeds) <= 0).all() and np.diff(speeds).min() >= -2.0 * DT - 1e-9
    assert speeds[-1] == 0.0 and np.count_nonzero(speeds) == pytest.approx(0.5 / DT, abs=1)
    modes = [c.robot.mode for c in after]
    assert list(dict.fromkeys(modes)) == ["hold", "stand", "damp"]
    assert modes.index("stand") == 6 and modes.index("damp") == 20  # 30 and 100 ms
    assert np.array_equal(after[0].robot.targets, joints) and after[0].robot.kp == 30.0
    assert after[-1].robot.kp == 0.0
    assert loop.log[-1][1].trips == 1


def test_nothing_that_is_not_finite_is_ever_sent() -> None:
    loop = Loop().start()
    loop.states = {"platform__pose": np.full(6, math.nan), "counterweight__tension": math.inf,
                   "robot__joint_position": np.full(12, math.nan)}  # fmt: skip
    for _ in range(40):
        loop.step(platform__pose=np.full(6, math.nan), treadmill__speed=math.nan, robot__kp=math.inf)
        for message in vars(loop.log[-1][0]).values():
            assert all(np.isfinite(v).all() for v in vars(message).values() if not isinstance(v, str))
    assert loop.state == "safe" and loop.supervisor.reason.startswith("S06")
    assert_safe(loop.log[-1][0], np.zeros(6), 124.0)


def test_a_stale_command_is_not_sent_but_counted_and_then_trips() -> None:
    loop = Loop().start()
    loop.step(treadmill__speed=0.005)
    given = loop.step(age=CFG.command_stale, treadmill__speed=0.01)
    assert given.treadmill.speed == pytest.approx(0.01), "at the limit it is fresh"
    assert loop.log[-1][1].stale_commands == 0
    given = loop.step(age=CFG.command_stale + 0.001, treadmill__speed=0.015)
    assert given.treadmill.speed == pytest.approx(0.01)
    assert loop.log[-1][1].stale_commands == 4
    given = loop.step(age=-0.01, treadmill__speed=0.015)
    assert given.treadmill.speed == pytest.approx(0.01), "a command from the future is of another clock"
    assert given.treadmill.time == loop.now, "what is sent again is stamped anew, for the driver's sake"
    while loop.state == "run" and len(loop.log) < 100:
        loop.step(age=0.2)
    assert loop.supervisor.reason.startswith("S17")
    assert loop.supervisor.clamped["S20"] == loop.log[-1][1].stale_commands > 0


def test_a_single_machine_without_fresh_commands_is_enough_to_trip() -> None:
    loop = Loop().start()
    for _ in range(30):
        loop.step(robot__time=loop.now - 1.0)
    assert loop.supervisor.reason.startswith("S17")


@pytest.mark.parametrize(
    ("clamp", "field", "wanted", "given"),
    [
        ("S21", "platform__pose", at(0, 0.2, 6), at(0, 0.18, 6)),
        ("S22", "treadmill__speed", 3.2, 3.0),
        ("S23", "counterweight__tension", 460.0, 450.0),
        ("S23", "counterweight__tension", -10.0, 0.0),
        ("S24", "robot__targets", UPPER + 0.5, UPPER),
        ("S25", "robot__kp", 101.0, 100.0),
        ("S25", "robot__kd", -1.0, 0.0),
    ],
)
def test_what_is_a_little_outside_is_clamped_and_counted(clamp: str, field: str, wanted: Any, given: Any) -> None:
    loop = Loop().start()
    for _ in range(400):
        commands = loop.step(**{field: wanted})
    assert loop.state == "run"
    assert set(loop.supervisor.clamped) == {clamp}
    machine, name = field.split("__")
    assert getattr(getattr(commands, machine), name) == pytest.approx(given, abs=1e-4)


def test_a_glitch_of_a_joint_target_is_spread_out() -> None:
    loop = Loop().start()
    loop.step()
    given = loop.step(robot__targets=NOMINAL_POSE + at(1, 1.5, 12))
    assert given.robot.targets[1] == pytest.approx(0.9 + 120.0 * DT)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-0.26, 0.26)] * 2, st.floats(-4.4, 4.4), st.floats(-100, 600)), max_size=8))
def test_whatever_sync_wants_what_is_sent_keeps_the_limits(wishes: list[tuple[float, ...]]) -> None:
    loop = Loop().start()
    for x, roll, speed, tension in wishes:
        for _ in range(20):
            loop.step(platform__pose=np.array([x, 0, 0, roll, 0, 0]), treadmill__speed=speed,
                      counterweight__tension=tension)  # fmt: skip
    sent = [commands for commands, _ in loop.log]
    poses = np.array([c.platform.pose for c in sent])
    assert (np.abs(poses) <= CFG.platform_range).all()
    velocity = np.diff(poses, axis=0) / DT
    assert (np.abs(velocity) <= CFG.platform_rates + 1e-9).all()
    speeds = np.array([c.treadmill.speed for c in sent])
    assert (np.abs(speeds) <= 3.0).all() and (np.abs(np.diff(speeds)) <= 2.0 * DT + 1e-9).all()
    assert all(0.0 <= c.counterweight.tension <= 450.0 for c in sent)


def test_armed_and_hold_stop_the_belt_freeze_the_plate_and_let_the_robot_stand() -> None:
    loop = Loop().start()
    for k in range(200):
        loop.step(treadmill__speed=0.5, platform__pose=at(2, min(0.0005 * k, 0.05), 6))
    assert loop.supervisor.hold(loop.now)
    for _ in range(100):
        given = loop.step(treadmill__speed=0.5, platform__pose=at(2, -0.05, 6), counterweight__tension=140.0)
    assert given.platform.pose[2] == pytest.approx(0.05, abs=1e-3)
    assert given.treadmill.speed == pytest.approx(0.0, abs=1e-9)
    assert given.counterweight == CounterweightCommand(loop.now, 140.0, False)
    assert given.robot.mode == "stand" and given.robot.kp == 30.0
    assert loop.supervisor.run(loop.now)
    assert loop.step().robot.mode == "run"


def test_before_anything_is_heard_the_rig_is_idle_and_cannot_be_armed() -> None:
    supervisor = Supervisor(CFG)
    commands, state = supervisor.step(MachineStates(), good_commands(), NOW)
    assert_safe(commands, np.zeros(6), 0.0)
    assert state == SupervisorState(NOW, "idle", "", 0, 0)
    assert supervisor.blocked == "S05 platform has sent no state"
    assert not supervisor.arm(NOW)
    # Once it is heard, the platform is left where it stands, not called to zero.
    pose = at(1, 0.1, 6)
    for k in range(1, 10):
        commands, _ = supervisor.step(
            good_states(NOW + k * DT, platform__pose=pose + 0.001 * k), good_commands(), NOW + k * DT
        )
    assert np.array_equal(commands.platform.pose, pose + 0.001)


def test_a_clock_that_jumps_back_trips_and_the_rig_still_comes_to_rest() -> None:
    loop = Loop().start()
    for _ in range(100):
        loop.step(treadmill__speed=0.5)
    loop.step(dt=-5.0, treadmill__speed=0.5)
    assert loop.supervisor.reason == "S02 clock jumped back by 5.000 s"
    for _ in range(100):
        commands = loop.step()
    assert_safe(commands, np.zeros(6), 124.0)


def test_a_clock_that_is_not_a_number_trips() -> None:
    loop = Loop().start()
    loop.step()
    commands, state = loop.supervisor.step(good_states(loop.now), good_commands(loop.now), math.nan)
    assert state.state == "safe" and state.reason.startswith("S02")
    for _ in range(30):
        commands = loop.step()
    assert_safe(commands, np.zeros(6), 124.0)


def test_a_missed_deadline_trips_and_gives_no_long_step() -> None:
    loop = Loop().start()
    for _ in range(200):
        loop.step(treadmill__speed=1.0)
    given = loop.step(dt=0.5, treadmill__speed=1.0)
    assert loop.supervisor.reason.startswith("S03")
    assert given.treadmill.speed >= 1.0 - 2.0 * CFG.deadline - 1e-9


def test_a_slack_rope_is_part_of_a_hop_for_a_while_only() -> None:
    loop = Loop().start()
    for _ in range(10):
        loop.states = {"counterweight__tension": 0.0}
        for _ in range(99):
            loop.step()
        loop.states = {}
        loop.step()
    assert loop.state == "run"
    loop.states = {"counterweight__tension": 0.0}
    for _ in range(102):
        loop.step()
    assert loop.supervisor.reason.startswith("S11")


def test_a_rig_may_hold_before_it_runs() -> None:
    loop = Loop()
    loop.step()
    assert loop.supervisor.arm(loop.now) and loop.supervisor.hold(loop.now)
    assert loop.step().robot.mode == "stand"


def test_what_is_sent_is_stamped_now_in_every_state() -> None:
    loop = Loop()
    for order in (None, "arm", "run", "hold", "run", "estop"):
        if order is not None:
            getattr(loop.supervisor, order)(loop.now)
        for message in vars(loop.step(age=0.02)).values():
            assert message.time == loop.now


def test_pausing_takes_the_wanted_gains_and_tension_while_they_are_fresh() -> None:
    loop = Loop().start()
    loop.supervisor.hold(loop.now)
    given = loop.step(robot__kp=50.0, robot__kd=2.0, counterweight__tension=140.0)
    assert (given.robot.kp, given.robot.kd, given.counterweight.tension) == (50.0, 2.0, 140.0)
    given = loop.step(age=1.0, robot__kp=60.0, counterweight__tension=150.0)
    assert (given.robot.kp, given.robot.kd, given.counterweight.tension) == (50.0, 2.0, 140.0)


def test_trips_are_counted_and_an_idle_robot_stays_limp_through_an_estop() -> None:
    loop = Loop().start()
    for k in range(1, 4):
        loop.supervisor.estop(loop.now)
        for _ in range(40):
            loop.step()
        assert loop.log[-1][1].trips == k
        loop.supervisor.reset(loop.now)
        assert loop.supervisor.blocked == "no step since the reset"
        loop.step()
    loop.supervisor.estop(loop.now)
    assert loop.step().robot.mode == "damp", "it does not get up to be told to lie down again"


def test_a_reason_says_what_is_wrong_in_figures() -> None:
    loop = Loop().start()
    loop.states = {"tracker__position": np.array([0.512, -0.25, 0.3])}
    loop.step()
    assert loop.supervisor.reason == "S14 robot at (0.51, -0.25) m from the belt's centre, limit 0.45 m"


@pytest.mark.parametrize(("frozen", "rule", "cycles"), [(True, "S18", 52), (False, "S19", 31)])
def test_what_lasts_trips_when_it_has_lasted(frozen: bool, rule: str, cycles: int) -> None:
    """Sensors that repeat themselves; a belt that stands."""
    loop = Loop().start()
    for _ in range(100):
        loop.step(treadmill__speed=0.5)
    loop.frozen = frozen
    if not frozen:
        loop.states = {"treadmill__speed": 0.0, "treadmill__position": loop.travel}
    for _ in range(cycles):
        loop.step(treadmill__speed=0.5)
        assert loop.state == "run"
    loop.step(treadmill__speed=0.5)
    assert loop.supervisor.reason.startswith(rule)


def test_the_ground_is_watched_while_running() -> None:
    loop = Loop().start()
    loop.patch = TwinPatch(loop.now, np.zeros(2), 0.1, np.zeros((10, 10)))
    while loop.state == "run":
        loop.step()
    assert loop.supervisor.reason.startswith("S28 virtual ground is 1.0")
    assert loop.now - loop.patch.time == pytest.approx(CFG.ground_stale + DT)
    loop = Loop().start()
    loop.patch = TwinPatch(loop.now, np.zeros(2), 0.1, np.zeros((10, 10)))
    loop.step()
    loop.patch = TwinPatch(loop.now, np.zeros(2), 0.1, np.full((10, 10), 0.3))
    loop.step()
    assert loop.supervisor.reason == "S29 virtual ground jumped by 0.30 m"


def test_commands_expire_with_the_oldest_of_the_states_they_were_made_from() -> None:
    loop = Loop()
    loop.step()
    assert loop.supervisor.expires == math.inf, "safe commands do not expire"
    loop.start()
    loop.states = {"tracker__time": loop.now - 0.01, "robot__time": loop.now + 0.002}
    loop.step()
    assert loop.supervisor.expires == pytest.approx(loop.now - 0.005 + min(0.06 - 0.01, 0.04 + 0.002))
    loop.supervisor.estop(loop.now)
    loop.step()
    assert loop.supervisor.expires == math.inf


@pytest.mark.parametrize(("off", "freezes_at"), [(0.03, "measured"), (0.3, "told"), (math.nan, "told")])
def test_a_platform_freezes_where_it_is_unless_its_sensor_cannot_be_believed(off: float, freezes_at: str) -> None:
    loop = Loop().start()
    for k in range(200):
        loop.step(platform__pose=at(2, min(0.0005 * k, 0.06), 6))
    told = loop.log[-1][0].platform.pose
    loop.states = {"platform__pose": told + at(2, off, 6)}
    loop.supervisor.estop(loop.now)
    assert np.array_equal(loop.step().platform.pose, told + (at(2, off, 6) if freezes_at == "measured" else 0.0))


def test_reset_disarms_a_running_rig_the_way_a_trip_would() -> None:
    loop = Loop().start()
    loop.step()
    loop.supervisor.reset(loop.now)
    assert loop.step().robot.mode == "hold"
    for _ in range(30):
        commands = loop.step()
    assert_safe(commands, np.zeros(6), 124.0)
    assert loop.state == "idle"
