"""What the machines' numbers mean on this rig today: offsets and scales that were measured, for whom, and when.

``lunar hil calibrate`` measures a ``Calibration``; no rig is armed without one that is fresh and fits its config. It
turns what machines report into true units, and commands into the units that machines count in. docs/panel.md says how a
rig is calibrated.
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

from matrix_hil.link import DEVICES
from matrix_hil.messages import MachineCommands, MachineStates
from sim.errors import LunarError
from sim.output import write_whole

SCHEMA = 1
_PORTS = ("port", "line", "modbus")  # how a machine is reached says nothing of what it measures
_CLOCKS_APART = 60.0  # s that the file may be from the future

BELT_SCALES = (0.8, 1.25)
"""True metres per reported one that can be; outside, something is the wrong way round or in another unit."""
LARGEST_ZERO = 50.0
"""N that a load cell may report without load; a harness weighs less."""
FARTHEST_ORIGIN = 0.5
"""m, along each axis, that a tracker may report of the rig's origin."""


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
        """Write as JSON, making the folder. Raises LunarError where it cannot be written; what was there stays."""
        write_whole({Path(file): self.document()})

    def true_states(self, states: MachineStates) -> MachineStates:
        """What is so, from what the machines report."""
        rope, belt, tracker = states.counterweight, states.treadmill, states.tracker
        if rope is not None:
            rope = replace(rope, tension=rope.tension - self.load_cell_offset)
        if belt is not None:
            belt = replace(belt, speed=belt.speed * self.belt_scale, position=belt.position * self.belt_scale)
        if tracker is not None:
            tracker = replace(tracker, position=tracker.position - np.array(self.tracker_origin))
        return replace(states, counterweight=rope, treadmill=belt, tracker=tracker)

    def reported(self, commands: MachineCommands) -> MachineCommands:
        """What the machines must be told, in the units that they count in, for ``commands`` in true units."""
        belt, rope = commands.treadmill, commands.counterweight
        return replace(
            commands,
            treadmill=replace(belt, speed=belt.speed / self.belt_scale),
            counterweight=replace(rope, tension=rope.tension + self.load_cell_offset),
        )

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


SOUND = Calibration(0.0, {}, {})
"""Machines report what is so."""


def load(file: str | Path) -> Calibration:
    """Read a calibration.

    Raises:
        LunarError: no such file, it is no calibration, or a value of it cannot be of any rig.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise LunarError(
            f"there is no calibration {file} ({error.strerror}); make one by 'lunar hil calibrate' with the same config"
        ) from None
    except ValueError as error:
        raise LunarError(f"{file} is not a calibration ({error}); make one with 'lunar hil calibrate'") from None
    return from_document(text, file)


def from_document(text: str, file: str | Path) -> Calibration:
    """The calibration that ``document`` wrote, found in ``file``. Raises LunarError as ``load``."""
    try:
        document = json.loads(text)
        if document.get("schema") != SCHEMA:
            raise ValueError(f"schema {document.get('schema')} instead of {SCHEMA}")
        values = {f.name: document[f.name] for f in fields(Calibration)}
        values["tracker_origin"] = tuple(float(v) for v in values["tracker_origin"])
        found = Calibration(**values)
        numbers = (found.time, found.load_cell_offset, found.belt_scale, *found.tracker_origin)
        if len(found.tracker_origin) != 3 or not all(math.isfinite(v) for v in numbers):
            raise ValueError("a value is no finite number")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LunarError(f"{file} is not a calibration ({error}); make one with 'lunar hil calibrate'") from None
    for name, value, low, high in (
        ("belt_scale", found.belt_scale, *BELT_SCALES),
        ("load_cell_offset", found.load_cell_offset, -LARGEST_ZERO, LARGEST_ZERO),
        *(("tracker_origin", v, -FARTHEST_ORIGIN, FARTHEST_ORIGIN) for v in found.tracker_origin),
    ):
        if not low <= value <= high:
            raise LunarError(
                f"{file} is not a calibration: {name} is {value:g}, which no rig has (it must lie within {low:g} to"
                f" {high:g}); make one with 'lunar hil calibrate'"
            )
    return found


def figures(cfg: Any) -> dict[str, Any]:
    """What of a HIL config a calibration depends on, by dotted name."""
    values: dict[str, Any] = {}
    for machine in DEVICES:
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


def identity(device: Any, port: str) -> str | None:
    """What a calibration knows a driver's device by: the name of its port for an emulated one; None if it is not known
    here, where another process drives it."""
    own = getattr(device, "identity", "")
    if own is None:
        return None
    return f"{device_id(port)}, {own}" if own else device_id(port)


def misfitting(calibration: Calibration, ports: Mapping[str, str], devices: Mapping[str, Any]) -> str:
    """Whether another device answers than was calibrated, and which; empty when none does.

    A device of which nothing has been heard is left to the supervisor, which objects to it by itself.
    """
    heard = {name: identity(device, ports[name]) for name, device in devices.items() if device.state is not None}
    return calibration.misfit({}, {name: known for name, known in heard.items() if known is not None})


def arming_objection(calibration: Calibration, cfg: Any, devices: Mapping[str, Any]) -> Callable[[], str]:
    """Why a rig must not be armed now: its calibration has aged, or another device answers than was calibrated."""

    def objection() -> str:
        why = misfitting(calibration, cfg.ports, devices) or calibration.stale(time.time(), cfg.calibration.max_age)
        return f"calibration {cfg.calibration.file}: {why}; run 'lunar hil calibrate'" if why else ""

    return objection
