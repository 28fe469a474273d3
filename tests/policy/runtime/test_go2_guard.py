"""When the Go2's motors obey: engaged by a near stand alone, limp and latched after silence, damp or nonsense."""

from __future__ import annotations

import numpy as np
import pytest

from policy.runtime.controller import JointCommand
from policy.runtime.go2_guard import Go2Guard, GuardConfig
from sim.errors import LunarError
from sim.spec.joints import NOMINAL_POSE

CONFIG = GuardConfig(command_timeout=0.1, state_timeout=0.1, engage_tolerance=0.3, damp_kd=2.0)


def order(mode: str, offset: float = 0.0, kp: float = 30.0) -> JointCommand:
    return JointCommand(NOMINAL_POSE + offset, kp, 0.75, mode)


def engaged() -> Go2Guard:
    """A guard that stands at time 0."""
    guard = Go2Guard(CONFIG)
    assert guard.on_state(NOMINAL_POSE, 1, 0.0)
    guard.on_command(order("stand"), 0.0)
    assert guard.engaged and guard.reason == ""
    return guard


def is_limp(guard: Go2Guard, now: float) -> bool:
    out = guard.motors(now)
    return out.mode == "damp" and out.kp == 0.0 and out.kd == CONFIG.damp_kd


def test_it_says_nothing_before_the_first_command() -> None:
    guard = Go2Guard(CONFIG)
    guard.on_state(NOMINAL_POSE, 1, 0.0)
    assert not guard.started and is_limp(guard, 0.0)
    guard.on_command(order("damp"), 0.0)
    assert guard.started and is_limp(guard, 0.0)


@pytest.mark.parametrize("mode", ["run", "hold", "damp", "nonsense", ""])
def test_only_stand_engages(mode: str) -> None:
    guard = Go2Guard(CONFIG)
    guard.on_state(NOMINAL_POSE, 1, 0.0)
    guard.on_command(order(mode), 0.0)
    assert not guard.engaged and is_limp(guard, 0.0)


def test_what_the_policy_asks_for_passes_unchanged() -> None:
    guard = engaged()
    run = order("run", 0.9)  # far from the joints: fine once engaged
    guard.on_command(run, 0.05)
    assert guard.motors(0.06) is run


@pytest.mark.parametrize(("offset", "obeys"), [(0.299, True), (-0.299, True), (0.301, False), (-0.301, False)])
def test_a_stand_that_would_jump_does_not_engage(offset: float, obeys: bool) -> None:
    guard = Go2Guard(CONFIG)
    guard.on_state(NOMINAL_POSE, 1, 0.0)
    guard.on_command(order("stand", offset), 0.0)
    assert guard.engaged is obeys
    assert obeys or "away from its joint" in guard.reason


@pytest.mark.parametrize(("now", "limp"), [(0.0999, False), (0.1001, True), (-0.001, True)])
@pytest.mark.parametrize("silent", ["command", "state"])
def test_silence_makes_it_limp_and_keeps_it_so(silent: str, now: float, limp: bool) -> None:
    guard = engaged()
    if silent == "command":
        guard.on_state(NOMINAL_POSE, 2, now)
    else:
        guard.on_command(order("run"), now)
    assert is_limp(guard, now) is limp
    if limp:
        assert silent in guard.reason
        # a policy that only stalled goes on in the middle of its hop: not with these motors
        guard.on_state(NOMINAL_POSE, 3, now)
        guard.on_command(order("run"), now)
        assert is_limp(guard, now)
        guard.on_command(order("stand"), now)
        assert guard.engaged


def test_old_state_does_not_engage() -> None:
    guard = Go2Guard(CONFIG)
    guard.on_command(order("stand"), 0.0)
    assert not guard.engaged and "too old" in guard.reason
    guard.on_state(NOMINAL_POSE, 1, 0.0)
    guard.on_command(order("stand"), 0.2)
    assert not guard.engaged and "too old" in guard.reason


def test_a_robot_that_repeats_itself_is_silent() -> None:
    guard = engaged()
    assert not guard.on_state(NOMINAL_POSE, 1, 0.09)  # the same tick
    guard.on_command(order("run"), 0.11)
    assert is_limp(guard, 0.11)
    untimed = Go2Guard(CONFIG)
    assert untimed.on_state(NOMINAL_POSE, 0, 0.0) and untimed.on_state(NOMINAL_POSE, 0, 0.1)  # it does not count


@pytest.mark.parametrize(
    "bad", [order("run", np.nan), order("run", np.inf), order("run", kp=np.nan), order("stand", np.nan)]
)
def test_nonsense_makes_it_limp(bad: JointCommand) -> None:
    guard = engaged()
    guard.on_command(bad, 0.01)
    assert is_limp(guard, 0.01) and "not a number" in guard.reason
    assert np.isfinite(guard.motors(0.01).targets).all()


@pytest.mark.parametrize("mode", ["", "RUN", "inactive", "fly"])
def test_an_unknown_mode_makes_it_limp(mode: str) -> None:
    guard = engaged()
    guard.on_command(order(mode), 0.01)
    assert is_limp(guard, 0.01) and f"'{mode}'" in guard.reason


def test_joints_that_are_not_numbers_are_no_state() -> None:
    guard = engaged()
    assert not guard.on_state(np.full(12, np.nan), 2, 0.05)
    assert np.allclose(guard.limp().targets, NOMINAL_POSE)


def test_damp_is_obeyed_at_once_and_says_why() -> None:
    guard = engaged()
    guard.on_command(JointCommand(NOMINAL_POSE, 0.0, 2.0, "damp", "the robot fell"), 0.01)
    assert is_limp(guard, 0.01) and guard.reason == "the robot fell"


def test_with_a_second_master_it_is_silent_or_goes_limp() -> None:
    guard = Go2Guard(CONFIG)
    guard.on_state(NOMINAL_POSE, 1, 0.0)
    guard.on_command(order("stand"), 0.0, alone=False)
    assert not guard.started and not guard.engaged and "another node" in guard.reason
    guard.on_command(order("stand"), 0.01)
    assert guard.engaged
    guard.on_command(order("run"), 0.02, alone=False)
    assert guard.started and is_limp(guard, 0.02) and "another node" in guard.reason


def test_limits_have_limits() -> None:
    with pytest.raises(LunarError, match="damp_kd is 0"):
        GuardConfig(damp_kd=0.0)  # an undamped robot falls hard
