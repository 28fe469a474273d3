"""Drivers of the machines that a configuration names, and the calibration that was kept of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from matrix_hil.config import EMULATED, HilConfig
from matrix_hil.link import DEVICES, SerialDevice
from matrix_hil.link.calibration import Calibration, figures, load
from matrix_hil.link.go2 import Go2Robot
from matrix_hil.link.modbus import ModbusTreadmill
from sim.errors import LunarError


def driver(cfg: HilConfig, name: str, port: str) -> SerialDevice[Any, Any]:
    """Driver of the device ``name`` on ``port``, in the protocol that its config says; not connected yet."""
    if name == "treadmill" and cfg.treadmill.protocol == "modbus":
        return ModbusTreadmill(port, cfg.treadmill.modbus)
    if name == "robot" and cfg.robot.protocol == "go2":
        return Go2Robot(port, cfg.robot.go2)
    return SerialDevice(DEVICES[name], port)


@contextlib.contextmanager
def connected(cfg: HilConfig, ports: Mapping[str, str]) -> Iterator[dict[str, SerialDevice]]:
    """Inside, all drivers are connected: to the config's ports, emulated devices to their ``ports``.

    On the way out every machine gets its safe command before anything waits: for bytes to leave, or for a log.
    """
    drivers = {name: driver(cfg, name, ports[name] if port == EMULATED else port) for name, port in cfg.ports.items()}
    try:
        for device in drivers.values():
            device.connect()
        yield drivers
    finally:
        leave_safe(drivers.values())


def leave_safe(devices: Iterable[SerialDevice]) -> None:
    """Write every machine's safe command, then wait until all have left, and close the ports.

    What goes wrong with one, a second Ctrl-C too, is raised once all the others have been seen to.
    """
    errors: list[BaseException] = []
    # a Modbus line must be waited for between two requests
    ordered = sorted(devices, key=lambda device: isinstance(device, ModbusTreadmill))
    for device in ordered:
        device.tap = None  # a slow disk is not waited for
    for step in (SerialDevice.leave_safe, SerialDevice.disconnect):
        for device in ordered:
            try:
                step(device)
            except BaseException as error:
                errors.append(error)
    if errors:
        raise errors[0]


def kept_calibration(cfg: HilConfig) -> Calibration:
    """The calibration in the rig's file.

    Raises:
        LunarError: there is none that is fresh and fits.
    """
    found = load(cfg.calibration.file)
    if why := found.misfit(figures(cfg), {}) or found.stale(time.time(), cfg.calibration.max_age):
        raise LunarError(f"calibration {cfg.calibration.file}: {why}; run 'lunar hil calibrate' with this config")
    return found
