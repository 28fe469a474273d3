"""``lunar up``: a runner that starts a table of ROS 2 processes where ROS 2 launch is not installed.

The tables are in ``bringup.tables``; the launch files of ``lunar_bringup`` are built from them too. The runner knows
processes and their readiness only, so that it needs no ROS itself: a node reports that it is active by the datagram
that systemd's ``Type=notify`` services send (sd_notify(3)), and a lifecycle node brings itself up by its parameter
``autostart``.
"""

from __future__ import annotations

import ctypes
import difflib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matrix_hil.bringup.tables import ARGUMENTS, TABLES, Process, arguments_of
from sim.config import ROOT
from sim.errors import LunarError

WORKSPACE = ROOT / "ros2_ws" / "install"
RESTART_DELAY = 1.0  # s
MAX_RESTARTS = 3  # within RESTART_WINDOW; more often is a fault that a restart does not mend
RESTART_WINDOW = 60.0  # s
# s that a process gets after each signal: SIGINT lets a node damp its robot, SIGKILL is the last resort.
STOP_SIGNALS = ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
_POLL = 0.02  # s
_PR_SET_PDEATHSIG = 1  # prctl(2)


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
        raise LunarError(f"{workspace} does not exist; build it with 'python ros2_ws/build.py'")
    # Every interpreter of the wheels' environment starts again with the library path of the wheels, unless this is set.
    env.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    modules = [*workspace.glob("lib/python3*/site-packages"), *workspace.glob("local/lib/python3*/dist-packages")]
    _prepend(env, "PYTHONPATH", *modules)
    _prepend(env, "LD_LIBRARY_PATH", workspace / "lib")
    if "AMENT_PREFIX_PATH" not in env:
        env["AMENT_PREFIX_PATH"] = sys.prefix
    _prepend(env, "AMENT_PREFIX_PATH", workspace)
    env.setdefault("PYTHONUNBUFFERED", "1")
    # Nobody else on the network finds the nodes, unless the user says so.
    env.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return env


def command_line(process: Process, arguments: Mapping[str, str], workspace: Path = WORKSPACE) -> list[str]:
    """What starts ``process``: its executable and ROS arguments.

    Raises:
        LunarError: the executable or the parameter file is absent.
    """
    executable = workspace / "lib" / process.package / process.executable
    if not executable.is_file():
        raise LunarError(f"{executable} does not exist; build it with 'python ros2_ws/build.py'")
    line = [str(executable), "--ros-args", "-r", f"__node:={process.name}", "-r", f"__ns:={process.namespace}"]
    for old, new in process.remaps:
        line += ["-r", f"{old}:={new}"]
    if process.parameters:
        file = workspace / "share" / "lunar_bringup" / "config" / process.parameters
        if not file.is_file():
            raise LunarError(f"{file} does not exist; build it with 'python ros2_ws/build.py'")
        line += ["--params-file", str(file)]
    for name in process.arguments:
        if arguments[name]:  # without a value the node's own default counts
            line += ["-p", f"{name}:={arguments[name]}"]
    return line


def notify(text: str) -> None:
    """Tell whoever started this process, our runner or systemd, e.g. ``READY=1``; does nothing when nobody asked."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address[0] == "@":  # systemd's notation for the abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        try:
            link.sendto(text.encode(), address)
        except OSError:
            return  # the starter has gone; a node on a robot goes on without it


def may_restart(process: Process, status: int, starts: Sequence[float], now: float) -> bool:
    """Whether a process that ended by itself with ``status`` is started again.

    Args:
        starts: times of its starts so far, s, the first one included.
    """
    if process.restart == "never" or status == 0:
        return False
    return sum(now - t < RESTART_WINDOW for t in starts[1:]) < MAX_RESTARTS


@dataclass
class _Child:
    process: Process
    link: socket.socket
    address: str
    running: subprocess.Popen | None = None
    starts: list[float] = field(default_factory=list)
    ready: bool = False
    restart_at: float | None = None


class Runner:
    """Starts a table in order, watches it, and stops all of it together.

    Args:
        processes: the table.
        arguments: value of each launch argument.
        ready_timeout: s that a lifecycle node may take until it is active.
        workspace: what ``ros2_ws/build.py`` installs.
        log: takes one line about what happens.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        arguments: Mapping[str, str],
        ready_timeout: float = 30.0,
        workspace: Path = WORKSPACE,
        log: Callable[[str], None] = print,
    ) -> None:
        self.processes = sorted(processes, key=lambda p: p.order)
        self.ready_timeout = ready_timeout
        self.log = log
        self._env = ros_environment(workspace)
        self._lines = {p.name: command_line(p, arguments, workspace) for p in self.processes}
        self._children: list[_Child] = []
        self._stop = False

    def run(self) -> int:
        """Run until Ctrl-C, SIGTERM, or the end of a required process.

        Returns:
            0 after Ctrl-C or SIGTERM when every process ended with status 0, else 1.
        """
        before = {n: signal.signal(n, self._on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
        failed = True
        with tempfile.TemporaryDirectory(prefix="lunar-") as folder:
            try:
                failed = not (self._start_all(Path(folder)) and self._watch_until(lambda: False, None))
            finally:
                clean = self._stop_all()
                for number, handler in before.items():
                    signal.signal(number, handler)
        return 1 if failed or not clean else 0

    def _on_signal(self, number: int, frame: object) -> None:
        self._stop = True

    def _start_all(self, folder: Path) -> bool:
        for order in sorted({p.order for p in self.processes}):
            group = []
            for process in (p for p in self.processes if p.order == order):
                link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                link.setblocking(False)
                link.bind(str(folder / f"{len(self._children)}.sock"))
                child = _Child(process, link, str(folder / f"{len(self._children)}.sock"))
                self._children.append(child)
                group.append(child)
                self._start(child)
            waiting = [c for c in group if c.process.lifecycle]
            if not self._watch_until(lambda: all(c.ready for c in waiting), self.ready_timeout):  # noqa: B023
                return False
            if self._stop:
                return True
        return True

    def _start(self, child: _Child) -> None:
        child.starts.append(time.monotonic())
        child.ready, child.restart_at = False, None
        child.running = subprocess.Popen(
            self._lines[child.process.name],
            env=self._env | {"NOTIFY_SOCKET": child.address},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C reaches the runner alone, which forwards it once
            preexec_fn=_end_with_parent,
        )
        self.log(f"{child.process.name}: started (pid {child.running.pid})")

    def _watch_until(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Look after the processes until ``done`` or a stop signal (True), or a failure (False)."""
        began = time.monotonic()
        while not (self._stop or done()):
            now = time.monotonic()
            if timeout is not None and now - began > timeout:
                late = [c.process.name for c in self._children if c.process.lifecycle and not c.ready]
                self.log(f"{', '.join(late)}: not active after {timeout:g} s")
                return False
            if not all([self._look_after(child, now) for child in self._children]):
                return False
            time.sleep(_POLL)
        return True

    def _look_after(self, child: _Child, now: float) -> bool:
        name = child.process.name
        self._receive(child)
        if child.running is None:
            if child.restart_at is not None and now >= child.restart_at:
                self._start(child)
            return True
        status = child.running.poll()
        if status is None:
            return True
        child.running = None
        if status == 0 and child.process.finite:
            self._stop = True
            return True
        if may_restart(child.process, status, child.starts, now):
            child.restart_at = now + RESTART_DELAY
            self.log(f"{name}: ended with status {status}; it starts again in {RESTART_DELAY:g} s")
            return True
        self.log(f"{name}: ended with status {status}{'; everything stops' if child.process.required else ''}")
        if not child.process.required:
            child.ready = True  # nobody shall wait for it
        return not child.process.required

    def _receive(self, child: _Child) -> None:
        try:
            text = child.link.recv(4096).decode(errors="replace")
        except BlockingIOError:
            return
        if "READY=1" in text.splitlines() and not child.ready:
            child.ready = True
            self.log(f"{child.process.name}: active")

    def _stop_all(self) -> bool:
        """Stop the last order first: a policy damps its robot before the driver goes. True if all end with 0."""
        clean = True
        for order in sorted({c.process.order for c in self._children}, reverse=True):
            group = [c for c in self._children if c.process.order == order and c.running is not None]
            clean = self._stop_group(group) and clean
        for child in self._children:
            child.link.close()
        return clean

    def _stop_group(self, group: list[_Child]) -> bool:
        clean = True
        for number, patience in STOP_SIGNALS:
            for child in group:
                child.running.send_signal(number)  # type: ignore[union-attr]
            deadline = time.monotonic() + patience
            for child in group:
                try:
                    status = child.running.wait(max(0.0, deadline - time.monotonic()))  # type: ignore[union-attr]
                except subprocess.TimeoutExpired:
                    self.log(f"{child.process.name}: still runs {patience:g} s after {number.name}")
                    continue
                child.running = None
                self.log(f"{child.process.name}: ended with status {status}")
                clean = clean and status == 0
            group = [c for c in group if c.running is not None]
        return clean


def up(table: str, arguments: Mapping[str, str], ready_timeout: float = 30.0) -> int:
    """Start the processes of ``table`` that ``arguments`` ask for and wait for their end; returns the exit status.

    Raises:
        LunarError: an argument is missing, unknown or has a value that it may not have, or nothing has been built.
    """
    values = {}
    for name in arguments_of(table):
        argument = ARGUMENTS[name]
        value = arguments.get(name, argument.default)
        if value is None:
            raise LunarError(f"'{table}' needs --{name}: {argument.help}")
        if argument.choices and value not in argument.choices:
            raise LunarError(f"{name} is '{value}'; it must be one of: {', '.join(argument.choices)}")
        values[name] = value
    if unknown := sorted(set(arguments) - set(values)):
        near = difflib.get_close_matches(unknown[0], values, n=1, cutoff=0.3)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise LunarError(f"unknown key '{unknown[0]}' for '{table}'{hint}")
    if "policy" in values and not Path(values["policy"], "policy.onnx").is_file():
        raise LunarError(
            f"{Path(values['policy'], 'policy.onnx')} does not exist; give an exported policy with --policy FOLDER"
        )
    for name in ("policy", "config", "log", "bag"):  # nodes have no working folder of their own to start from
        if values.get(name):
            values[name] = str(Path(values[name]).resolve())
    processes = [p for p in TABLES[table] if p.only is None or values[p.only[0]] == p.only[1]]
    return Runner(processes, values, ready_timeout, log=_log).run()


def main(argv: Sequence[str]) -> None:
    """``lunar up TABLE --key value ...``."""
    known = ", ".join(TABLES)
    if argv and argv[0] in ("-h", "--help"):
        print(
            f"usage: lunar up TABLE [--key value ...]\n\nTABLE is one of: {known}; 'lunar up TABLE --help' lists keys"
        )
        return
    if not argv or argv[0] not in TABLES:
        raise LunarError(f"name the table to start, one of: {known}")
    if {"-h", "--help"} & set(argv[1:]):
        print(usage(argv[0]))
        return
    arguments = pairs(argv[1:])
    timeout = arguments.pop("ready_timeout", "30")
    try:
        seconds = float(timeout)
    except ValueError:
        raise LunarError(f"ready_timeout is '{timeout}'; it is a number of seconds") from None
    if status := up(argv[0], arguments, seconds):
        sys.exit(status)


def usage(table: str) -> str:
    """What ``lunar up TABLE --help`` prints."""
    lines = [f"usage: lunar up {table} [--key value ...]\n"]
    for name in arguments_of(table):
        argument = ARGUMENTS[name]
        default = "" if argument.default is None else f" (default: {argument.default or 'empty'})"
        choices = f" One of: {', '.join(argument.choices)}." if argument.choices else ""
        lines.append(f"  --{name:14} {argument.help}{choices}{default}")
    lines.append("  --ready_timeout  s until a lifecycle node must be active. (default: 30)")
    return "\n".join(lines)


def pairs(argv: Sequence[str]) -> dict[str, str]:
    """``--key value`` and ``--key=value`` as a dictionary.

    Raises:
        LunarError: something that is neither.
    """
    found: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not key:
            raise LunarError(f"'{word}' is not understood; options are --key value")
        if not equals:
            if not rest:
                raise LunarError(f"--{key} needs a value")
            value = rest.pop(0)
        found[key] = value
    return found


def _log(line: str) -> None:
    print(f"lunar up: {line}", flush=True)


def _prepend(env: dict[str, str], name: str, *paths: Path) -> None:
    old = [p for p in env.get(name, "").split(os.pathsep) if p and p not in map(str, paths)]
    env[name] = os.pathsep.join([*map(str, paths), *old])


def _end_with_parent() -> None:
    """In the child: be interrupted when the runner dies, even when it is killed, so that no robot is left hopping."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
