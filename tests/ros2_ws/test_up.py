"""``lunar up deploy`` with the real node: it waits until the node is active, and Ctrl-C ends both cleanly."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sim.config import ROOT
from sim.spec.joints import NOMINAL_POSE

pytestmark = pytest.mark.wall_clock

LUNAR = [sys.executable, "-c", "from matrix_hil.cli import main; main()", "up"]
PATIENT = ["--ready_timeout", "300", "--policy"]


def test_the_policy_comes_up_and_ctrl_c_ends_it(ros: dict[str, str], policy_folder: Path) -> None:
    with subprocess.Popen(
        [*LUNAR, "deploy", *PATIENT, str(policy_folder)], env=ros, stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout is not None
        lines = []
        while "active" not in (line := runner.stdout.readline()):
            assert line, "the runner ended before the node was active: " + "".join(lines)
            lines.append(line)
        runner.send_signal(signal.SIGINT)
        rest = runner.communicate(timeout=120)[0]
    assert runner.returncode == 0, rest
    assert "policy_node: ended with status 0" in rest


def test_a_policy_that_does_not_fit_is_a_failure(ros: dict[str, str], wrong_policy_folder: Path) -> None:
    result = subprocess.run(
        [*LUNAR, "deploy", *PATIENT, str(wrong_policy_folder)], env=ros, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1
    assert "'rate' is 100.0" in result.stdout + result.stderr


def test_a_policy_that_does_nothing_stands_in_the_simulated_robot(
    ros: dict[str, str], standing_policy_folder: Path, probe: Callable
) -> None:
    command = [*LUNAR, "sim", *PATIENT, str(standing_policy_folder)]
    with subprocess.Popen(command, env=ros, stdout=subprocess.PIPE, text=True) as runner:
        quiet = {"joints": False, "imu": "none"}
        record = probe([
            {"name": "start", "seconds": 120, "until": "run", **quiet},
            {"name": "run", "seconds": 120, "states": 300, **quiet},
        ])  # fmt: skip
        runner.send_signal(signal.SIGINT)
        output = runner.communicate(timeout=120)[0]
    assert runner.returncode == 0, output
    assert len(record["run"]["joint_states"]) >= 300
    assert "damp" not in {c["mode"] for c in record["run"]["commands"]}
    # under lunar weight the knees give way by less than 0.1 rad, and it does not lean
    assert np.allclose(record["run"]["joint_states"], NOMINAL_POSE, atol=0.15)
    assert min(record["run"]["upright"]) > 0.99


def test_the_shipped_policy_pronks_in_the_simulated_robot(ros: dict[str, str], probe: Callable) -> None:
    """Command in, hops out, on the simulation's clock: a slow machine only needs patience."""
    command = [*LUNAR, "sim", *PATIENT, str(ROOT / "policy/zoo/pronk")]
    quiet = {"joints": False, "imu": "none", "hop": {"vx": 0.2, "vy": 0, "yaw_rate": 0, "apex_gain": 0.3, "economy": 0}}
    with subprocess.Popen(command, env=ros, stdout=subprocess.PIPE, text=True) as runner:
        record = probe([
            {"name": "start", "seconds": 120, "until": "run", **quiet},
            {"name": "run", "seconds": 120, "simulated": 6.0, **quiet},
        ])  # fmt: skip
        runner.send_signal(signal.SIGINT)
        output = runner.communicate(timeout=120)[0]
    assert runner.returncode == 0, output
    height = np.array([height for _, height in record["run"]["base"]])
    commands = record["run"]["commands"]
    assert {c["mode"] for c in commands} == {"run"}
    # 50 commands per second of simulated time; the probe may miss some on a busy machine
    stamps = [c["simulated"] for c in commands if c["simulated"] is not None]
    assert 30.0 <= len(stamps) / (stamps[-1] - stamps[0]) <= 55.0
    middle = (height.max() + height.min()) / 2.0
    flights = np.count_nonzero(np.diff((height > middle).astype(int)) == 1)
    assert flights >= 2 and height.max() - height.min() > 0.15, (flights, height.max(), height.min())
    assert min(record["run"]["upright"]) > 0.5
