"""Every rule at, just under and just over its bound; what is clamped; what the rig is told when something is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from matrix_hil.safety import SafetyConfig, Supervisor, SupervisorState
from matrix_hil.safety_rules import (
    CLAMPS,
    OPERATOR,
    RULES,
    Cycle,
    first_violation,
    limit_motion,
    limit_range,
    limit_rate,
    plate_height,
    tilt_of_gravity,
    tilt_of_quaternion,
)
from sim.config import ROOT
from sim.spec.joints import LOWER, NOMINAL_POSE, UPPER

CFG = SafetyConfig()
DT = 0.005
NOW = 10.0
TINY = 1e-4


def good_states(now: float = NOW, **changes: Any) -> MachineStates:
    states = MachineStates(
        PlatformState(now, np.zeros(6), np.zeros(6)),
        TreadmillState(now, 0.0, 0.0),
        CounterweightState(now, 124.0, 3.0, 0.0),
        TrackerState(now, np.array([0.0, 0.0, 0.3]), np.array([1.0, 0.0, 0.0, 0.0])),
        RobotState(now, NOMINAL_POSE, np.zeros(12), np.zeros(3), np.array([0.0, 0.0, -1.0]), np.full(4, 6.0)),
    )
    for key, value in changes.items():
        name, field = key.split("__")
        states = replace(states, **{name: replace(getattr(states, name), **{field: value})})
    return states


def good_commands(now: float = NOW, **changes: Any) -> MachineCommands:
    commands = MachineCommands(
        PlatformCommand(now, np.zeros(6)),
        TreadmillCommand(now, 0.0),
        CounterweightCommand(now, 124.0),
        RobotCommand(now, NOMINAL_POSE, 30.0, 0.75),
    )
    for key, value in changes.items():
        name, field = key.split("__")
        commands = replace(commands, **{name: replace(getattr(commands, name), **{field: value})})
    return commands


def at(index: int, value: float, size: int) -> np.ndarray:
    array = np.zeros(size)
    array[index] = value
    return array


def leaning(angle: float) -> dict[str, Any]:
    return {"robot__projected_gravity": np.array([math.sin(angle), 0.0, -math.cos(angle)])}


def rolled(angle: float) -> dict[str, Any]:
    return {"tracker__quaternion": np.array([math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0])}


def placed(x: float, y: float, z: float) -> dict[str, Any]:
    return {"tracker__position": np.array([x, y, z])}


def cycle(states: dict[str, Any] | None = None, commands: dict[str, Any] | None = None, **fields: Any) -> Cycle:
    base = {"cfg": CFG, "now": NOW, "dt": DT, **fields}
    return Cycle(states=good_states(**states or {}), wanted=good_commands(**commands or {}), **base)


MARGIN, FAR = CFG.measured_margin, CFG.far_outside
# (id, what is judged as a function of one number, bound, +1 if larger is worse and -1 if smaller is)
BOUNDS: list[tuple[str, Callable[[float], Cycle], float, int]] = [
    ("S02", lambda v: cycle(dt=v), 0.0, -1),
    ("S03", lambda v: cycle(dt=v), CFG.deadline, 1),
    ("S05", lambda v: cycle({"platform__time": NOW - v}), CFG.platform_stale, 1),
    ("S05", lambda v: cycle({"treadmill__time": NOW - v}), CFG.treadmill_stale, 1),
    ("S05", lambda v: cycle({"counterweight__time": NOW - v}), CFG.counterweight_stale, 1),
    ("S05", lambda v: cycle({"tracker__time": NOW - v}), CFG.tracker_stale, 1),
    ("S05", lambda v: cycle({"robot__time": NOW - v}), CFG.robot_stale, 1),
    *[("S07", lambda v, i=i: cycle({"platform__pose": at(i, v, 6)}), sign * b * MARGIN, sign)
      for i, b in ((0, 0.18), (1, 0.18), (2, 0.18), (3, CFG.platform_tilt), (5, CFG.platform_tilt))
      for sign in ((-1, 1) if i != 2 else (-1,))],  # a plate that high would touch the robot: S13 is asked too
    *[("S08", lambda v, i=i: cycle({"platform__velocity": at(i, v, 6)}), sign * b * MARGIN, sign)
      for i, b in ((0, 0.3), (2, 0.3), (4, CFG.platform_turn_rate)) for sign in (-1, 1)],
    ("S09", lambda v: cycle({"treadmill__speed": v}), 3.0 * MARGIN, 1),
    ("S09", lambda v: cycle({"treadmill__speed": v}), -3.0 * MARGIN, -1),
    ("S10", lambda v: cycle({"counterweight__tension": v}), CFG.tension_max, 1),
    ("S11", lambda v: cycle(slack_for=v), CFG.slack_time, 1),
    ("S12", lambda v: cycle(leaning(v)), CFG.tilt, 1),
    ("S12", lambda v: cycle(rolled(v)), CFG.tilt, 1),
    ("S13", lambda v: cycle(placed(0.0, 0.0, v)), 0.12, -1),
    ("S13", lambda v: cycle(placed(0.0, 0.0, v)), CFG.height_max, 1),
    ("S13", lambda v: cycle({**placed(0.0, 0.0, v), "platform__pose": at(2, 0.1, 6)}), 0.22, -1),
    *[("S14", lambda v, i=i: cycle(placed(*(at(i, v, 3) + [0, 0, 0.3]))), sign * CFG.drift, sign)
      for i in (0, 1) for sign in (-1, 1)],
    ("S16", lambda v: cycle(commands={"platform__pose": at(0, v, 6)}), 0.18 * FAR, 1),
    ("S16", lambda v: cycle(commands={"platform__pose": at(4, v, 6)}), -CFG.platform_tilt * FAR, -1),
    ("S16", lambda v: cycle(commands={"treadmill__speed": v}), 3.0 * FAR, 1),
    ("S16", lambda v: cycle(commands={"counterweight__tension": v}), CFG.tension_max * FAR, 1),
    ("S16", lambda v: cycle(commands={"robot__targets": NOMINAL_POSE + at(4, v - 0.9, 12)}), UPPER[4] + math.pi, 1),
    ("S16", lambda v: cycle(commands={"robot__targets": NOMINAL_POSE + at(2, v + 1.8, 12)}), LOWER[2] - math.pi, -1),
    ("S17", lambda v: cycle(refused_for=v), CFG.command_silence, 1),
]  # fmt: skip


def answer(judged: Cycle) -> str | None:
    violation = first_violation(judged)
    return None if violation is None else violation[0].id


@pytest.mark.parametrize(("rule", "make", "bound", "worse"), BOUNDS)
def test_a_rule_answers_just_over_its_bound_and_not_at_or_under_it(
    rule: str, make: Callable[[float], Cycle], bound: float, worse: int
) -> None:
    assert answer(make(bound - worse * TINY)) is None
    assert answer(make(bound)) is None
    assert answer(make(bound + worse * TINY)) == rule


FLAGS: list[tuple[str, Cycle]] = [
    *[("S01", cycle({f"{f.name}__fault": 1})) for f in fields(MachineStates)],
    *[("S04", cycle({f"{f.name}__fault": 2})) for f in fields(MachineStates)],
    ("S04", cycle({"robot__fault": 4})),
    ("S04", cycle({"robot__fault": 128})),
    ("S01", cycle({"robot__fault": 7})),
    ("S02", cycle(dt=math.nan)),
    *[("S05", replace(cycle(), states=replace(good_states(), **{f.name: None}))) for f in fields(MachineStates)],
    ("S05", cycle({"robot__time": NOW + 0.01})),
    ("S05", cycle({"robot__time": math.nan})),
    ("S06", cycle({"tracker__quaternion": np.zeros(4)})),
    ("S06", cycle({"robot__projected_gravity": np.zeros(3)})),
    ("S15", cycle(commands={"robot__mode": "dance"})),
]


@pytest.mark.parametrize(("rule", "judged"), FLAGS)
def test_rules_without_a_bound(rule: str, judged: Cycle) -> None:
    assert answer(judged) == rule


BROKEN = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("message", [*fields(MachineStates), *fields(MachineCommands)], ids=lambda f: f.type)
def test_every_field_that_is_not_finite_trips(message: Any, value: float) -> None:
    state = message in fields(MachineStates)
    good = getattr(good_states() if state else good_commands(), message.name)
    names = [f.name for f in fields(good) if f.name not in ("time", "fault", "mode", "brake")]
    assert names
    for name in names:
        array = getattr(good, name)
        indices = range(len(array)) if isinstance(array, np.ndarray) else [None]
        for i in indices:
            broken = value if i is None else np.where(np.arange(len(array)) == i, value, array)
            changes = {f"{message.name}__{name}": broken}
            judged = cycle(changes) if state else cycle(commands=changes)
            assert answer(judged) == ("S06" if state else "S15")


def test_all_is_well_when_all_is_well() -> None:
    assert first_violation(cycle()) is None


def test_a_robot_that_is_not_running_may_lie_on_the_plate() -> None:
    assert answer(cycle(placed(0.0, 0.0, 0.07), running=False)) is None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_exercised_and_documented(rule: Any) -> None:
    exercised = {row[0] for row in BOUNDS} | {row[0] for row in FLAGS} | {"S06", "S15"}
    assert rule.id in exercised
    assert rule.check.__doc__


@pytest.mark.parametrize("id", [OPERATOR, *(rule.id for rule in RULES), *CLAMPS])
def test_the_page_has_a_full_row_for_every_id(id: str) -> None:
    page = (ROOT / "docs" / "safety.md").read_text()
    rows = re.findall(rf"^\| {id} \|(.*)\|$", page, re.MULTILINE)
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].split("|")]
    assert len(cells) == 5 and all(cells)
    assert len(set(re.findall(r"^\| (S\d\d) \|", page, re.MULTILINE))) == 1 + len(RULES) + len(CLAMPS)


# ---- geometry -------------------------------------------------------------------------------------------------------


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


@given(
    st.lists(st.floats(-0.18, 0.18), min_size=3, max_size=3), st.lists(st.floats(-0.38, 0.38), min_size=3, max_size=3),
    st.floats(-0.5, 0.5), st.floats(-0.5, 0.5),
)  # fmt: skip
def test_the_plates_height_is_that_of_its_points(centre: list[float], rpy: list[float], u: float, v: float) -> None:
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in rpy)
    rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    point = np.array(centre) + rz @ ry @ rx @ np.array([u, v, 0.0])
    assert plate_height(np.array([*centre, *rpy]), point[0], point[1]) == pytest.approx(point[2], abs=1e-9)


# ---- clamps ---------------------------------------------------------------------------------------------------------

anything = st.floats(allow_nan=True, allow_infinity=True)


@given(anything, st.floats(-10, 10), st.floats(0, 100), st.floats(-1, 1))
def test_limit_rate_never_exceeds_its_rate(command: float, previous: float, rate: float, dt: float) -> None:
    given = float(limit_rate(command, previous, rate, dt))
    assert abs(given - previous) <= rate * max(dt, 0.0) + 1e-9
    if not math.isfinite(command) or dt <= 0.0:
        assert given == previous
    elif abs(command - previous) <= rate * dt:
        assert given == pytest.approx(command, abs=1e-9)


@pytest.mark.parametrize(
    ("step", "given"), [(0.0099, 0.0099), (0.01, 0.01), (0.0101, 0.01), (-0.0101, -0.01), (math.nan, 0), (math.inf, 0)]
)
def test_limit_rate_at_its_bound(step: float, given: float) -> None:
    assert float(limit_rate(1.0 + step, 1.0, 2.0, DT)) == pytest.approx(1.0 + given, abs=1e-12)


def test_limit_rate_holds_when_the_clock_stands_or_jumps_back() -> None:
    assert [float(limit_rate(5.0, 1.0, 2.0, dt)) for dt in (0.0, -3.0, math.nan)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("command", "given"), [(2.0, 2.0), (2.1, 2.0), (1.9, 1.9), (-2.1, -2.0), (math.nan, 0.5), (math.inf, 0.5)]
)
def test_limit_range_at_its_bound(command: float, given: float) -> None:
    assert float(limit_range(command, 0.5, -2.0, 2.0)) == given


@settings(max_examples=40)
@given(st.lists(st.floats(-0.18, 0.18), min_size=1, max_size=5))
def test_limit_motion_keeps_speed_and_acceleration_and_does_not_overshoot(targets: list[float]) -> None:
    rate, acceleration = np.array([0.3]), np.array([4.905])
    position, velocity = np.zeros(1), np.zeros(1)
    for target in targets:
        side = np.sign(target - position[0])
        settled = velocity[0] == 0.0
        for _ in range(250):
            last, last_velocity = position, velocity
            position, velocity = limit_motion(np.array([target]), last, last_velocity, rate, acceleration, DT)
            assert abs(velocity[0]) <= 0.3 + 1e-12
            assert abs(velocity[0] - last_velocity[0]) <= 4.905 * DT + 1e-12
            assert position[0] == last[0] + velocity[0] * DT
            if settled:
                assert side * (target - position[0]) >= -1e-4
        assert position[0] == pytest.approx(target, abs=1e-5)


# ---- the supervisor -------------------------------------------------------------------------------------------------


class Loop:
    """A supervisor that is stepped at 200 Hz with machines that do what they are told."""

    def __init__(self, cfg: SafetyConfig = CFG) -> None:
        self.supervisor = Supervisor(cfg)
        self.now = NOW
        self.states: dict[str, Any] = {}
        self.log: list[tuple[MachineCommands, SupervisorState]] = []

    def step(self, dt: float = DT, age: float = 0.0, **wanted: Any) -> MachineCommands:
        self.now += dt
        result = self.supervisor.step(
            good_states(self.now, **self.states), good_commands(self.now - age, **wanted), self.now
        )
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


def assert_safe(commands: MachineCommands, pose: np.ndarray, tension: float) -> None:
    assert np.array_equal(commands.platform.pose, pose)
    assert commands.treadmill.speed == 0.0
    assert commands.counterweight.brake and commands.counterweight.tension == tension
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
    pose = np.array([0.01, 0.0, 0.05, 0.02, 0.0, 0.0])
    joints = NOMINAL_POSE + 0.1
    loop.states = {"platform__pose": pose, "counterweight__tension": 130.0, "robot__joint_position": joints}
    for _ in range(150):
        loop.step(treadmill__speed=1.0)
    assert loop.log[-1][0].treadmill.speed == 1.0
    loop.states["tracker__position"] = np.array([0.6, 0.0, 0.3])
    trip = len(loop.log)
    loop.step(treadmill__speed=1.0)
    for k in range(120):  # what is measured later moves nothing
        loop.states |= {"platform__pose": pose + 0.001 * k, "counterweight__tension": 60.0}
        loop.step(treadmill__speed=1.0)
    after = [commands for commands, _ in loop.log[trip:]]
    assert all(np.array_equal(c.platform.pose, pose) for c in after)
    assert all(c.counterweight.brake and c.counterweight.tension == 130.0 for c in after)
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
    loop.step(treadmill__speed=0.01)
    given = loop.step(age=CFG.command_stale, treadmill__speed=0.02)
    assert given.treadmill.speed == pytest.approx(0.02), "at the limit it is fresh"
    assert loop.log[-1][1].stale_commands == 0
    given = loop.step(age=CFG.command_stale + 0.001, treadmill__speed=0.03)
    assert given.treadmill.speed == pytest.approx(0.02)
    assert loop.log[-1][1].stale_commands == 4
    given = loop.step(age=-0.01, treadmill__speed=0.03)
    assert given.treadmill.speed == pytest.approx(0.02), "a command from the future is of another clock"
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
    assert given.treadmill.speed == 0.0
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


def test_reset_disarms_a_running_rig_the_way_a_trip_would() -> None:
    loop = Loop().start()
    loop.step()
    loop.supervisor.reset(loop.now)
    assert loop.step().robot.mode == "hold"
    for _ in range(30):
        commands = loop.step()
    assert_safe(commands, np.zeros(6), 124.0)
    assert loop.state == "idle"
