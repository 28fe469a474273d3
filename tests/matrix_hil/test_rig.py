"""The one assembly of the rig: limits hold on the wire, and whatever ends a run, machines are safe first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matrix_hil.config import CalibrationConfig, HilConfig, RunPlan, Treadmill, Twin
from matrix_hil.control.sync import Sync
from matrix_hil.link import SerialDevice
from matrix_hil.link.calibration import Calibration
from matrix_hil.messages import MachineCommands, TreadmillCommand
from matrix_hil.rig import Rig, calibrate, exact_calibration, open_rig
from matrix_hil.run.clocks import drive
from matrix_hil.safety.limits import SafetyConfig
from matrix_hil.safety.supervisor import Supervisor
from matrix_hil.virtual.rig import VirtualMachines
from sim.errors import LunarError
from sim.terrain.generators import TerrainConfig
from tests.matrix_hil.safety.examples import DT, good_commands, good_states

FLAT = TerrainConfig(kind="flat")
PLAN = RunPlan(duration=0.7, stand=0.1, down=0.1)


def config(policy: Path, **changes: Any) -> HilConfig:
    """A rig on flat ground over which nobody looks."""
    safety = replace(SafetyConfig(), ground_stale=1e9, belt_speed=1.0, drift=9.0, tilt=9.0, height_min=-9.0)
    return replace(HilConfig(policy=str(policy), plan=PLAN, terrain=FLAT, safety=safety), **changes)


def no_ground(world: np.ndarray, velocity: np.ndarray, now: float) -> None:
    """Unreal shows nothing."""


def cycles(rig: Rig, before: Callable[[float], None] = lambda now: None) -> None:
    with rig.clock() as clock:
        drive(rig.loop, clock, rig.ground, before, lambda *_: None)


# ---- what the supervisor's limits see is what goes onto the wire -----------------------------------------------------


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25])
def test_belt_limits_hold_on_the_wire_and_on_the_belt(
    standing_policy: Path, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    """Somebody wants the belt to run faster than it may, and its drive does not count in true metres."""
    original = Sync.step

    def step(self: Sync, *arguments: Any) -> Any:
        wanted, world, info = original(self, *arguments)
        speed = 1.1 if self.running else 0.0
        return replace(wanted, treadmill=TreadmillCommand(wanted.treadmill.time, speed)), world, info

    monkeypatch.setattr(Sync, "step", step)
    cfg = config(standing_policy, treadmill=Treadmill(scale=scale))
    commanded, true = [0.0], [0.0]
    with open_rig(cfg, ground=no_ground, calibration=exact_calibration(cfg)) as rig:
        machines = rig.machines
        assert isinstance(machines, VirtualMachines)

        def look(now: float) -> None:
            if machines.treadmill.last_command is not None:
                commanded.append(machines.treadmill.last_command.speed)
            true.append(machines.treadmill.actuated.speed)

        machines.watch = look
        cycles(rig)
        assert rig.loop.last is not None and rig.loop.last.supervisor.reason == ""
    assert max(commanded) <= 1.0 + 1e-6 and max(true) <= 1.0 + 0.01
    assert max(max(commanded), max(true)) > 0.95, "the belt was to come to its limit"
    steps = np.diff(commanded)
    assert np.abs(steps).max() <= cfg.safety.belt_acceleration * DT + 1e-6


@pytest.mark.parametrize("scale", [0.01, 100.0, 1e-9])
@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
def test_no_calibration_brings_a_command_over_a_limit(scale: float, offset: float) -> None:
    """Also one that no file could have brought in."""
    cfg = SafetyConfig()
    supervisor = Supervisor(cfg, Calibration(0.0, {}, {}, load_cell_offset=offset, belt_scale=scale))
    for k in range(400):
        now = 10.0 + k * DT
        wanted = good_commands(now)
        supervisor.step(good_states(now), replace(wanted, treadmill=TreadmillCommand(now, 2.9)), now)
        supervisor.arm(now)
        supervisor.run(now)
        assert abs(supervisor.wire.treadmill.speed) <= cfg.belt_speed
        assert 0.0 <= supervisor.wire.counterweight.tension <= cfg.tension_max


def test_what_passed_the_supervisor_is_what_the_driver_gets(standing_policy: Path) -> None:
    """Nothing changes a command between the two, not even a bit."""
    cfg = config(standing_policy, treadmill=Treadmill(scale=0.9))
    wire: list[MachineCommands] = []
    queued: list[Any] = []
    with open_rig(cfg, ground=no_ground, calibration=exact_calibration(cfg)) as rig:
        for name, device in rig.drivers.items():
            take = device.send

            def send(command: Any, name: str = name, take: Any = take) -> None:
                queued.append((name, command))
                take(command)

            device.send = send  # type: ignore[method-assign]
        rig.takers.append(lambda cycle: wire.append(rig.loop.supervisor.wire))
        cycles(rig)
    assert len(wire) > 100
    passed = {id(getattr(w, name)) for w in wire for name in ("platform", "treadmill", "counterweight", "robot")}
    assert queued and all(id(command) in passed for _, command in queued)


# ---- whatever ends a run, the machines are safe before anything else -------------------------------------------------


class Left:
    """A log whose closing takes as long as a disk may need: what the machines have been told by then is noted."""

    def __init__(self) -> None:
        self.machines: Any = None
        self.seen: dict[str, Any] = {}
        self.plugged: dict[str, bool] = {}
        self.drivers: dict[str, SerialDevice] = {}

    @contextlib.contextmanager
    def record(self, kept: dict[str, bytes]) -> Iterator[Any]:
        assert {"config.json", "card.json", "calibration.json"} <= set(kept)
        try:
            yield self
        finally:
            for _ in range(20):
                self.machines.poll((self.machines._time or 0.0) + 0.001)
            self.seen = {name: e.last_command for name, e in self.machines.emulators.items()}
            self.plugged = {name: d.stats.connected for name, d in self.drivers.items()}

    def write(self, *_: Any) -> None:
        """Take nothing."""

    write_states = write_commands = write

    def assert_safe(self) -> None:
        assert self.seen["treadmill"].speed == 0.0
        assert self.seen["counterweight"].brake
        assert self.seen["robot"].mode == "damp"
        assert not any(self.plugged.values()), "what was written has left, and the ports are closed"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_in_a_cycle_leaves_machines_safe_before_the_log_is_closed(
    standing_policy: Path, error: type[BaseException]
) -> None:
    left = Left()

    def fail(now: float) -> None:
        if now > 0.5:
            assert left.machines.robot.actuated.mode == "run"
            raise error

    cfg = config(standing_policy)
    with pytest.raises(error):
        with open_rig(cfg, ground=no_ground, record=left.record, calibration=exact_calibration(cfg)) as rig:
            left.machines, left.drivers = rig.machines, rig.drivers
            cycles(rig, fail)
    left.assert_safe()


def test_in_wall_time_a_log_with_a_backlog_does_not_hold_up_the_safe_commands(standing_policy: Path) -> None:
    """Its writer hangs; the machines are in other hands, and have been told by the time that somebody waits for it."""
    left = Left()
    cfg = config(standing_policy, clock="wall")
    with VirtualMachines(cfg, 0) as machines:
        left.machines = machines
        with open_rig(
            cfg, ground=no_ground, record=left.record, calibration=exact_calibration(cfg), ports=machines.ports
        ) as rig:
            left.drivers = rig.drivers
            assert rig.log is not None

            def hang() -> None:
                """On a disk that comes back once the machines are safe."""
                while any(device.stats.connected for device in rig.drivers.values()):
                    machines.poll((machines._time or 0.0) + 0.001)

            rig.log._do(hang)
    left.assert_safe()


def test_one_machine_that_cannot_be_made_safe_does_not_keep_the_others(
    standing_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = Left()
    original = SerialDevice.leave_safe

    def leave_safe(self: SerialDevice) -> None:
        if self.spec.name == "platform":
            raise KeyboardInterrupt  # the operator's second one
        original(self)

    cfg = config(standing_policy)
    with pytest.raises(KeyboardInterrupt):
        with open_rig(cfg, ground=no_ground, record=left.record, calibration=exact_calibration(cfg)) as rig:
            left.machines, left.drivers = rig.machines, rig.drivers
            monkeypatch.setattr(SerialDevice, "leave_safe", leave_safe)
    left.plugged.pop("platform")
    left.assert_safe()


# ---- no path to a real machine without a calibration -----------------------------------------------------------------


@pytest.fixture
def real(standing_policy: Path, tmp_path: Path) -> Iterator[HilConfig]:
    """A rig whose machines are on ports of their own."""
    calibration = CalibrationConfig(file=str(tmp_path / "none.json"))
    cfg = config(
        standing_policy, clock="wall", safety=SafetyConfig(), calibration=calibration, twin=Twin(host="127.0.0.1")
    )
    with VirtualMachines(cfg, 0) as machines:
        ports: dict[str, Any] = {n: replace(getattr(cfg, n), port=port) for n, port in machines.ports.items()}
        yield replace(cfg, **ports)


def test_a_rig_may_be_opened_without_a_calibration_but_not_armed(real: HilConfig) -> None:
    with pytest.raises(LunarError, match="there is no calibration"):
        with open_rig(real, ground=no_ground):
            pass
    with open_rig(real, ground=no_ground, operated=True, refuse=False) as rig:
        rig.loop.supervisor.blocked = ""
        for order, text in ((rig.loop.arm, "there is no calibration"), (rig.loop.run, "the rig is in 'idle'")):
            done, why = order(0.0)
            assert not done and text in why
        assert rig.loop.supervisor.state == "idle"


def test_what_is_known_of_an_emulated_rig_calibrates_no_real_one(real: HilConfig) -> None:
    with pytest.raises(LunarError, match="there is no calibration"):
        with open_rig(real, ground=no_ground, calibration=exact_calibration(real)):
            pass


def test_a_mixed_rig_is_not_calibrated_unasked(real: HilConfig) -> None:
    mixed = replace(real, tracker=replace(real.tracker, port="emulated"))
    with pytest.raises(LunarError, match="tracker would be emulated beside real machines"):
        calibrate(mixed, lambda text: None)
