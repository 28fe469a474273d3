"""The supervisor over time: clocks, deadlines, what lasts, how a rig comes to rest and starts again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from matrix_hil.messages import MachineStates, TwinPatch
from matrix_hil.safety.supervisor import Supervisor, SupervisorState
from tests.matrix_hil.safety.examples import CFG, DT, NOW, at, good_commands, good_states
from tests.matrix_hil.safety.loop import Loop, assert_safe


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
    """On a rope that is told to pull so little that slack is not far from it."""
    loop, light = Loop().start(), 0.9 * CFG.rope_astray
    for _ in range(10):
        loop.states = {"counterweight__tension": 0.0}
        for _ in range(99):
            loop.step(counterweight__tension=light)
        loop.states = {"counterweight__tension": light}
        loop.step(counterweight__tension=light)
    assert loop.state == "run"
    loop.states = {"counterweight__tension": 0.0}
    for _ in range(102):
        loop.step(counterweight__tension=light)
    assert loop.supervisor.reason.startswith("S11")


@pytest.mark.parametrize("force", [424.0, 20.0, 0.0])
def test_a_winch_that_does_not_obey_is_braked_within_a_tenth_of_a_second(force: float) -> None:
    """Under the force that harness and rope bear, and all the same enough to throw the robot over the pulley."""
    loop = Loop().start()
    for _ in range(100):
        loop.step()
    assert loop.state == "run"
    loop.states = {"counterweight__tension": force}
    for _ in range(round(0.1 / DT)):
        commands = loop.step()
    assert loop.supervisor.reason.startswith(f"S30 rope force at {force:.0f} N")
    assert commands.counterweight.brake


def test_a_rope_that_is_still_to_be_taken_in_may_be_slack_until_the_run() -> None:
    loop = Loop()
    loop.states = {"counterweight__tension": 0.0}
    loop.step()
    assert loop.supervisor.arm(loop.now)
    for _ in range(100):
        loop.step()
    assert loop.state == "armed"
    loop.states = {"counterweight__tension": 300.0}
    for _ in range(100):
        loop.step()
    assert loop.supervisor.reason.startswith("S30")


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


def valid(loop: Loop) -> set[float]:
    """s for which the newest commands may be written, as decided and as they go onto the wire."""
    assert loop.log
    both = (loop.log[-1][0], loop.supervisor.wire)
    return {command.valid_for for commands in both for command in vars(commands).values()}


def test_commands_expire_with_the_oldest_of_the_states_they_were_made_from() -> None:
    loop = Loop()
    loop.step()
    assert valid(loop) == {math.inf}, "safe commands do not expire"
    loop.start()
    loop.states = {"tracker__time": loop.now - 0.01, "robot__time": loop.now + 0.002}
    loop.step()
    (left,) = valid(loop)
    assert left == pytest.approx(-0.005 + min(0.06 - 0.01, 0.04 + 0.002))
    loop.supervisor.estop(loop.now)
    loop.step()
    assert valid(loop) == {math.inf}


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


@pytest.mark.parametrize(
    ("machine", "disobeys"), [("platform", {"platform__pose": at(2, 0.1, 6)}), ("treadmill", {"treadmill__speed": 0.6})]
)
def test_a_machine_that_does_not_come_to_rest_is_no_longer_spoken_to(machine: str, disobeys: dict[str, Any]) -> None:
    """Its own watchdog is the path that is left. Not before it has had the time that S19 gives it."""
    loop = Loop().start()
    for _ in range(100):
        loop.step()
    loop.states = disobeys
    while loop.state == "run":
        loop.step()
    assert loop.supervisor.reason[:3] in ("S19", "S27")
    tripped = loop.now
    while not loop.supervisor.silenced:
        loop.step()
    assert loop.supervisor.silenced == {machine}
    assert CFG.astray_time - DT <= loop.now - tripped <= CFG.astray_time + 0.1
    loop.states = {}
    for _ in range(100):
        loop.step()
    assert loop.supervisor.silenced == {machine}, "once given up it stays so"
    loop.supervisor.reset(loop.now)
    assert not loop.supervisor.silenced
    loop.step()
    loop.states = {"platform__velocity": at(2, 0.2, 6)} if machine == "platform" else disobeys
    for _ in range(round(CFG.astray_time / DT) + 2):
        loop.step()
    assert loop.state == "idle" and loop.supervisor.silenced == {machine}, "a reset is no licence to move"
    assert loop.supervisor.blocked[:3] in ("S19", "S27"), "nor to be armed"


def test_machines_that_come_to_rest_are_told_to_stay_there() -> None:
    loop = Loop().start()
    for k in range(400):
        loop.step(treadmill__speed=1.0, platform__pose=at(2, min(0.0005 * k, 0.1), 6))
    loop.supervisor.estop(loop.now)
    for _ in range(400):
        loop.step()
    assert not loop.supervisor.silenced
