"""What the machines' numbers mean on this rig today: offsets and scales that were measured, for whom, and when.

``lunar hil calibrate`` measures a ``Calibration``; a run refuses to arm without one that is fresh and fits its config,
and corrects states and commands by it. docs/panel.md says how a rig is calibrated.
"""

from __future__ import annotations

import functools
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import serial.tools.list_ports

from matrix_hil.link import SerialDevice
from matrix_hil.messages import (
    CounterweightCommand,
    CounterweightState,
    TrackerState,
    TreadmillCommand,
    TreadmillState,
)
from sim.errors import LunarError

SCHEMA = 1
_MACHINES = ("platform", "treadmill", "counterweight", "tracker", "robot")
_PORTS = ("port", "line", "modbus")  # how a machine is reached says nothing of what it measures
_CLOCKS_APART = 60.0  # s that the file may be from the future


@dataclass(frozen=True)
class CalibrationConfig:
    """Where the calibration is kept, how long it holds, and how it is measured."""

    file: str = "runs/hil/calibration.json"
    """File that ``lunar hil calibrate`` writes and a run with real machines reads."""
    max_age: float = 43200.0
    """s. An older calibration is refused."""
    load: float = 0.0
    """N that hang on the load cell while it is tared; 0 is the open hook."""
    marker_height: float = 0.01
    """m, tracked point of the marker above the belt."""
    average: float = 0.5
    """s over which a reading is averaged."""
    belt_travel: float = 0.3
    """m that the marker rides on the belt, each way, with the way to a stop."""
    belt_speed: float = 0.25
    """m/s."""
    platform_step: float = 0.03
    """m along each axis that the platform moves under the tracker's eyes; 0 leaves that out."""
    platform_speed: float = 0.05
    """m/s of homing and of those steps."""
    timeout: float = 20.0
    """s for each part."""


@dataclass(frozen=True)
class Calibration:
    """Measured corrections; what is true is computed from what is reported."""

    time: float
    """s since 1970."""
    devices: dict[str, str]
    """Which device it was, by name: USB serial number where there is one, else its port; ``emulated``."""
    figures: dict[str, Any]
    """Values of the config that the calibration holds for, by dotted name."""
    load_cell_offset: float = 0.0
    """N that the load cell reports without load."""
    belt_scale: float = 1.0
    """True metres per reported metre."""
    tracker_origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """m, what the tracker reports of the rig's origin."""
    clock_offset: dict[str, float] | None = None
    """s, host's clock minus the device's at the time, shortest transit included; for devices that have a clock."""
    ground: dict[str, Any] | None = None
    """How Unreal's depth is read; None where it was not looked at."""
    checks: dict[str, float] | None = None
    """What was compared besides, by name, in SI units."""

    def document(self) -> str:
        """As JSON."""
        head = {"schema": SCHEMA, "created": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.time))}
        return json.dumps(head | asdict(self), indent=2) + "\n"

    def save(self, file: str | Path) -> None:
        """Write as JSON, making the folder."""
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.document())

    def misfit(self, figures: Mapping[str, Any], devices: Mapping[str, str]) -> str:
        """Why it does not fit a rig of these ``figures`` and ``devices``; empty when it does."""
        for name, device in devices.items():
            if self.devices.get(name) != device:
                return f"it was made with {name} '{self.devices.get(name)}', not '{device}'"
        for name, value in figures.items():
            if self.figures.get(name) != value:
                return f"it was made for {name} {self.figures.get(name)}, the config says {value}"
        return ""

    def stale(self, now: float, max_age: float) -> str:
        """Why it does not hold at ``now``, s since 1970; empty when it does."""
        age = now - self.time
        if not age >= -_CLOCKS_APART:
            return "it is from the future: a clock was changed"
        return "" if age <= max_age else f"it is {age / 3600:.1f} h old, calibration.max_age is {max_age / 3600:.1f} h"


def load(file: str | Path) -> Calibration:
    """Read a calibration.

    Raises:
        LunarError: no such file, or it is none.
    """
    try:
        document = json.loads(Path(file).read_text())
        if document.get("schema") != SCHEMA:
            raise ValueError(f"schema {document.get('schema')} instead of {SCHEMA}")
        values = {f.name: document[f.name] for f in fields(Calibration)}
        values["tracker_origin"] = tuple(float(v) for v in values["tracker_origin"])
        found = Calibration(**values)
        numbers = (found.time, found.load_cell_offset, found.belt_scale, *found.tracker_origin)
        if len(found.tracker_origin) != 3 or not all(math.isfinite(v) for v in numbers) or not found.belt_scale > 0.0:
            raise ValueError("a value is no finite number")
        return found
    except OSError as error:
        raise LunarError(
            f"there is no calibration {file} ({error.strerror}); make one by 'lunar hil calibrate' with the same config"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LunarError(f"{file} is not a calibration ({error}); make one with 'lunar hil calibrate'") from None


def figures(cfg: Any) -> dict[str, Any]:
    """What of a HIL config a calibration depends on, by dotted name."""
    values: dict[str, Any] = {}
    for machine in _MACHINES:
        own = {k: v for k, v in asdict(getattr(cfg, machine)).items() if k not in _PORTS}
        values |= {f"{machine}.{key}": value for key, value in own.items()}
    values["calibration.marker_height"] = cfg.calibration.marker_height
    return json.loads(json.dumps(values))  # as a file gives it back


@functools.cache  # listing ports takes milliseconds
def device_id(port: str) -> str:
    """What tells one device from another: the serial number of its USB adapter, or the port's name."""
    for found in serial.tools.list_ports.comports():
        if found.serial_number and os.path.realpath(found.device) == os.path.realpath(port):
            return f"USB {found.vid:04x}:{found.pid:04x} {found.serial_number}"
    return port


def identity(device: SerialDevice, port: str) -> str:
    """What a calibration knows a device by; an emulated one by the name of its port."""
    own = getattr(device, "identity", "")
    return f"{device_id(port)}, {own}" if own else device_id(port)


def arming_objection(calibration: Calibration, cfg: Any, devices: Mapping[str, SerialDevice]) -> Callable[[], str]:
    """Why a rig must not be armed now: its calibration has aged, or another device answers than was calibrated.

    A device of which nothing has been heard is left to the supervisor, which objects to it by itself.
    """

    def objection() -> str:
        heard = {name: identity(d, cfg.ports[name]) for name, d in devices.items() if d.state is not None}
        why = calibration.misfit({}, heard) or calibration.stale(time.time(), cfg.calibration.max_age)
        return f"calibration {cfg.calibration.file}: {why}; run 'lunar hil calibrate'" if why else ""

    return objection


class CorrectedDevice:
    """A driver whose states and commands are in true units. What the loop needs of a driver, nothing else."""

    def __init__(self, device: SerialDevice, state: Callable[[Any], Any], command: Callable[[Any], Any]) -> None:
        self._device = device
        self._state = state
        self._command = command

    @property
    def state(self) -> Any:
        """The newest state; None before the first."""
        state = self._device.state
        return None if state is None else self._state(state)

    def send(self, command: Any, expires: float = math.inf) -> None:
        """As ``SerialDevice.send``."""
        self._device.send(self._command(command), expires)

    def reset(self) -> None:
        """As ``SerialDevice.reset``."""
        self._device.reset()


def corrected(devices: Mapping[str, SerialDevice], calibration: Calibration) -> dict[str, Any]:
    """The same devices in true units."""
    offset, scale = calibration.load_cell_offset, calibration.belt_scale
    origin = np.array(calibration.tracker_origin)

    def rope(state: CounterweightState) -> CounterweightState:
        return replace(state, tension=state.tension - offset)

    def pull(command: CounterweightCommand) -> CounterweightCommand:
        return replace(command, tension=command.tension + offset)

    def belt(state: TreadmillState) -> TreadmillState:
        return replace(state, speed=state.speed * scale, position=state.position * scale)

    def carry(command: TreadmillCommand) -> TreadmillCommand:
        return replace(command, speed=command.speed / scale)

    def pose(state: TrackerState) -> TrackerState:
        return replace(state, position=state.position - origin)

    def same(message: Any) -> Any:
        return message

    ways: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
        "counterweight": (rope, pull),
        "treadmill": (belt, carry),
        "tracker": (pose, same),
    }
    return {name: CorrectedDevice(device, *ways[name]) if name in ways else device for name, device in devices.items()}
