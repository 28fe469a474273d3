"""Where the machines stay in the safe states: a measurement that is wrong moves none of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from matrix_hil.link.devices import ROPE_LAG, safe_counterweight
from matrix_hil.messages import CounterweightCommand, CounterweightState, MachineCommands
from matrix_hil.safety.supervisor import Supervisor
from tests.matrix_hil.safety.examples import CFG, DT, NOW, at, good_commands, good_states
from tests.matrix_hil.safety.loop import Loop


def idle(*samples: dict[str, Any], cycles: int = 20) -> list[MachineCommands]:
    """What goes onto the wire while nobody has armed anything; after ``samples`` the machines measure what is so."""
    supervisor, sent = Supervisor(CFG), []
    for k in range(cycles):
        now = NOW + k * DT
        supervisor.step(good_states(now, **(samples[k] if k < len(samples) else {})), good_commands(now), now)
        assert supervisor.state == "idle"
        sent.append(supervisor.wire)
    return sent


@pytest.mark.parametrize("speed", [0.5, -3.0, 1e30])
def test_before_arming_a_belt_is_told_to_stand_whatever_it_says_first(speed: float) -> None:
    assert all(c.treadmill.speed == 0.0 for c in idle({"treadmill__speed": speed}, cycles=400))


@pytest.mark.parametrize("height", [0.17, 10.0])
def test_before_arming_a_first_pose_that_is_wrong_is_commanded_for_one_cycle_at_most(height: float) -> None:
    sent = idle({"platform__pose": at(2, height, 6)})
    assert all(np.array_equal(c.platform.pose, np.zeros(6)) for c in sent[1:])


def test_before_arming_one_wrong_pose_later_on_moves_nothing() -> None:
    sent = idle({}, {}, {"platform__pose": at(2, 0.17, 6)})
    assert all(np.array_equal(c.platform.pose, np.zeros(6)) for c in sent)


def test_before_arming_noise_moves_nothing() -> None:
    sent = idle(*({"platform__pose": at(2, 1e-4 * k, 6)} for k in range(20)))
    assert all(np.array_equal(c.platform.pose, np.zeros(6)) for c in sent)


def test_the_same_sample_twice_confirms_nothing() -> None:
    wrong = {"platform__pose": at(2, 0.17, 6), "platform__time": NOW}
    assert np.array_equal(idle(wrong, wrong, wrong)[-1].platform.pose, np.zeros(6))


def test_before_arming_a_braked_rope_is_never_told_to_pull_harder() -> None:
    first = idle({"counterweight__tension": 5000.0})
    assert all(c.counterweight.tension == 124.0 for c in first[1:]), "the first sample was wrong"
    later = idle({}, {}, {"counterweight__tension": 400.0}, {"counterweight__tension": 400.0})
    assert all(c.counterweight.tension == 124.0 and c.counterweight.brake for c in later)


@pytest.mark.parametrize(
    ("measured", "kept"), [(5000.0, 124.0), (124.0 + ROPE_LAG + 0.1, 124.0), (60.0, 60.0), (-300.0, 0.0)]
)
def test_a_load_cell_that_is_off_does_not_say_how_hard_the_braked_rope_pulls(measured: float, kept: float) -> None:
    loop = Loop().start()
    for _ in range(5):
        loop.step()
    loop.states = {"counterweight__tension": measured, "robot__fault": 2}
    for _ in range(30):
        commands = loop.step()
    assert loop.state == "safe" and commands.counterweight.brake
    assert commands.counterweight.tension == pytest.approx(kept, abs=1e-5)


def test_a_tension_near_its_command_is_kept() -> None:
    measured = CounterweightState(1.0, 124.0 + ROPE_LAG, 3.0, 0.0)
    assert safe_counterweight(measured, CounterweightCommand(1.0, 124.0), 2.0).tension == 124.0 + ROPE_LAG


def test_a_driver_that_leaves_believes_its_load_cell_no_more_than_the_supervisor() -> None:
    broken = CounterweightState(1.0, 5000.0, 3.0, 0.0)
    assert safe_counterweight(broken, CounterweightCommand(1.0, 124.0), 2.0).tension == 124.0
    assert safe_counterweight(None, CounterweightCommand(1.0, 90.0), 2.0).tension == 90.0
    assert safe_counterweight(CounterweightState(1.0, -15.0, 3.0, 0.0), None, 2.0).tension == 0.0, "no rope pushes"
    assert safe_counterweight(None, None, 2.0) == CounterweightCommand(2.0, 0.0, True)
