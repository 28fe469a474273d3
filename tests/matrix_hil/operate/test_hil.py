"""``lunar hil`` end to end on the virtual rig: real client, real drivers, real bytes, log on disk."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from matrix_hil.config import HilConfig, RunPlan, Treadmill
from matrix_hil.link import DEVICES
from matrix_hil.link.framing import FrameDecoder
from matrix_hil.link.protocol import unpack
from matrix_hil.log import Log, read_log
from matrix_hil.messages import PlatformCommand, PlatformState
from matrix_hil.operate import cli as hil
from matrix_hil.operate.cli import run
from matrix_hil.run.loop import Loop
from matrix_hil.virtual.rig import VirtualMachines
from policy.networks.policy_file import ZOO
from policy.runtime.starter import ENDS
from sim.config import ROOT
from sim.errors import LunarError
from sim.spec.command import HopCommand
from sim.spec.observation import PRONK_OBSERVATION
from sim.terrain.generators import TerrainConfig

QUIET = Console(quiet=True)
REAL_BELT = Treadmill(port="/dev/ttyNOTHERE")
SHORT = RunPlan(duration=0.6, stand=0.3, down=0.3)
TOPICS_OF_EVERY_RUN = (
    "/robot/joint_states", "/robot/imu", "/robot/foot_contacts", "/robot/command", "/hop_command", "/platform/state",
    "/platform/command", "/treadmill/state", "/treadmill/command", "/counterweight/state", "/counterweight/command",
    "/tracker/pose", "/rig/base_pose", "/world/base_pose", "/supervisor/state", "/sync/stamp", "/twin/patch",
)  # fmt: skip


def config(policy: Path, log: Path, **changes: Any) -> HilConfig:
    return replace(HilConfig(policy=str(policy), log=str(log), plan=SHORT), **changes)


def assert_left_safe(log: Log) -> None:
    """The last commands: belt stopped, rope braked, robot limp, platform where it was."""
    assert log["/treadmill/command"].speed[-1] == 0.0
    assert log["/counterweight/command"].brake[-1]
    assert log["/robot/command"].mode[-1] == "damp"
    assert np.ptp(log["/platform/command"].pose[-20:], axis=0).max() < 1e-9


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Log]:
    """The small policy for 6 s on rough ground."""
    folder = tmp_path_factory.mktemp("hil") / "log"
    return run(on_rough_ground("pronk", str(folder)), QUIET), read_log(folder)


def on_rough_ground(policy: str, log: str = "") -> HilConfig:
    return HilConfig(
        policy=str(ZOO / policy),
        log=log,
        plan=RunPlan(duration=6.0, stand=1.0),
        terrain=TerrainConfig(kind="rough", size=12.0),
        command=HopCommand(0.2, 0.0, 0.0, 0.3, 0.0),
    )


def test_the_shipped_policy_hops_on_the_virtual_rig(flown: tuple[dict[str, Any], Log]) -> None:
    results, _ = flown
    assert results["hops"] >= 3
    assert results["trips"] == 0
    assert results["stale_commands"] == 0
    assert results["crc_errors"] == results["sequence_gaps"] == 0


def test_a_log_may_keep_a_few_hops_of_a_run(flown: tuple[dict[str, Any], Log], tmp_path: Path) -> None:
    kept = run(replace(on_rough_ground("pronk", str(tmp_path / "log")), keep=2), QUIET)
    assert kept["hops"] == flown[0]["hops"] and not kept["log_warning"]
    found = json.loads((tmp_path / "log" / "keep.json").read_text())["results"]
    assert len(found["kept"]) == 2 and found["hops"] >= kept["hops"] - 1, "one may not have been followed to its end"
    log = read_log(tmp_path / "log")
    assert log.messages < 0.75 * flown[1].messages and log.attachments.keys() == flown[1].attachments.keys()
    assert {path.name for path in (tmp_path / "log").iterdir()} == {"log.mcap", "metadata.yaml", "keep.json"}


@pytest.mark.parametrize("changes", [{"keep": -1}, {"keep": 3, "split_mb": 5.0}])
def test_keep_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(LunarError, match="keep is"):
        run(replace(on_rough_ground("pronk", str(tmp_path / "log")), **changes), QUIET)
    assert not (tmp_path / "log").exists()


def test_gravity_in_flight_is_lunar_rising_and_falling(flown: tuple[dict[str, Any], Log]) -> None:
    results, _ = flown
    assert results["flight_gravity"]["rising"] == pytest.approx(1.62, abs=0.12)
    assert results["flight_gravity"]["falling"] == pytest.approx(1.62, abs=0.12)
    assert results["belt_acceleration_flight_rms"] < 0.1
    assert results["belt_offset_max_m"] < 0.3
    assert results["hop_height_rms_mm"] < 20.0
    assert results["hops_in_travel"] >= 0.8


def test_the_policy_for_rough_ground_stays_under_the_pulley() -> None:
    """How far a robot drifts in a flight is its own speed error, which the belt can undo only after the landing."""
    results = run(on_rough_ground("dual"), QUIET)
    assert results["trips"] == 0 and results["hops"] >= 3
    assert results["rope_offset_max_m"] < 0.15


def test_every_topic_is_logged_at_the_loops_rate(flown: tuple[dict[str, Any], Log]) -> None:
    _, log = flown
    assert log.lost is None and not log.skipped
    cycles = len(log["/sync/stamp"])
    for topic in TOPICS_OF_EVERY_RUN:
        count = len(log[topic])
        expected = cycles * {"/tracker/pose": 0.6, "/twin/patch": 0.05}.get(topic, 1.0)
        assert expected * 0.95 - 10 < count < expected * 1.05 + 10, topic
    assert np.diff(log["/sync/stamp"].time) == pytest.approx(0.005, abs=1e-6)
    assert {"config.json", "card.json", "revision.txt"} <= set(log.attachments)


def test_the_raw_bytes_of_every_line_are_logged(flown: tuple[dict[str, Any], Log]) -> None:
    """Decoded again, they are what the log says the machines measured and were told."""
    _, log = flown
    for device in DEVICES:
        for way in ("rx", "tx"):
            decoder = FrameDecoder()
            line = log[f"/wire/{device}/{way}"]
            messages = [unpack(f) for f in decoder.feed(b"".join(line.data))]
            assert decoder.crc_errors == decoder.garbage_bytes == 0 and len(messages) > 100
            if device == "platform":
                kind, topic = (
                    (PlatformState, "/platform/state") if way == "rx" else (PlatformCommand, "/platform/command")
                )
                poses = np.array([m.pose for m in messages if isinstance(m, kind)])
                logged = log[topic].pose.astype(np.float32)
                assert len(poses) >= len(logged) - 20
                assert {p.tobytes() for p in poses[20:-20].astype(np.float32)} <= {p.tobytes() for p in logged}
    assert log["/robot/fault"].fault[-1] == log["/tracker/fault"].fault[-1] == 0


def test_the_platform_moves_in_flight_only(flown: tuple[dict[str, Any], Log]) -> None:
    _, log = flown
    contacts, pose = log["/robot/foot_contacts"], log["/platform/state"]
    moving = np.abs(pose.velocity).max(axis=1) > 1e-3
    in_stance = np.interp(pose.time, contacts.time, contacts.loaded.any(axis=1).astype(float)) > 0.99
    # it may still be stopping when the first foot lands
    settled = in_stance & (np.interp(pose.time - 0.06, contacts.time, contacts.loaded.any(axis=1)) > 0.99)
    assert moving.any()
    assert not (moving & settled).any()


def test_the_world_moves_by_belt_travel_and_body(flown: tuple[dict[str, Any], Log]) -> None:
    _, log = flown
    world, rig, belt = log["/world/base_pose"], log["/rig/base_pose"], log["/treadmill/state"]
    travel = belt.position[-1] - belt.position[0] + rig.position[-1, 0] - rig.position[0, 0]
    assert world.position[-1, 0] - world.position[0, 0] == pytest.approx(travel, abs=0.02)


def test_the_rig_is_left_safe(flown: tuple[dict[str, Any], Log]) -> None:
    assert_left_safe(flown[1])


def test_same_seed_same_log(standing_policy: Path, tmp_path: Path) -> None:
    def log(name: str, seed: int) -> Log:
        run(config(standing_policy, tmp_path / name, seed=seed), QUIET)
        return read_log(tmp_path / name)

    first, again, other = log("a", 1), log("b", 1), log("c", 2)
    for topic, field in (
        ("/robot/joint_states", "position"),
        ("/counterweight/state", "tension"),
        ("/robot/command", "targets"),
        ("/tracker/pose", "position"),
    ):
        assert (getattr(first[topic], field) == getattr(again[topic], field)).all(), topic
    assert (first["/tracker/pose"].position != other["/tracker/pose"].position).any()


@pytest.mark.wall_clock
def test_wall_clock_run(standing_policy: Path, tmp_path: Path) -> None:
    """Threads and real deadlines; a busy machine may trip the deadline rule, which must leave the rig safe as well."""
    results = run(config(standing_policy, tmp_path / "log", clock="wall", pace=0.25), QUIET)
    log = read_log(tmp_path / "log")
    assert results["trips"] in (0, 1)
    assert results["lateness_us"]["p50"] >= 0.0
    assert len(log["/robot/joint_states"]) > 20
    assert_left_safe(log)


def test_a_fall_trips_and_ends_safely(make_policy: Callable[..., Path], tmp_path: Path) -> None:
    """A policy that folds its right legs."""
    bias = np.zeros(12)
    bias[[4, 10]], bias[[5, 11]] = 4.0, -4.0
    bias[[3, 9]] = -3.0
    policy = make_policy(np.zeros((PRONK_OBSERVATION.size, 12)), bias)
    results = run(config(policy, tmp_path / "log", plan=RunPlan(duration=6.0, stand=0.3, down=0.3)), QUIET)
    log = read_log(tmp_path / "log")
    assert results["trips"] == 1
    assert results["reason"].startswith(("S12", "S13", "S14"))
    assert results["run_seconds"] < 6.0
    assert_left_safe(log)


def test_an_error_in_the_loop_stops_the_machines(
    standing_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drivers send their safe commands on the way out, the log is whole."""
    sent: list[Any] = []

    def break_down(self: Loop, now: float, *rest: Any) -> None:
        if now > 0.8:
            raise RuntimeError("a bug")
        original(self, now, *rest)

    def close(self: VirtualMachines, *_: object) -> None:
        for emulator in self.emulators.values():
            emulator.poll(2.0)
        sent.extend([self.treadmill.last_command, self.counterweight.last_command, self.robot.last_command])
        original_exit(self, None, None, None)

    original, original_exit = Loop.cycle, VirtualMachines.__exit__
    monkeypatch.setattr(Loop, "cycle", break_down)
    monkeypatch.setattr(VirtualMachines, "__exit__", close)
    with pytest.raises(RuntimeError, match="a bug"):
        run(config(standing_policy, tmp_path / "log"), QUIET)
    belt, rope, robot = sent
    assert belt.speed == 0.0
    assert rope.brake
    assert robot.mode == "damp"
    log = read_log(tmp_path / "log")
    assert log.lost is None
    assert log["/supervisor/state"].state[-1] == "run"


@pytest.mark.wall_clock
@pytest.mark.parametrize("number", ENDS, ids=lambda s: s.name)
def test_whoever_asks_it_to_stop_finds_the_rig_safe_and_the_log_closed(
    number: signal.Signals, standing_policy: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    arguments = ["--policy", str(standing_policy), "--log", str(folder), "--plan.duration", "500"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from matrix_hil.cli import main; main()", "hil", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            file = folder / "log.mcap"
            if file.is_file() and file.stat().st_size > 800_000:  # well into the run
                break
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        _, error = process.communicate(timeout=30.0)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in error
    log = read_log(folder)
    assert log.lost is None
    assert "run" in log["/supervisor/state"].state
    assert_left_safe(log)


@pytest.mark.wall_clock
def test_a_terminal_that_is_closed_leaves_the_rig_safe_and_says_so_by_the_status(
    standing_policy: Path, tmp_path: Path
) -> None:
    """Whatever is still to be shown has nowhere to go, and keys have nowhere to come from."""
    folder = tmp_path / "log"
    arguments = ["--policy", str(standing_policy), "--log", str(folder), "--panel"]
    master, slave = pty.openpty()

    def take_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-c", "from matrix_hil.cli import main; main()", "hil", *arguments],
        cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(slave)
    try:
        shown = b""
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline and not ((file := folder / "log.mcap").is_file() and file.stat().st_size):
            assert process.poll() is None, shown
            if select.select([master], [], [], 0.05)[0]:
                shown += os.read(master, 4096)
        os.close(master)
        assert process.wait(30.0) == 130, shown
    finally:
        process.kill()
    log = read_log(folder)
    assert log.lost is None and len(log["/supervisor/state"].state)
    assert_left_safe(log)


def test_the_shipped_config_is_complete() -> None:
    with pytest.raises(LunarError, match=r"treadmil\.max_speed"):
        hil.main(["--treadmil.max_speed", "1.0"])


def test_a_log_that_is_not_whole_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = {"p50": 0.0, "p99": 0.0, "p999": 0.0}
    results = {
        "run_seconds": 1.0, "clock": "simulated", "lateness_us": late, "lateness_kind": "x", "hops": 3, "pronks": 3,
        "trips": 0, "reason": "", "stale_commands": 0, "log": "somewhere", "log_warning": "recording stopped",
        "log_seconds": 0.5, "doubt": {"largest": 0.0, "advice_seconds": 0.0, "worst": ""},
    }  # fmt: skip
    monkeypatch.setattr(hil, "run", lambda cfg, console: results)
    with pytest.raises(LunarError, match="not whole: recording stopped"):
        hil.main(["--json", str(tmp_path / "results.json")])
    assert "pronks" in capsys.readouterr().out
    assert json.loads((tmp_path / "results.json").read_text())["results"]["log_warning"] == "recording stopped"
    results["log_warning"] = ""
    hil.main([])
