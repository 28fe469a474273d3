"""Calibration: what is measured, what a file is refused for, and that a run is corrected by it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from matrix_hil import rig as rigs
from matrix_hil.config import CalibrationConfig, Counterweight, HilConfig, LineConfig, RunPlan, Tracker, Treadmill, Twin
from matrix_hil.link import HostClock, PollThread
from matrix_hil.link.calibration import Calibration, arming_objection, figures, load
from matrix_hil.log import read_log
from matrix_hil.messages import (
    CounterweightCommand,
    CounterweightState,
    MachineCommands,
    MachineStates,
    PlatformCommand,
    PlatformState,
    RobotCommand,
    TrackerState,
    TreadmillCommand,
    TreadmillState,
)
from matrix_hil.operate import calibrate
from matrix_hil.operate import cli as hil
from matrix_hil.operate.cli import run
from matrix_hil.run import start_check
from matrix_hil.virtual.calibration_stand import CalibrationStand
from matrix_hil.virtual.emulator import Emulator
from sim.config import parse
from sim.errors import LunarError
from tests.matrix_hil.run.test_loop import Rig

QUIET = Console(quiet=True)
SICK = HilConfig(
    counterweight=Counterweight(zero=-4.0), treadmill=Treadmill(scale=0.95), tracker=Tracker(origin=(0.12, -0.2, 0.05))
)
"""A rig whose load cell, belt and tracker are all wrong."""
BRISK = CalibrationConfig(average=0.2, platform_step=0.02, platform_speed=0.2, belt_travel=0.15, timeout=3.0)


def silent(text: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def measured() -> Calibration:
    return rigs.calibrate(replace(SICK, calibration=BRISK), silent)


def test_every_error_of_the_rig_is_found(measured: Calibration) -> None:
    assert measured.load_cell_offset == pytest.approx(-4.0, abs=0.3)
    assert measured.belt_scale == pytest.approx(0.95, abs=0.02)
    np.testing.assert_allclose(measured.tracker_origin, (0.12, -0.2, 0.05), atol=2.5e-3)
    assert measured.checks is not None and set(measured.checks) == {"platform_x_m", "platform_y_m", "platform_z_m"}
    assert max(measured.checks.values()) < 3e-3
    assert measured.clock_offset is not None and set(measured.clock_offset) == set(SICK.ports)
    assert abs(measured.time - time.time()) < 3600.0


def test_a_modbus_belt_is_measured_too() -> None:
    treadmill = Treadmill(scale=1.05, protocol="modbus")
    cfg = replace(HilConfig(), treadmill=treadmill, safety=replace(HilConfig().safety, treadmill_stale=0.15))
    found = rigs.virtual_calibration(cfg)
    assert found.belt_scale == pytest.approx(1.05, abs=0.02)
    assert found.devices["treadmill"] == "emulated, model 1, number 1"
    assert "treadmill" not in (found.clock_offset or {}), "Modbus has no clock"


def test_the_file_gives_everything_back(measured: Calibration, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "calibration.json"
    measured.save(file)
    assert load(file) == replace(measured, figures=json.loads(json.dumps(measured.figures)))
    assert "created" in json.loads(file.read_text())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 99}', "\x00", "null"])
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(text)
    with pytest.raises(LunarError, match=r"calibration\.json.*lunar hil calibrate"):
        load(file)
    with pytest.raises(LunarError, match="there is no calibration"):
        load(tmp_path / "nothing.json")


@pytest.mark.parametrize(("name", "value"), [
    ("belt_scale", 0.0), ("belt_scale", float("nan")), ("tracker_origin", [0.0, 1.0]), ("load_cell_offset", "3"),
    ("time", None), ("belt_scale", 0.79), ("belt_scale", 1.26), ("load_cell_offset", -50.1),
    ("tracker_origin", [0.0, 0.51, 0.0]),
])  # fmt: skip
def test_values_that_cannot_be_are_refused(measured: Calibration, tmp_path: Path, name: str, value: Any) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(json.loads(measured.document()) | {name: value}))
    with pytest.raises(LunarError, match="not a calibration"):
        load(file)


@pytest.mark.parametrize(("name", "value"), [
    ("belt_scale", 0.01), ("load_cell_offset", 400.0), ("tracker_origin", [0.0, 0.0, -3.0]),
])  # fmt: skip
def test_a_value_that_no_rig_has_is_named(measured: Calibration, tmp_path: Path, name: str, value: Any) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(json.loads(measured.document()) | {name: value}))
    with pytest.raises(LunarError, match=rf"calibration\.json is not a calibration: {name} is .*must lie within"):
        load(file)


@pytest.mark.parametrize(("name", "value"), [
    ("belt_scale", 0.8), ("belt_scale", 1.25), ("load_cell_offset", 50.0), ("tracker_origin", [0.5, -0.5, 0.5]),
])  # fmt: skip
def test_a_value_that_can_just_be_is_taken(measured: Calibration, tmp_path: Path, name: str, value: Any) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(json.loads(measured.document()) | {name: value}))
    assert getattr(load(file), name) == (tuple(value) if isinstance(value, list) else value)


# ---- what goes wrong while it is measured: one sentence, machines left safe --------------------------------------


def spoiled(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[CalibrationStand], None]) -> list[CalibrationStand]:
    """Stands are spoiled as soon as they are made; returns those that were."""
    made: list[CalibrationStand] = []
    original = CalibrationStand.__init__

    def init(self: CalibrationStand, *arguments: Any) -> None:
        original(self, *arguments)
        spoil(self)
        made.append(self)

    monkeypatch.setattr(CalibrationStand, "__init__", init)
    return made


def calibrated_with(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[CalibrationStand], None]) -> CalibrationStand:
    made = spoiled(monkeypatch, spoil)
    rigs.calibrate(replace(HilConfig(), calibration=BRISK), silent)
    return made[0]


def test_a_load_on_the_hook_is_not_taken_for_the_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(stand: CalibrationStand) -> None:
        stand._load = 125.0

    with pytest.raises(LunarError, match="harness off the hook"):
        calibrated_with(monkeypatch, hang)


def test_a_marker_that_lies_elsewhere_is_refused() -> None:
    with pytest.raises(LunarError, match="belt's centre"):
        rigs.calibrate(replace(HilConfig(), tracker=Tracker(origin=(0.7, 0.0, 0.0)), calibration=BRISK), silent)


def test_a_marker_that_the_belt_does_not_carry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fell off, or the belt runs the other way."""
    original = CalibrationStand.poll

    def poll(self: CalibrationStand, now: float) -> None:
        measure = self.tracker.measure
        belt = np.array([2.0 * self.treadmill.actuated.position, 0.0, 0.0])
        self.tracker.measure = lambda p, q: measure(p + belt, q)  # type: ignore[method-assign]
        original(self, now)
        self.tracker.measure = measure  # type: ignore[method-assign]

    monkeypatch.setattr(CalibrationStand, "poll", poll)
    with pytest.raises(LunarError, match="positive speed"):
        rigs.calibrate(replace(HilConfig(), calibration=replace(BRISK, platform_step=0.0)), silent)


def test_a_tracker_with_other_axes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def turn(stand: CalibrationStand) -> None:
        measure = stand.tracker.measure
        stand.tracker.measure = lambda p, q: measure(p[[1, 0, 2]], q)  # type: ignore[method-assign]

    with pytest.raises(LunarError, match="axes and units"):
        calibrated_with(monkeypatch, turn)


def test_an_estop_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pressed while the belt runs: it is told to stop, and does."""
    stands = spoiled(monkeypatch, silent)  # type: ignore[arg-type]
    original = CalibrationStand.poll

    def poll(self: CalibrationStand, now: float) -> None:
        if self.treadmill.actuated.speed > 0.1:
            self.platform.estop(True)
        original(self, now)

    monkeypatch.setattr(CalibrationStand, "poll", poll)
    closed: list[float] = []
    close = Emulator.close

    def stop(self: Emulator) -> None:
        if self is stands[0].treadmill:
            for i in range(1000):
                self.poll(100.0 + 1e-3 * i)
            closed.append(stands[0].treadmill.actuated.speed)
        close(self)

    monkeypatch.setattr(Emulator, "close", stop)
    with pytest.raises(LunarError, match="S01 platform reports its e-stop"):
        rigs.calibrate(replace(HilConfig(), calibration=replace(BRISK, platform_step=0.0)), silent)
    assert closed == [0.0]


def test_a_silent_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def mute(stand: CalibrationStand) -> None:
        monkeypatch.setattr(stand.tracker, "_put", lambda data: None)

    with pytest.raises(LunarError, match=r"cannot be calibrated: .*tracker.*nothing has moved"):
        calibrated_with(monkeypatch, mute)


# ---- a run with it ------------------------------------------------------------------------------------------------


def test_states_and_commands_are_corrected(measured: Calibration) -> None:
    calibration = replace(measured, load_cell_offset=2.0, belt_scale=1.25, tracker_origin=(1.0, 2.0, 3.0))
    assert calibration.true_states(MachineStates()) == MachineStates()
    platform = PlatformState(0.0, np.zeros(6), np.zeros(6))
    tracker = TrackerState(0.0, np.array([1.5, 2.0, 3.3]), np.array([1.0, 0.0, 0.0, 0.0]))
    reported = MachineStates(
        platform, TreadmillState(0.0, 0.8, 4.0), CounterweightState(0.0, 102.0, 1.0, 0.1, fault=1), tracker
    )
    true = calibration.true_states(reported)
    assert true.platform is platform and true.robot is None
    assert true.counterweight == CounterweightState(0.0, 100.0, 1.0, 0.1, fault=1)
    assert true.treadmill == TreadmillState(0.0, 1.0, 5.0)
    assert true.tracker is not None
    np.testing.assert_allclose(true.tracker.position, (0.5, 0.0, 0.3))
    robot = RobotCommand(0.0, np.zeros(12), 0.0, 0.0)
    commands = MachineCommands(
        PlatformCommand(0.0, np.zeros(6)), TreadmillCommand(0.0, 1.0), CounterweightCommand(0.0, 100.0, True), robot
    )
    sent = calibration.reported(commands)
    assert sent.counterweight == CounterweightCommand(0.0, 102.0, True)
    assert sent.treadmill.speed == pytest.approx(0.8)
    assert sent.platform is commands.platform and sent.robot is robot


def test_a_sick_rig_runs_like_a_sound_one(standing_policy: Path, tmp_path: Path) -> None:
    cfg = replace(
        SICK, policy=str(standing_policy), log=str(tmp_path / "log"), plan=RunPlan(0.4, 0.8, down=0.1),
        twin=Twin(timeout=20.0, deadline=10.0),
    )  # fmt: skip
    assert run(cfg, QUIET)["trips"] == 0
    log = read_log(tmp_path / "log")
    seen, truth = log["/tracker/pose"], log["/rig/base_pose"]
    np.testing.assert_allclose(seen.position[-20:].mean(axis=0), truth.position[-20:].mean(axis=0), atol=5e-3)
    assert log["/counterweight/state"].tension[-60:-30].mean() == pytest.approx(124.5, abs=6.0)
    kept = json.loads(log.attachments["calibration.json"])
    assert kept["load_cell_offset"] == pytest.approx(-4.0, abs=0.3)


@pytest.fixture
def real(standing_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HilConfig:
    """A config whose machines are on ports of their own; the loop must not be started."""

    def refuse(*_: object) -> None:
        raise AssertionError("the loop was started")

    monkeypatch.setattr(hil, "drive", refuse)
    cfg = HilConfig(
        policy=str(standing_policy), log=str(tmp_path / "log"), clock="wall",
        calibration=CalibrationConfig(file=str(tmp_path / "calibration.json")),
    )  # fmt: skip
    machines = {name: replace(getattr(cfg, name), port="/dev/ttyNOTHERE") for name in cfg.ports}
    return replace(cfg, **machines)  # type: ignore[arg-type]


def saved(cfg: HilConfig, **changes: Any) -> None:
    fit = Calibration(time.time(), dict(cfg.ports), figures(cfg))
    replace(fit, **changes).save(cfg.calibration.file)


def test_real_machines_are_not_touched_without_a_calibration(real: HilConfig) -> None:
    with pytest.raises(LunarError, match=r"there is no calibration .*lunar hil calibrate"):
        run(real, QUIET)


@pytest.mark.parametrize(("changes", "why"), [
    ({"time": time.time() - 12.1 * 3600}, "h old"),
    ({"time": time.time() + 3600.0}, "from the future"),
    ({"figures": {}}, "it was made for platform.travel None"),
])  # fmt: skip
def test_one_that_does_not_hold_is_refused(real: HilConfig, changes: dict[str, Any], why: str) -> None:
    saved(real, **changes)
    with pytest.raises(LunarError, match=why):
        run(real, QUIET)


def test_one_that_holds_lets_the_run_go_on(real: HilConfig) -> None:
    """To the next obstacle: the port."""
    saved(real, time=time.time() - 11.9 * 3600)
    with pytest.raises(LunarError, match="/dev/ttyNOTHERE"):
        run(real, QUIET)


def test_another_device_on_the_port_is_not_armed(real: HilConfig) -> None:
    """Ports are known by their USB serial number, and a drive by its own."""
    calibration = Calibration(time.time(), {"tracker": "USB 0403:6001 A1"}, figures(real))

    class Device:
        state: Any = None

    device: Any = Device()
    objection = arming_objection(calibration, real, {"tracker": device})
    assert objection() == "", "nothing heard yet: the supervisor says so itself"
    device.state = "something"
    assert "not '/dev/ttyNOTHERE'" in objection()


def test_an_objection_keeps_the_rig_from_being_armed(standing_policy: Path) -> None:
    rig = Rig(standing_policy).run(0.2)
    rig.loop.objection = lambda: "the calibration is 13 h old"
    done, text = rig.order("arm")
    assert not done and "13 h old" in text
    assert rig.loop.supervisor.state == "idle"
    assert not any("arm" in cycle.orders for cycle in rig.cycles)
    rig.loop.objection = str
    assert rig.order("arm") == (True, "armed")


def test_the_command_writes_the_file_and_says_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "calibrate", lambda cfg, show: Calibration(1.8e9, dict(cfg.ports), figures(cfg)))
    file = tmp_path / "calibration.json"
    hil.main(["calibrate", "--calibration.file", str(file), "--terrain.kind", "flat", "--twin.timeout", "20"])
    out = capsys.readouterr().out
    assert "load cell offset" in out and "depth in cm, plane" in out and str(file) in out.replace("\n", "")
    found = load(file)
    assert found.ground is not None and abs(found.ground["height_m"]) < 0.01
    cfg = parse(HilConfig, ["--terrain.kind", "flat"], "lunar hil", default="hil/virtual.yaml")
    assert found.misfit(figures(cfg), cfg.ports) == ""


@pytest.mark.wall_clock
def test_machines_are_calibrated_over_real_time_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of real hardware: every port is a pseudo-terminal that somebody else serves."""
    monkeypatch.setattr(start_check, "outside", lambda *_, **__: "")  # no rig is as slow as a busy computer
    cfg = HilConfig(calibration=replace(BRISK, platform_step=0.0, belt_travel=0.08, timeout=20.0))
    limits = dict.fromkeys([f"{name}_stale" for name in cfg.ports] + ["deadline", "command_silence"], 5.0)
    loose = {"travel_error": 9.0, "belt_astray": 9.0, "platform_astray": 9.0, "astray_time": 9.0, "tracker_jump": 9.0}
    safety = replace(cfg.safety, **limits, **loose)
    clock = HostClock(0.25, time.monotonic())
    patient = LineConfig(watchdog=5.0)
    quiet = replace(SICK, tracker=replace(SICK.tracker, noise=2e-4))  # short of time, not of light
    sick = replace(quiet, **{name: replace(getattr(quiet, name), line=patient) for name in SICK.ports})  # type: ignore[arg-type]
    with CalibrationStand(sick, 0) as stand:
        ports = {name: emulator.port for name, emulator in stand.emulators.items()}
        cfg = replace(cfg, safety=safety, **{n: replace(getattr(cfg, n), port=p) for n, p in ports.items()})  # type: ignore[arg-type]
        stand.on_wall(clock)
        with PollThread("stand", stand.poll, 0.001, clock):
            found = rigs.calibrate(cfg, silent, clock=clock)
    assert found.devices == ports
    assert found.load_cell_offset == pytest.approx(-4.0, abs=0.5)
    assert found.tracker_origin[0] == pytest.approx(0.12, abs=5e-3)
