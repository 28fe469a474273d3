"""Where the virtual rig's serial lines are found: a folder of links, one per machine, private to the user."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from matrix_hil.hil import HilConfig
from matrix_hil.virtual import EMULATED
from sim.config import parse
from sim.errors import LunarError

PORT_TIMEOUT = 20.0  # s that a driver waits for the virtual rig to have made its lines


def rig_config(file: str) -> HilConfig:
    """The rig as ``lunar hil --config`` reads it; an empty name is configs/hil/virtual.yaml."""
    return parse(HilConfig, ["--config", file] if file else [], prog="config", default="hil/virtual.yaml")


def line_folder() -> Path:
    """The folder for this user and ROS domain, made if absent.

    Raises:
        LunarError: it belongs to somebody else, who could lead commands astray.
    """
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(base, f"lunar-rig-{os.getuid()}-{os.environ.get('ROS_DOMAIN_ID', '0')}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise LunarError(f"{folder} is not private to this user; remove it")
    return folder


def port_of(machine: str, rig: str, config: HilConfig) -> str:
    """What pyserial shall open for a machine of a ``virtual`` or ``serial`` rig.

    Raises:
        LunarError: no port is configured, or the virtual rig does not appear.
    """
    if rig == "serial":
        port = config.ports[machine]
        if port == EMULATED:
            raise LunarError(f"{machine}.port is 'emulated'; name its port in the configuration, or set rig to virtual")
        return port
    link = line_folder() / machine
    deadline = time.monotonic() + PORT_TIMEOUT
    while not link.exists():  # False also while it leads to a line that is gone
        if time.monotonic() > deadline:
            raise LunarError(f"{link} does not exist after {PORT_TIMEOUT:g} s; start virtual_rig_node")
        time.sleep(0.05)
    return str(link)
