"""Where the virtual rig's serial lines are found: a folder of links, one per machine, private to the user.

A rig that was killed leaves its links behind, and their pseudo-terminals' numbers go to other programs. A rig therefore
holds a lock on the folder, which ends with its process; links without one lead nowhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from matrix_hil.config import EMULATED, HilConfig
from matrix_hil.run.start_check import check_pace
from matrix_hil.run.way import along
from sim.config import parse
from sim.errors import LunarError

_OWNER, _READY = ".owner", ".ready"
"""Files that a rig locks from its start to its end, and once all links are its own."""
PORT_TIMEOUT = 20.0  # s that a driver waits for the virtual rig to have made its lines
FULL_PACE_CORES = 4
"""On fewer the emulated rig's nodes and physics do not keep real time: docs/measured/rig.md."""
SLOW_PACE = 0.5
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container, as cgroup v2 says it; absent on a bare computer."""


def emulated_pace(cores: int) -> float:
    """s of an emulated rig per s of the wall where its configuration says none.

    Args:
        cores: that the rig's processes may use.
    """
    return 1.0 if cores >= FULL_PACE_CORES else SLOW_PACE


def usable_cores() -> int:
    """Cores that this process may use, by its affinity and by its container's quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        return int(min(cores, quota_cores(CPU_QUOTA.read_text())))
    except OSError:
        return cores


def quota_cores(text: str) -> float:
    """Whole cores, at least one, that ``cpu.max`` of a cgroup grants: ``QUOTA PERIOD`` in us, or ``max PERIOD``."""
    quota, period = text.split()
    return math.inf if quota == "max" else max(1, int(quota) // int(period))


def rig_setup(file: str, rig: str) -> HilConfig:
    """The rig as ``lunar hil --config`` reads it; an empty name is configs/hil/virtual.yaml. Where it names a plan of a
    traverse, with the plan's ground, start and heading.

    A ``virtual`` rig has every machine emulated, and on few cores a slow pace unless the file says one. A ``serial``
    one has no machine emulated and lives in real time.

    Raises:
        LunarError: it, or its plan, cannot be read, the plan's way turns, the pace is none or not that of real
            machines, or one of a serial rig has no port.
    """
    if rig not in ("virtual", "serial"):
        raise LunarError(f"rig is '{rig}'; it must be virtual or serial")
    unless = {"pace": emulated_pace(usable_cores())} if rig == "virtual" else {}
    argv = ["--config", file] if file else []
    cfg = along(parse(HilConfig, argv, prog="config", default="hil/virtual.yaml", unless=unless))
    if rig == "virtual":
        cfg = replace(cfg, **{name: replace(getattr(cfg, name), port=EMULATED) for name in cfg.ports})
    check_pace(cfg)
    for name, port in cfg.ports.items():
        if rig == "serial" and port == EMULATED:
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
def lines(ports: Mapping[str, str], pace: float) -> Iterator[None]:
    """Inside, the links to ``ports`` (paths by machine) of a rig that lives at ``pace`` are found by ``port_of``.

    Raises:
        LunarError: another rig has its lines there.
    """
    folder = line_folder()
    with open(folder / _OWNER, "w") as owner, contextlib.ExitStack() as stack:
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LunarError(f"{folder} is another virtual rig's; stop it, or choose another ROS_DOMAIN_ID") from None
        for name, port in ports.items():
            link = folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(port)
            stack.callback(link.unlink, missing_ok=True)
        ready = stack.enter_context(open(folder / _READY, "w"))
        ready.write(repr(pace))
        ready.flush()
        fcntl.flock(ready, fcntl.LOCK_EX)
        yield


def port_of(machine: str, cfg: HilConfig) -> str:
    """What pyserial shall open for a machine.

    Raises:
        LunarError: the virtual rig does not appear, or lives at another pace.
    """
    if cfg.ports[machine] != EMULATED:
        return cfg.ports[machine]
    link = line_folder() / machine
    deadline = time.monotonic() + PORT_TIMEOUT
    while _pace_of(link.with_name(_READY)) is None or not link.exists():
        if time.monotonic() > deadline:
            raise LunarError(f"{link} does not exist after {PORT_TIMEOUT:g} s; start virtual_rig_node")
        time.sleep(0.05)
    check_same_pace(cfg)
    return str(link)


def check_same_pace(cfg: HilConfig) -> None:
    """For who lives by the clock of a virtual rig that may be on this computer.

    Raises:
        LunarError: it is, and lives at another pace than ``cfg``.
    """
    if EMULATED not in cfg.ports.values():
        return
    pace = _pace_of(line_folder() / _READY)
    if pace is not None and pace != cfg.pace:
        raise LunarError(
            f"the virtual rig lives at pace {pace:g} and this node at {cfg.pace:g}; give both one configuration with a"
            " 'pace'"
        )


def _pace_of(ready: Path) -> float | None:
    """At which pace the rig lives whose lines these are; None while no living process has locked the file."""
    try:
        with open(ready) as probe:
            try:
                fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return float(probe.read())
    except FileNotFoundError:
        pass
    return None
