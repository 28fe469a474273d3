"""Orders of an operator: what each does in which state, and what it answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matrix_hil.config import RunPlan
from matrix_hil.control.sync import Sync, SyncConfig
from matrix_hil.link.protocol import FAULT_ESTOP, FAULT_LIMIT, FAULT_WATCHDOG
from matrix_hil.messages import TwinPatch
from matrix_hil.run.loop import Cycle, Loop
from matrix_hil.safety.supervisor import SafetyConfig, Supervisor
from policy.runtime.onnx_policy import OnnxPolicy
from sim.spec.command import HopCommand
from tests.matrix_hil.safety.examples import DT, good_states
from tests.matrix_hil.safety.loop import assert_safe, noisy
from tests.matrix_hil.test_messages import MALFORMED


class Device:
    """What the loop needs of a driver."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent: list[Any] = []
        self.resets = 0
        self.now = 0.0
        self.fault = 0

    @property
    def state(self) -> Any:
        state = getattr(noisy(good_states(self.now), 1e-6 * (round(self.now / DT) % 2)), self.name)
        return replace(state, fault=self.fault) if self.fault else state

    def send(self, command: Any) -> None:
        self.sent.append(command)

    def fall_silent(self) -> None:
        self.sent.append(None)

    def reset(self) -> None:
        self.resets += 1


class Rig:
    """Five well-behaved machines and a clock of 5 ms."""

    def __init__(self, policy: Path) -> None:
        self.devices = {n: Device(n) for n in ("platform", "treadmill", "counterweight", "tracker", "robot")}
        self.cycles: list[Cycle] = []
        sync = Sync(SyncConfig(), OnnxPolicy(policy))
        supervisor = Supervisor(SafetyConfig())
        plan = RunPlan(stand=1.5)
        self.loop = Loop(sync, supervisor, self.devices, HopCommand(), plan, self.cycles.append, operated=True)
        self.now = 10.0

    def run(self, seconds: float, patch: TwinPatch | None = None) -> Rig:
        for _ in range(round(seconds / DT)):
            self.now += DT
            for device in self.devices.values():
                device.now = self.now
            self.loop.cycle(self.now, self.loop.newest(), patch)
        return self

    def order(self, name: str) -> tuple[bool, str]:
        answer = getattr(self.loop, name)(self.now)
        self.run(2 * DT)
        return answer

    @property
    def mode(self) -> str:
        return self.cycles[-1].sent.robot.mode


@pytest.fixture
def rig(standing_policy: Path) -> Rig:
    return Rig(standing_policy).run(0.2)


def test_the_way_up_and_down(rig: Rig) -> None:
    assert rig.order("arm") == (True, "armed") and rig.mode == "stand"
    done, why = rig.order("run")
    assert not done and "must stand for 1." in why
    rig.run(1.5)
    assert rig.order("run") == (True, "run") and rig.mode == "run" and rig.cycles[-1].info.running
    assert rig.order("hold") == (True, "hold") and rig.mode == "stand" and not rig.cycles[-1].info.running
    rig.run(1.5)
    assert rig.order("run") == (True, "run")
    assert rig.order("reset") == (True, "idle")
    assert rig.run(0.2).mode == "damp"


@pytest.mark.parametrize("order", ["arm", "reset", "run", "hold"])
def test_nobody_calls_off_that_the_rig_goes_down(rig: Rig, order: str) -> None:
    rig.order("arm")
    rig.loop.stop(rig.now)
    rig.run(0.2)
    assert rig.loop.phase == "down"
    assert not rig.order(order)[0]
    assert rig.loop.supervisor.state == "idle" and rig.mode == "damp"
    rig.run(0.5)
    assert rig.loop.done and not rig.order(order)[0]


@pytest.mark.parametrize("order", ["run", "hold"])
def test_what_an_idle_rig_refuses(rig: Rig, order: str) -> None:
    assert rig.order(order) == (False, "the rig is in 'idle'")


def test_arm_says_which_rule_objects(rig: Rig) -> None:
    rig.loop.supervisor.blocked = "S05 platform has sent no state"
    assert rig.loop.arm(rig.now) == (False, "the rig is in 'idle': S05 platform has sent no state")


def test_a_watchdog_that_tripped_while_the_rig_started_is_cleared_before_it_is_first_armed(rig: Rig) -> None:
    robot = rig.devices["robot"]
    robot.fault = FAULT_WATCHDOG
    rig.run(0.1)
    assert [d.resets for d in rig.devices.values()] == [0, 0, 0, 0, 1]
    robot.fault = 0
    rig.run(DT)
    assert rig.order("arm") == (True, "armed")


def test_a_device_that_keeps_tripping_keeps_the_rig_from_being_armed(rig: Rig) -> None:
    robot = rig.devices["robot"]
    robot.fault = FAULT_WATCHDOG
    rig.run(3.5)
    assert robot.resets == 4, "once per second"
    assert rig.order("arm") == (False, "the rig is in 'idle': S04 robot reports fault bits 0x2")


@pytest.mark.parametrize(
    "fault", [FAULT_ESTOP, FAULT_LIMIT, FAULT_WATCHDOG | FAULT_LIMIT, FAULT_WATCHDOG | FAULT_ESTOP]
)
def test_nothing_but_a_watchdog_is_cleared_unasked(rig: Rig, fault: int) -> None:
    rig.devices["platform"].fault = fault
    rig.run(2.5)
    assert not any(d.resets for d in rig.devices.values())


def test_once_armed_a_watchdog_is_the_operators_to_clear(rig: Rig) -> None:
    rig.order("arm")
    rig.devices["treadmill"].fault = FAULT_WATCHDOG
    rig.run(2.5)
    assert rig.cycles[-1].supervisor.reason.startswith("S04")
    assert not any(d.resets for d in rig.devices.values())
    rig.order("reset")
    rig.run(2.5)
    assert [d.resets for d in rig.devices.values()] == [1] * 5, "by the reset"
    assert not rig.order("arm")[0]


def test_an_estop_is_latched_until_the_button_is_let_go_and_reset(rig: Rig) -> None:
    rig.order("arm")
    rig.run(1.5).order("run")
    rig.loop.estop_input(True, rig.now)
    rig.run(0.2)
    assert rig.mode == "damp" and not rig.cycles[-1].info.running
    assert rig.order("reset") == (False, "the e-stop is still held")
    rig.loop.estop_input(False, rig.now)
    done, why = rig.order("arm")
    assert not done and why.startswith("the rig is in 'estop': S00")
    resets = [d.resets for d in rig.devices.values()]
    assert rig.order("reset") == (True, "idle")
    assert [d.resets for d in rig.devices.values()] == [r + 1 for r in resets]
    assert rig.order("arm") == (True, "armed")


def test_nobody_lets_go_of_a_stop_that_another_presses(rig: Rig) -> None:
    rig.order("arm")
    rig.loop.estop_input(True, rig.now, "a")
    rig.loop.estop_input(False, rig.now, "b")
    assert rig.order("reset") == (False, "the e-stop is still held")
    rig.loop.estop_input(True, rig.now, "b")
    rig.loop.estop_input(False, rig.now, "a")
    assert rig.order("reset") == (False, "the e-stop is still held")
    rig.loop.estop_input(False, rig.now, "b")
    assert rig.order("reset") == (True, "idle")


def test_a_trip_stops_the_policy(rig: Rig) -> None:
    rig.order("arm")
    rig.run(1.5).order("run")
    rig.now += 1.0  # a missed deadline
    rig.run(2 * DT)
    assert rig.cycles[-1].supervisor.state == "safe" and not rig.cycles[-1].info.running
    done, why = rig.order("run")
    assert not done and "S03" in why


def test_a_policy_that_stalls_stops_the_rig(rig: Rig) -> None:
    """Its targets are repeated for as long as a command may be old and machines may go without one, no longer."""
    rig.order("arm")
    rig.run(1.5).order("run")
    assert rig.cycles[-1].supervisor.state == "run"
    rig.loop.sync._act = lambda *_: None  # type: ignore[method-assign]
    stalled = rig.now
    rig.run(0.5)
    trip = next(c for c in rig.cycles if c.supervisor.state == "safe")
    limits = SafetyConfig()
    assert trip.supervisor.reason.startswith("S17")
    assert trip.time - stalled <= limits.command_stale + limits.command_silence + 3 * DT


def test_a_policy_that_never_begins_to_act_stops_the_rig(rig: Rig) -> None:
    rig.loop.sync._act = lambda *_: None  # type: ignore[method-assign]
    rig.order("arm")
    rig.run(1.5).order("run")
    rig.run(0.2)
    assert rig.cycles[-1].supervisor.reason.startswith("S17")


@pytest.mark.parametrize("changes", MALFORMED)
def test_what_is_no_ground_is_not_run_over(rig: Rig, changes: dict[str, Any]) -> None:
    """The loop goes on over the ground that it had, until that is too old."""
    ground = TwinPatch(rig.now, np.array([-1.0, -1.0]), 0.05, np.zeros((40, 40)))
    rig.order("arm")
    rig.run(1.5, ground).order("run")
    rig.run(0.2, replace(ground, time=rig.now))
    assert rig.cycles[-1].supervisor.state == "run"
    broken = replace(ground, **{"time": rig.now} | changes)
    rig.run(0.7, broken)
    assert rig.cycles[-1].supervisor.state == "run" and rig.cycles[-1].patch is not broken
    rig.run(0.4, broken)
    assert rig.cycles[-1].supervisor.reason.startswith("S28")


def test_a_guide_that_raises_ends_safe(rig: Rig) -> None:
    def lost(loop: Loop) -> HopCommand:
        raise IndexError("no such segment")

    rig.order("arm")
    rig.run(1.5).order("run")
    rig.loop.guide = lost
    rig.run(0.2)
    assert rig.cycles[-1].supervisor.reason == "S31 the loop failed: IndexError: no such segment"
    assert rig.mode == "damp"


def test_a_cycle_that_raises_ends_safe(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.order("arm")
    rig.run(1.5).order("run")

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("in the middle of a hop")

    monkeypatch.setattr(rig.loop.sync, "step", fail)
    rig.run(DT)
    assert rig.cycles[-1].supervisor.reason == "S31 the loop failed: ZeroDivisionError: in the middle of a hop"
    rig.run(0.3)
    assert_safe(rig.cycles[-1].sent, np.zeros(6), 124.0)
    assert rig.devices["counterweight"].sent[-1].brake, "and the machines are told so"
    assert rig.loop.arm(rig.now)[0] is False
