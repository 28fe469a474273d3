"""Starts a table of ROS 2 processes where ROS 2 launch is not installed, and stops all of them together.

The runner knows processes and their readiness only, so that it needs no ROS itself: a lifecycle node brings itself up
by its parameter ``autostart``, reports that it is active by ``policy.runtime.notify``, and ends when the runner is
killed (``policy.runtime.starter``).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matrix_hil.bringup.tables import ARGUMENTS, SECURITY, Process
from policy.runtime.starter import ENDS, FOREIGN, STARTER
from sim.config import ROOT
from sim.errors import LunarError

WORKSPACE = ROOT / "ros2_ws" / "install"
# s that a process gets after each signal: SIGINT lets a node damp its robot, SIGKILL is the last resort.
STOP_SIGNALS = ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
_POLL = 0.02  # s
_NOT_BUILT = "does not exist; build it with 'python ros2_ws/build.py'"


def ros_environment(workspace: Path = WORKSPACE, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment in which the workspace's nodes and messages are found, as its ``setup.bash`` would make it.

    Args:
        workspace: what ``ros2_ws/build.py`` installs.
        base: variables to start from; this process's when absent.

    Raises:
        LunarError: the workspace has not been built.
    """
    env = dict(os.environ if base is None else base)
    if not (workspace / "share").is_dir():
        raise LunarError(f"{workspace} {_NOT_BUILT}")
    # Every interpreter of the wheels' environment starts again with the library path of the wheels, unless this is set.
    env.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    modules = [*workspace.glob("lib/python3*/site-packages"), *workspace.glob("local/lib/python3*/dist-packages")]
    env.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    for name, paths in (
        ("PYTHONPATH", modules),
        ("LD_LIBRARY_PATH", [workspace / "lib"]),
        ("AMENT_PREFIX_PATH", [workspace]),
    ):
        first = [str(path) for path in paths]
        rest = [p for p in env.get(name, "").split(os.pathsep) if p and p not in first]
        env[name] = os.pathsep.join([*first, *rest])
    env.setdefault("PYTHONUNBUFFERED", "1")
    # Nobody else on the network finds the nodes, unless the user says so.
    if "ROS_AUTOMATIC_DISCOVERY_RANGE" not in env:
        env["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        if env.get("ROS_DISTRO") == "humble":  # which knows that variable not yet
            env.setdefault("ROS_LOCALHOST_ONLY", "1")
    return env


def command_line(process: Process, arguments: Mapping[str, str], workspace: Path = WORKSPACE) -> list[str]:
    """What starts ``process``: its executable and ROS arguments.

    Args:
        process: a row of a table whose program is installed.
        arguments: values by name; ``namespace`` is the absolute one, the root when absent.

    Raises:
        LunarError: the executable or the parameter file is absent.
    """
    namespace = arguments.get("namespace") or "/"
    executable = find_executable(process, workspace)
    line = [executable or _built(workspace / "lib" / process.package / process.executable)]
    line += ["--ros-args", "-r", f"__node:={process.name}", "-r", f"__ns:={namespace}"]
    for topic, name in (process.remap or {}).items():
        line += ["-r", f"{topic}:={name}"]
    if process.enclave:
        line += ["--enclave", process.enclave]
    if process.parameters:
        line += ["--params-file", _built(workspace / "share/lunar_bringup/config" / process.parameters)]
    for name in process.arguments:
        if value := arguments.get(name, ""):  # without one the node's own default counts
            line += ["-p", f"{name}:={_yaml(value, ARGUMENTS[name].kind)}"]
    if process.urdf:
        text = Path(_built(workspace / "share/lunar_description/urdf" / process.urdf)).read_text(encoding="utf-8")
        line += ["-p", f"robot_description:={_yaml(text, 'text')}"]
        prefix = namespace.strip("/")
        line += ["-p", f"frame_prefix:={_yaml(f'{prefix}/' if prefix else '', 'text')}"]
        line[:0] = FOREIGN
    return line


def find_executable(process: Process, workspace: Path = WORKSPACE) -> str:
    """Path of a process's program in ``workspace`` or an installed ROS 2; empty where it is absent."""
    sourced = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    places = [prefix / "lib" / process.package / process.executable for prefix in (workspace, *sourced)]
    return next((str(place) for place in places if place.is_file()), "")


def _yaml(value: str, kind: str) -> str:
    """A value as ROS reads it on a command line, where a text that looks like a number would be one."""
    if kind == "text":
        return json.dumps(value)
    return repr(float(value)) if kind == "number" else value


def secured(processes: Sequence[Process], base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment with security on, once there are keys for all ``processes``.

    Args:
        processes: with enclaves.
        base: variables to start from; this process's when absent.

    Raises:
        LunarError: the keystore is not named or lacks an enclave.
    """
    env = dict(os.environ if base is None else base)
    how = "make it as docs/ros2.md says (Security)"
    if not (store := env.get("ROS_SECURITY_KEYSTORE", "")):
        raise LunarError(f"secure needs the variable ROS_SECURITY_KEYSTORE, the folder with the nodes' keys; {how}")
    for process in processes:
        if not (folder := Path(store, "enclaves", *process.enclave.split("/"))).is_dir() or not process.enclave:
            raise LunarError(f"{folder} does not exist: there are no keys for {process.name}; {how}")
    return env | SECURITY


@dataclass
class _Child:
    process: Process
    running: subprocess.Popen
    link: socket.socket
    """Where it reports that it is active."""
    active: bool = False


class Runner:
    """Starts a table in order, watches it, and stops all of it together.

    Args:
        processes: the table.
        arguments: value of each launch argument.
        ready_timeout: s that a lifecycle node may take until it is active.
        workspace: what ``ros2_ws/build.py`` installs.
        log: takes one line about what happens.
        base: variables of the environment; this process's when absent.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        arguments: Mapping[str, str],
        ready_timeout: float,
        workspace: Path = WORKSPACE,
        log: Callable[[str], None] = print,
        base: Mapping[str, str] | None = None,
    ) -> None:
        self.processes = processes
        self.ready_timeout = ready_timeout
        self.log = log
        self._env = ros_environment(workspace, base)
        self._lines = {p.name: command_line(p, arguments, workspace) for p in processes}
        self._children: list[_Child] = []
        self._stop = False

    def run(self) -> int:
        """Run until one of ``ENDS``, such as Ctrl-C, or the end of a required process.

        Returns:
            0 after a signal or the end of a finite process when every process ended with status 0, else 1.
        """
        before = {n: signal.signal(n, self._on_signal) for n in ENDS}
        good = False
        try:
            with tempfile.TemporaryDirectory(prefix="lunar-") as folder:
                good = self._start_all(Path(folder)) and self._watch(None)
        finally:
            good = self._stop_all() and good
            for number, handler in before.items():
                signal.signal(number, handler)
        return 0 if good else 1

    def _on_signal(self, number: int, frame: object) -> None:
        self._stop = True

    def _start_all(self, folder: Path) -> bool:
        for order in sorted({p.order for p in self.processes}):
            if self._stop:
                break
            group = [self._start(p, folder / f"{p.name}.sock") for p in self.processes if p.order == order]
            if not self._watch([c for c in group if c.process.lifecycle]):
                return False
        return True

    def _start(self, process: Process, address: Path) -> _Child:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        link.setblocking(False)
        link.bind(str(address))
        running = subprocess.Popen(
            self._lines[process.name],
            env=self._env | {"NOTIFY_SOCKET": str(address), STARTER: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C reaches the runner alone, which forwards it once
        )
        self._children.append(_Child(process, running, link))
        self.log(f"{process.name}: started (pid {running.pid})")
        return self._children[-1]

    def _watch(self, waiting: Sequence[_Child] | None) -> bool:
        """Look after all until those ``waiting`` are active (for ever if None) or a stop; False at a failure."""
        deadline = time.monotonic() + self.ready_timeout
        while not self._stop:
            if not all([self._is_well(child) for child in list(self._children)]):
                return False
            late = [c.process.name for c in waiting or () if not c.active]
            if waiting is not None and not late:
                return True
            if late and time.monotonic() > deadline:
                self.log(f"{', '.join(late)}: not active after {self.ready_timeout:g} s")
                return False
            time.sleep(_POLL)
        return True

    def _is_well(self, child: _Child) -> bool:
        """Hear what a process reports and whether it has ended; False when everything must stop for it."""
        process = child.process
        with contextlib.suppress(BlockingIOError):
            if b"READY=1" in child.link.recv(4096).splitlines() and not child.active:
                child.active = True
                self.log(f"{process.name}: active")
        status = child.running.poll()
        if status is None:
            return True
        child.active = True  # nobody shall wait for it
        self._forget(child)
        if status == 0 and process.finite:
            self._stop = True
            return True
        self.log(f"{process.name}: ended with status {status}{'; everything stops' if process.required else ''}")
        return not process.required

    def _stop_all(self) -> bool:
        """Stop the last order first: a policy damps its robot before the driver goes. True if all end with 0."""
        clean = True
        for order in sorted({c.process.order for c in self._children}, reverse=True):
            for number, patience in STOP_SIGNALS:
                group = [c for c in self._children if c.process.order == order]
                for child in group:
                    child.running.send_signal(number)
                deadline = time.monotonic() + patience
                for child in group:
                    try:
                        status = child.running.wait(max(0.0, deadline - time.monotonic()))
                    except subprocess.TimeoutExpired:
                        self.log(f"{child.process.name}: still runs {patience:g} s after {number.name}")
                        continue
                    self._forget(child)
                    self.log(f"{child.process.name}: ended with status {status}")
                    clean = clean and status == 0
        return clean and not self._children

    def _forget(self, child: _Child) -> None:
        self._children.remove(child)
        child.link.close()


def _built(file: Path) -> str:
    if not file.is_file():
        raise LunarError(f"{file} {_NOT_BUILT}")
    return str(file)
