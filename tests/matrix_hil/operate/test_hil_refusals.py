"""``lunar hil``: what the user can mend is one sentence, and nothing moves."""

from __future__ import annotations

import json
import re
import resource
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matrix_hil.config import CalibrationConfig, RunPlan, Treadmill, Twin
from matrix_hil.log import read_log
from matrix_hil.operate import cli as hil
from matrix_hil.operate.cli import run
from matrix_hil.run.clocks import drive
from matrix_hil.run.loop import Loop
from matrix_hil.run.run_log import log_folder
from sim.errors import LunarError
from sim.spec.command import HopCommand
from sim.spec.observation import PRONK_OBSERVATION
from tests.matrix_hil.operate.test_hil import QUIET, REAL_BELT, config


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Port of a server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def no_machine_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the loop was started")

    monkeypatch.setattr(hil, "drive", refuse)


@pytest.mark.usefixtures("no_machine_moves")
def test_a_used_log_folder_is_refused_before_anything_is_opened(
    standing_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.mcap").touch()
    monkeypatch.setattr(hil, "open_rig", lambda *_, **__: pytest.fail("the rig was opened"))
    with pytest.raises(LunarError, match="holds a log already"):
        run(config(standing_policy, tmp_path), QUIET)


def test_the_default_log_folder_is_new_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260101-000000")  # all in one second
    assert len({log_folder("") for _ in range(4)}) == len([*tmp_path.glob("runs/hil/*")]) == 4


@pytest.mark.usefixtures("no_machine_moves")
def test_a_place_that_cannot_hold_a_log_is_refused_before_anything_is_opened(
    standing_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hil, "open_rig", lambda *_, **__: pytest.fail("the rig was opened"))
    (tmp_path / "file").touch()
    for place in (Path("/proc/nowhere"), tmp_path / "file", tmp_path / "file" / "log"):
        with pytest.raises(LunarError, match=f"{place}.* (cannot be written|is a file)"):
            run(config(standing_policy, place), QUIET)


def test_a_refused_run_leaves_no_folder_behind(standing_policy: Path, tmp_path: Path) -> None:
    with pytest.raises(LunarError, match=r"command.vx is 99, but policy .* was trained for -0.3 to 0.6 m/s"):
        run(config(standing_policy, tmp_path / "log", command=HopCommand(vx=99.0)), QUIET)
    assert not (tmp_path / "log").exists()


def test_a_full_disk_is_told_at_once_and_in_the_end(
    standing_policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The system refuses to let the log grow, as on a full disk; the run's exit status is not that of a whole one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    try:
        with pytest.raises(LunarError, match="the log of this run is not whole"):
            hil.main([
                str(standing_policy), "--log", str(tmp_path / "log"), "--plan.duration", "2", "--plan.stand", "0.3",
                "--terrain.kind", "flat",
            ])  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"stopped: File too large, \d\.\d s into the run, which goes on", said)
    assert re.search(r"INCOMPLETE after \d\.\d s", said)


def test_unreal_that_does_not_answer(standing_policy: Path, tmp_path: Path, silent_server: int) -> None:
    twin = Twin(host="127.0.0.1", port=silent_server, timeout=0.3)
    with pytest.raises(LunarError, match="UnrealCV"):
        run(config(standing_policy, tmp_path / "log", twin=twin), QUIET)
    assert not (tmp_path / "log").exists()


@pytest.mark.usefixtures("no_machine_moves")
def test_a_machine_that_was_never_calibrated(standing_policy: Path, tmp_path: Path) -> None:
    cfg = config(
        standing_policy, tmp_path / "log", clock="wall", treadmill=Treadmill(port="/dev/ttyNOTHERE"), allow_mixed=True,
        calibration=CalibrationConfig(file=str(tmp_path / "none.json")),
    )  # fmt: skip
    with pytest.raises(LunarError, match=r"no calibration .*none.json.*lunar hil calibrate"):
        run(cfg, QUIET)


@pytest.mark.usefixtures("no_machine_moves")
def test_real_ports_need_real_time(standing_policy: Path, tmp_path: Path) -> None:
    with pytest.raises(LunarError, match=r"treadmill\.port.*wall"):
        run(config(standing_policy, tmp_path / "log", treadmill=REAL_BELT, allow_mixed=True), QUIET)


@pytest.mark.usefixtures("no_machine_moves")
def test_emulated_machines_beside_real_ones_must_be_wanted(standing_policy: Path, tmp_path: Path) -> None:
    """One port forgotten, and a real robot would hop before a tracker that knows nothing of it."""
    cfg = config(
        standing_policy, tmp_path / "log", clock="wall", treadmill=REAL_BELT,
        calibration=CalibrationConfig(file=str(tmp_path / "none.json")),
    )  # fmt: skip
    with pytest.raises(LunarError, match=r"platform, counterweight, tracker and robot would be emulated.*allow_mixed"):
        run(cfg, QUIET)
    with pytest.raises(LunarError, match="no calibration"):
        run(replace(cfg, allow_mixed=True), QUIET)


@pytest.mark.usefixtures("no_machine_moves")
def test_policy_missing_or_unfit(make_policy: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(LunarError, match="does not exist"):
        run(config(tmp_path / "nothing", tmp_path / "log"), QUIET)
    spec = replace(PRONK_OBSERVATION, rate=100.0)
    unfit = make_policy(np.zeros((spec.size, 12)), np.zeros(12), spec)
    with pytest.raises(LunarError, match="does not fit"):
        run(config(unfit, tmp_path / "log"), QUIET)


def test_a_rig_that_objects_is_not_armed(
    standing_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The treadmill's e-stop is pressed from the start."""
    modes: list[str] = []

    def press(loop: Loop, clock: Any, *rest: Any) -> None:
        clock.machines.treadmill.estop(True)
        try:
            drive(loop, clock, *rest)
        finally:
            modes.append(clock.machines.robot.actuated.mode)

    monkeypatch.setattr(hil, "drive", press)
    plan = RunPlan(duration=1.0, stand=0.2, arm_timeout=0.5)
    with pytest.raises(LunarError, match="cannot be armed"):
        run(config(standing_policy, tmp_path / "log", plan=plan), QUIET)
    assert modes == ["damp"]
    assert (read_log(tmp_path / "log")["/treadmill/command"].speed == 0.0).all()


def test_command_line_writes_results(standing_policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    hil.main([
        "--policy", str(standing_policy), "--log", str(tmp_path / "log"), "--json", str(out), "--terrain.kind", "flat",
        "--plan.duration", "0.5", "--plan.stand", "0.2",
    ])  # fmt: skip
    document = json.loads(out.read_text())
    assert document["command"] == "hil"
    assert {"lateness_us", "stale_commands", "trips", "hops", "pronks"} <= set(document["results"])
    assert set(document["results"]["lateness_us"]) == {"p50", "p99", "p999"}
