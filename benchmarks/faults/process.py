"""The host as a process of its own, stopped and killed: the devices' own watchdogs must bring the rig to rest.

Machines run here in real time on pseudo-terminals; ``lunar hil --clock wall`` runs beside them and is signalled. What
the machines do is measured on their own clock, from the last bytes that they heard.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.faults.trial import Recording
from benchmarks.faults.verdict import REACTION, Outcome, judge_machines
from matrix_hil.config import HilConfig
from matrix_hil.link import DEVICES, PollThread
from matrix_hil.link.calibration import figures
from matrix_hil.link.threads import real_time
from matrix_hil.log import read_log
from matrix_hil.rig import virtual_calibration
from matrix_hil.virtual.rig import VirtualMachines
from sim.config import parse

_START = 60.0  # wall s until the policy must drive the robot
_DRIVE = 1.5  # s of the machines' time with the policy before the signal
_WATCH = 1.5  # s of the machines' time that they are watched afterwards
_END = 60.0  # wall s for a host that was let go to come to its end
_TRIES = 3  # a host on a busy computer may trip by itself first
_OWN = "by the devices themselves"


@dataclass(frozen=True)
class Signal:
    """A signal to the host while the robot hops."""

    name: str
    number: signal.Signals
    resumes: float = 0.0
    """s after which the process is let go on; 0: never."""
    host_acts: bool = False
    """The host itself takes the machines down, before their watchdogs do."""

    def run(self, cfg: Any, folder: Path) -> Outcome:
        """Start host and machines, signal, judge. ``cfg`` is the fault bench's configuration."""
        log = folder / self.name.replace(" ", "-").replace(":", "")
        for _ in range(_TRIES):
            shutil.rmtree(log, ignore_errors=True)
            outcome = self._try(cfg, log)
            if outcome is not None:
                return outcome
        never = float("nan")
        return Outcome(self.name, "", never, never, never, never, never, ("the host never ran for long enough",))

    def _try(self, cfg: Any, log: Path) -> Outcome | None:
        with _machines(cfg.seed) as rig, _host(cfg, rig, log) as host:
            if not rig.wait_for_policy(host):
                return None
            host.send_signal(self.number)
            rig.note()
            if self.resumes:
                time.sleep(self.resumes)
                host.send_signal(signal.SIGCONT)
            rig.watch()
            problems = rig.finish(host) if self.host_acts or self.resumes else []
            return self._judge(rig, log, problems, HilConfig().sync.mass)

    def _judge(self, rig: Rig, log: Path, problems: list[str], mass: float) -> Outcome:
        began = rig.recording.time[0]
        # A host that acts may be late on a busy computer: its drivers stop vouching for its loop, then watchdogs act.
        told = 2 * REACTION.watchdog if self.host_acts else REACTION.watchdog
        since = dict.fromkeys((name for name in DEVICES if name != "tracker"), began + told)
        found, safe, limit, snap = judge_machines(rig.recording, since, mass)
        states = read_log(log)["/supervisor/state"]
        reason = str(states.reason[-1]) if self.resumes else _OWN
        if not reason:
            problems.append("the host went on as if nothing had been")
        return Outcome(self.name, reason, told, told, safe - began, limit - began, snap, (*problems, *found))


def signals() -> list[Signal]:
    """What the host's process may meet."""
    return [
        Signal("host process: killed", signal.SIGKILL),
        Signal("host process: stopped", signal.SIGSTOP),
        Signal("host process: stopped for 0.5 s", signal.SIGSTOP, resumes=0.5),
        Signal("host process: terminated", signal.SIGTERM, host_acts=True),
        Signal("host process: Ctrl-C", signal.SIGINT, host_acts=True),
    ]


class Rig:
    """Machines in a thread of their own, with what they do noted once ``note`` is called."""

    def __init__(self, seed: int) -> None:
        self.machines = VirtualMachines(HilConfig(), seed)
        self.machines.on_wall(time.monotonic)
        self.recording = Recording()
        self._running_for = 0.0
        self._noting = threading.Event()
        self._noted = threading.Event()
        self._now: float | None = None

    def poll(self, now: float) -> None:
        """One step of the machines' thread: every tick up to ``now``, s."""
        tick = self.machines.tick
        if self._now is None:
            self._now = now
        while self._now + tick <= now:
            self._now += tick
            self.machines.poll(self._now)
            running = self.machines.robot.actuated.mode == "run"
            self._running_for = self._running_for + tick if running else 0.0
            if self._noting.is_set() and not self._noted.is_set():
                self.recording.add(self._now, self.machines)
                if self.recording.time[-1] - self.recording.time[0] > _WATCH:
                    self._noted.set()

    def wait_for_policy(self, host: subprocess.Popen) -> bool:
        """Until the policy has driven the robot for a while; False if the host ended before."""
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline and host.poll() is None:
            if self._running_for > _DRIVE:
                return True
            time.sleep(0.01)
        return False

    def note(self) -> None:
        """Note what the machines do from now on."""
        self._noting.set()

    def watch(self) -> None:
        """Wait until enough has been seen."""
        self._noted.wait(_START)

    def finish(self, host: subprocess.Popen) -> list[str]:
        """Wait for the host's end."""
        try:
            host.wait(_END)
        except subprocess.TimeoutExpired:
            return ["the host did not end"]
        return []


@contextlib.contextmanager
def _machines(seed: int) -> Iterator[Rig]:
    rig = Rig(seed)
    with rig.machines:
        with real_time():  # machines do not wait for other programs; the thread stays in the class that it starts in
            thread = PollThread("machines", rig.poll, rig.machines.tick)
            thread.start()
        try:
            yield rig
        finally:
            thread.stop()


@contextlib.contextmanager
def _host(cfg: Any, rig: Rig, log: Path) -> Iterator[subprocess.Popen]:
    """``lunar hil`` in a process of its own, on the machines' ports."""
    file = log.with_suffix(".calibration.json")
    options = ["--clock", "wall", "--policy", cfg.policy, "--log", str(log), "--calibration.file", str(file)]
    options += ["--plan.duration", "120", "--plan.stand", "0.3", "--terrain.kind", cfg.terrain.kind]
    options += ["--seed", str(cfg.seed)]
    for name, value in vars(cfg.command).items():
        options += [f"--command.{name}", str(value)]
    for name, emulator in rig.machines.emulators.items():
        options += [f"--{name}.port", emulator.port]
    setup = parse(HilConfig, options, prog="lunar hil", default="hil/virtual.yaml")
    replace(
        virtual_calibration(HilConfig()), time=time.time(), devices=setup.ports, figures=figures(setup)
    ).save(file)  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", "from matrix_hil.cli import main; main()", "hil", *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
