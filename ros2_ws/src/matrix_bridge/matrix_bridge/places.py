"""Where the virtual rig's serial lines are found: a folder of links, one per machine, private to the user.

A rig that was killed leaves its links behind, and their pseudo-terminals' numbers go to other programs. A rig therefore
holds a lock on the folder, which ends with its process; links without one lead nowhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from matrix_hil.config import EMULATED, HilConfig
from matrix_hil.run.start_check import check_pace
from matrix_hil.run.traverse import along
from sim.config import parse
from sim.errors import LunarError

_OWNER, _READY = ".owner", ".ready"
"""Files that a rig locks from its start to its end, and once all links are its own."""
PORT_TIMEOUT = 20.0  # s that a driver waits for the virtual rig to have made its lines


def rig_config(file: str) -> HilConfig:
    """The rig as ``lunar hil --config`` reads it; an empty name is configs/hil/virtual.yaml. Where it names a plan of a
    traverse, with the plan's ground, start and heading.

    Raises:
        LunarError: it, or its plan, cannot be read, or the plan's way turns.
    """
    return along(parse(HilConfig, ["--config", file] if file else [], prog="config", default="hil/virtual.yaml"))


def rig_setup(file: str, rig: str) -> HilConfig:
    """As ``rig_config``, for a ``virtual`` rig with every machine emulated, for a ``serial`` one with none.

    Raises:
        LunarError: a machine of a serial rig has no port, or the rig a pace that real machines do not keep.
    """
    cfg = rig_config(file)
    if rig == "virtual":
        return replace(cfg, **{name: replace(getattr(cfg, name), port=EMULATED) for name in cfg.ports})
    check_pace(cfg)
    for name, port in cfg.ports.items():
        if port == EMULATED:
            raise LunarError(f"{name}.port is 'emulated'; name its port in the configuration, or set rig to virtual")
    return cfg


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


@contextlib.contextmanager
def lines(ports: Mapping[str, str]) -> Iterator[None]:
    """Inside, the links to ``ports`` (paths by machine) are found by ``port_of``.

    Raises:
        LunarError: another rig has its lines there.
    """
    folder = line_folder()
    with open(folder / _OWNER, "w") as owner, open(folder / _READY, "w") as ready, contextlib.ExitStack() as stack:
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LunarError(f"{folder} is another virtual rig's; stop it, or choose another ROS_DOMAIN_ID") from None
        for name, port in ports.items():
            link = folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(port)
            stack.callback(link.unlink, missing_ok=True)
        fcntl.flock(ready, fcntl.LOCK_EX)
        yield


def port_of(machine: str, cfg: HilConfig) -> str:
    """What pyserial shall open for a machine.

    Raises:
        LunarError: the virtual rig does not appear.
    """
    if cfg.ports[machine] != EMULATED:
        return cfg.ports[machine]
    link = line_folder() / machine
    deadline = time.monotonic() + PORT_TIMEOUT
    while not (_held(link.with_name(_READY)) and link.exists()):
        if time.monotonic() > deadline:
            raise LunarError(f"{link} does not exist after {PORT_TIMEOUT:g} s; start virtual_rig_node")
        time.sleep(0.05)
    return str(link)


def _held(file: Path) -> bool:
    """Whether some living process has locked ``file``."""
    try:
        with open(file) as probe:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
