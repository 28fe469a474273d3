"""Several policies on one history: each acts as it would have alone, and they change places at touch-down only."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from policy.runtime.onnx_policy import OnnxPolicy, Proprioception
from policy.runtime.switch import Gate, SwitchPolicy
from sim.errors import LunarError
from sim.files import find_policy
from sim.spec.command import HopCommand

COMMAND = HopCommand().array()
PAIR = ("policy/zoo/dual", "policy/zoo/student_small")


def sensors(rng: np.random.Generator) -> Proprioception:
    return Proprioception(rng.normal(size=3), np.array([0.0, 0.0, -1.0]), rng.normal(size=12), rng.normal(size=12))


def test_a_gate_opens_on_landing_alone():
    gate = Gate(np.zeros(3, dtype=int))
    loaded = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1], [1, 1, 0]], dtype=bool)
    wanted = np.array([1, 2, 3])
    seen = [gate.step(wanted, row).tolist() for row in loaded]
    assert seen == [[0, 0, 0], [0, 0, 0], [0, 0, 3], [1, 0, 3], [1, 2, 3]]


def test_whoever_acts_sees_the_whole_history():
    """After a change the new policy's targets are those that it alone gives for the very same frames."""
    both, rng = SwitchPolicy(PAIR), np.random.default_rng(0)
    alone = OnnxPolicy(PAIR[1])
    for k in range(120):
        now, landed = sensors(rng), k >= 100
        alone.last_action = both.last_action
        both.choose(1, loaded=landed)
        targets = both.act(now, COMMAND)
        expected = alone.act(now, COMMAND)
        assert both.folder.name == ("student_small" if landed else "dual")
        assert np.allclose(targets, expected, atol=1e-6) == landed


def test_nothing_changes_in_stance_or_in_flight():
    policy, rng = SwitchPolicy(PAIR), np.random.default_rng(1)
    for loaded in (True, True, False, False):
        policy.choose(1, loaded)
        policy.act(sensors(rng), COMMAND)
        assert policy.folder.name == "dual"
    policy.choose(1, loaded=True)
    policy.act(sensors(rng), COMMAND)
    assert policy.folder.name == "student_small" and policy.output is policy.active.output
    policy.reset()
    assert policy.folder.name == "dual" and not policy.last_action.any()


def test_an_unknown_number_is_refused():
    with pytest.raises(IndexError):
        SwitchPolicy(PAIR).choose(2, loaded=True)


def test_policies_of_other_gains_do_not_share_a_robot(tmp_path):
    other = tmp_path / "stiff"
    shutil.copytree(find_policy("pronk"), other)
    card = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps(card | {"kp": 40.0}))
    with pytest.raises(LunarError, match=r"differ in 'kp' \(30.0, 40.0\)"):
        SwitchPolicy((PAIR[0], other))


def test_the_monitor_is_that_of_whoever_acts():
    policy, rng = SwitchPolicy(("dual", "pronk"), monitor="trip"), np.random.default_rng(2)
    for loaded in (False, False, True, True):
        policy.choose(1, loaded)
        policy.act(sensors(rng), COMMAND)
    assert policy.monitor is policy.policies[1].monitor and policy.verdict.channel
