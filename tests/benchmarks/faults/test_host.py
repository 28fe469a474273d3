"""What happens to the host itself: a disk that is full, a process that is killed."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.faults.cli import FaultsConfig
from benchmarks.faults.process import signals
from matrix_hil.config import RunPlan
from matrix_hil.log import read_log
from matrix_hil.operate import cli as hil
from sim.terrain.generators import TerrainConfig

pytestmark = pytest.mark.wall_clock


def test_a_full_disk_ends_the_recording_and_not_the_run(standing_policy: Path, tmp_path: Path) -> None:
    """The operating system refuses to let files grow, as on a full disk."""
    cfg = hil.HilConfig(
        policy=str(standing_policy), log=str(tmp_path / "log"), plan=RunPlan(duration=2.0, stand=0.3, down=0.3),
        terrain=TerrainConfig(kind="flat"),
    )  # fmt: skip
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    try:
        results = hil.run(cfg, Console(quiet=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert results["trips"] == 0 and results["run_seconds"] == pytest.approx(2.0, abs=0.01)
    assert "recording" in results["log_warning"] and "stopped" in results["log_warning"]
    log = read_log(tmp_path / "log")
    states = log["/supervisor/state"]
    assert 0.3 < states.time[-1] < 2.0, "readable up to where it stopped"
    assert (np.diff(states.time) > 0).all()


def test_machines_come_to_rest_by_themselves_when_the_host_is_killed(tmp_path: Path) -> None:
    """In real time: a computer too busy to keep the host running for a second and a half shows nothing."""
    (kill,) = [s for s in signals() if s.name.endswith("killed")]
    outcome = kill.run(FaultsConfig(terrain=TerrainConfig(kind="flat")), tmp_path)
    if "never ran" in "".join(outcome.problems):
        pytest.skip("this computer is too busy for a run in real time")
    assert outcome.problems == ()
    assert outcome.safe <= outcome.safe_limit
