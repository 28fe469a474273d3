"""``lunar hil``: run a policy on the MATRIX rig, real or virtual, in simulated or in wall time."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from matrix_hil.control.counterweight import TrimConfig
from matrix_hil.control.sync import Sync, SyncConfig
from matrix_hil.link import DEVICES
from matrix_hil.link.calibration import (
    Calibration,
    CalibrationConfig,
    arming_objection,
    corrected,
    figures,
    load,
)
from matrix_hil.link.modbus import MODBUS_TREADMILL
from matrix_hil.log import Recorder
from matrix_hil.messages import TwinPatch
from matrix_hil.operate import calibrate
from matrix_hil.operate.keyboard import Keyboard
from matrix_hil.operate.panel import HELP, Panel, pace
from matrix_hil.run.clocks import Bench, GroundSource, real_time, run_simulated, run_wall
from matrix_hil.run.loop import Cycle, Loop, RunPlan
from matrix_hil.run.metrics import RunMetrics
from matrix_hil.run.operated import OperatedLoop
from matrix_hil.run.run_log import Background, RunLog, at_once, attachments, log_folder
from matrix_hil.safety.supervisor import SafetyConfig, Supervisor
from matrix_hil.twin import TwinClient, TwinConfig
from matrix_hil.twin.config import EMBEDDED
from matrix_hil.virtual.process import RigProcess, TwinProcess
from matrix_hil.virtual.rig import (
    EMULATED,
    Counterweight,
    Platform,
    Robot,
    Tracker,
    Treadmill,
    VirtualMachines,
    driver,
)
from matrix_hil.virtual.unreal import ServerConfig, TwinServer
from policy.runtime.onnx_policy import OnnxPolicy
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results
from sim.rig import RigConfig
from sim.spec.command import HopCommand
from sim.terrain.generators import TerrainConfig, make_terrain

_SHOW = 0.1  # s between updates of the progress bar
_PATIENCE = 60.0  # s of wall time that a simulated run waits for its own stand-in server


@dataclass(frozen=True)
class Twin(TwinConfig):
    """Where Unreal runs and how its ground is read."""

    host: str = EMBEDDED
    """``embedded`` starts a stand-in server over ``terrain``; else the computer that runs Unreal with UnrealCV."""
    rate: float = 10.0
    """Hz. Patches read per second of simulated time; in wall time ``period`` bounds it."""


@dataclass(frozen=True)
class HilConfig:
    """Run a policy on the MATRIX rig. Unless ports and the twin's host are given, everything outside is emulated."""

    policy: str = "policy/zoo/pronk"
    """Folder with policy.onnx and card.json."""
    clock: Literal["simulated", "wall"] = "simulated"
    """``simulated``: deterministic, as fast as it goes, everything emulated. ``wall``: real time, real deadlines."""
    command: HopCommand = field(default_factory=HopCommand)
    plan: RunPlan = field(default_factory=RunPlan)
    terrain: TerrainConfig = field(default_factory=TerrainConfig)
    """Ground of the embedded twin."""
    twin: Twin = field(default_factory=Twin)
    rig: RigConfig = field(default_factory=RigConfig)
    """Mechanics of the virtual rig."""
    trim: TrimConfig = field(default_factory=TrimConfig)
    """Force loop of the emulated winch drive."""
    platform: Platform = field(default_factory=Platform)
    treadmill: Treadmill = field(default_factory=Treadmill)
    counterweight: Counterweight = field(default_factory=Counterweight)
    tracker: Tracker = field(default_factory=Tracker)
    robot: Robot = field(default_factory=Robot)
    sync: SyncConfig = field(default_factory=SyncConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    log: str = ""
    """Folder for the log, without one already; empty makes one below runs/hil/ named after date and time."""
    split_mb: float = 0.0
    """MB. The log goes on in a new file when one has this size; 0 keeps one file."""
    seed: int = 0
    """Of terrain, sensor noise and the robot's first pose."""
    json: str = ""
    """File for the results as data."""
    live: bool = False
    """Show the running rig in a browser on this computer, with gauges and an e-stop."""
    panel: bool = False
    """Operate the rig from that page and the keyboard instead of following ``plan``: arm, run, hold, reset, e-stop."""
    live_port: int = 8080
    """Port of that page on 127.0.0.1; 0 takes a free one."""
    quick: bool = False
    """5 s with the policy driving."""

    @property
    def ports(self) -> dict[str, str]:
        """Port by device name."""
        return {name: getattr(self, name).port for name in DEVICES}


def run(cfg: HilConfig, console: Console | None = None, drive: Callable[[Bench], None] | None = None) -> dict[str, Any]:
    """One run; returns the results.

    Args:
        cfg: the configuration.
        console: for the progress bar.
        drive: runs the loop to its end instead of what ``cfg.clock`` names, as the fault bench does.

    Raises:
        LunarError: policy missing or unfit, port absent, Unreal silent, or the rig cannot be armed; nothing has moved.
        KeyboardInterrupt: after Ctrl-C, once the rig is safe and the log closed.
    """
    console = console or Console()
    if cfg.quick:
        cfg = replace(cfg, plan=replace(cfg.plan, duration=min(5.0, cfg.plan.duration)))
    real = [name for name, port in cfg.ports.items() if port != EMULATED]
    if cfg.clock == "simulated" and real:
        raise LunarError(f"{real[0]}.port is a real port, which needs real time; set clock to 'wall'")
    if cfg.treadmill.protocol == "modbus" and cfg.safety.treadmill_stale < MODBUS_TREADMILL.stale_limit:
        raise LunarError(
            f"safety.treadmill_stale is {cfg.safety.treadmill_stale:g} s, but a Modbus treadmill reports every"
            f" {MODBUS_TREADMILL.period:g} s; set it to {MODBUS_TREADMILL.stale_limit:g} (docs/modbus.md)"
        )
    sync = Sync(cfg.sync, OnnxPolicy(cfg.policy))
    calibration = _calibration(cfg, console)
    began = time.monotonic()
    folder = log_folder(cfg.log)

    def clock() -> float:
        return time.monotonic() - began

    with ExitStack() as stack:
        interrupted = stack.enter_context(_ctrl_c())
        if cfg.clock == "wall":
            stack.enter_context(real_time())
        ground = _ground(cfg, stack, clock)
        live = None
        if cfg.live or cfg.panel:
            from matrix_hil.operate.live import LiveView

            # before the devices, whose lines would run over while it starts
            live = stack.enter_context(LiveView(cfg.rig, cfg.sync.heading, cfg.live_port, cfg.panel))
        rig = _machines(cfg, began) if len(real) < len(DEVICES) else None
        if rig is not None:
            stack.enter_context(rig)
        devices = {
            name: stack.enter_context(
                driver(name, getattr(cfg, name), rig.ports[name] if rig and port == EMULATED else port)
            )
            for name, port in cfg.ports.items()
        }
        recorder = stack.enter_context(
            Recorder(
                folder,
                attachments(cfg, cfg.policy) | {"calibration.json": calibration.document().encode()},
                time.time() - (clock() if cfg.clock == "wall" else 0.0),
                cfg.split_mb,
            )
        )
        truth = rig.truth if rig is not None and not real else None
        do = stack.enter_context(Background()) if cfg.clock == "wall" else at_once
        log = RunLog(recorder, cfg.sync.heading, truth, do)
        for name, device in devices.items():
            device.tap = log.wire(name)
        metrics = RunMetrics(cfg.sync, truth)
        watch: Callable[[Cycle], None] | None = None
        panel: Panel | None = None
        if live is not None:
            keyboard = stack.enter_context(Keyboard())
            panel = Panel(live.desk, keyboard, devices, live.alive, time.monotonic)
            console.print(f"{'panel' if cfg.panel else 'live'}: {live.url}" + (f", {HELP}" if keyboard.present else ""))
            watch = live.show

        def sink(cycle: Cycle) -> None:
            log.add(cycle)
            metrics.add(cycle)
            if watch is not None:
                watch(cycle)

        supervisor, true = Supervisor(cfg.safety), corrected(devices, calibration)
        if cfg.panel:
            loop: Loop = OperatedLoop(sync, supervisor, true, cfg.command, cfg.plan.stand, sink)
        else:
            loop = Loop(sync, supervisor, true, cfg.command, cfg.plan, sink)
        if real:
            loop.objection = arming_objection(calibration, cfg, devices)

        def timed(duration: float, lateness: float) -> None:
            assert loop.last is not None
            log.timed(loop.last, duration, lateness)
            metrics.timed(duration, lateness)
            metrics.wired({name: device.wired for name, device in devices.items()})
            if panel is not None:
                panel.timed(lateness)

        progress = stack.enter_context(_status(console) if cfg.panel else _progress(console, cfg.plan))

        # nobody can operate what is over in seconds
        keep_pace = pace(clock) if cfg.panel and cfg.clock == "simulated" else None

        def show(loop: Loop, now: float) -> None:
            progress(loop, now)
            if panel is not None:
                panel.step(loop, now)
            if keep_pace is not None:
                keep_pace(now)

        machines = rig if isinstance(rig, VirtualMachines) else None
        bench = Bench(loop, devices, machines, ground, timed, interrupted, show)
        if drive is not None:
            drive(bench)
        elif cfg.clock == "simulated":
            run_simulated(bench)
        else:
            run_wall(bench, clock)
        if interrupted():
            raise KeyboardInterrupt
    assert loop.last is not None
    stats = [device.stats for device in devices.values()]
    return metrics.results(cfg.clock) | {
        "reason": loop.last.supervisor.reason,
        "crc_errors": sum(s.crc_errors for s in stats),
        "sequence_gaps": sum(s.sequence_gaps for s in stats),
        "clock_offset_ms": {name: 1e3 * device.stats.clock_offset for name, device in devices.items()},
        "wall_seconds": time.monotonic() - began,
        "log": str(folder),
        "log_warning": recorder.warning,
    }


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar hil``."""
    if argv[:1] == ["calibrate"]:
        calibrate.main(argv[1:])
        return
    cfg = parse(HilConfig, argv, prog="lunar hil", default="hil/virtual.yaml")
    console = Console()
    results = run(cfg, console)
    _print(console, results)
    if cfg.json:
        write_results(cfg.json, "hil", cfg.seed, results)


# ---- what is outside ------------------------------------------------------------------------------------------------


def _machines(cfg: HilConfig, began: float) -> VirtualMachines | RigProcess:
    """The virtual rig: in this thread in simulated time, in a process of its own in wall time."""
    names = ("rig", "trim", "platform", "treadmill", "counterweight", "tracker", "robot", "seed")
    parts = {name: getattr(cfg, name) for name in names}
    return RigProcess(parts, began) if cfg.clock == "wall" else VirtualMachines(**parts)


def _calibration(cfg: HilConfig, console: Console) -> Calibration:
    """The rig's calibration, from its file or, when everything is emulated, measured now."""
    if all(port == EMULATED for port in cfg.ports.values()):
        console.print("everything is emulated: the virtual rig calibrates itself first")
        return calibrate.virtual_calibration(cfg)
    found = load(cfg.calibration.file)
    if why := found.misfit(figures(cfg), {}) or found.stale(time.time(), cfg.calibration.max_age):
        raise LunarError(f"calibration {cfg.calibration.file}: {why}; run 'lunar hil calibrate' with this config")
    return found


def _ground(cfg: HilConfig, stack: ExitStack, clock: Callable[[], float]) -> GroundSource:
    """Connect to Unreal, or to the stand-in, before anything else is touched."""
    twin: TwinConfig = cfg.twin
    if twin.host == EMBEDDED:
        if cfg.clock == "wall":
            port = stack.enter_context(TwinProcess(cfg.terrain, cfg.seed)).port
            twin = replace(cfg.twin, host="127.0.0.1", port=port)
        else:
            server = stack.enter_context(TwinServer(make_terrain(cfg.terrain, cfg.seed), ServerConfig(port=0)))
            # the clock waits: how busy this computer is must not change the run
            twin = replace(cfg.twin, host="127.0.0.1", port=server.port, timeout=_PATIENCE, deadline=_PATIENCE)
    client = stack.enter_context(TwinClient(twin, clock))
    start = 0.0 if cfg.clock == "simulated" else clock()
    newest = client.fetch(cfg.sync.start_x, cfg.sync.start_y, start)
    tried = start

    def simulated(world: np.ndarray, velocity: np.ndarray, now: float) -> TwinPatch | None:
        nonlocal newest, tried
        if now - tried >= 1.0 / cfg.twin.rate - 1e-9:
            tried = now
            ahead = velocity * min(twin.lead, 0.5 * twin.extent / max(float(np.hypot(*velocity)), 1e-6))
            x, y = float(world[0] + ahead[0]), float(world[1] + ahead[1])
            try:
                newest = client.fetch(x, y, now)
                client.look_ahead(x, y, float(velocity[0]), float(velocity[1]), now)
            except LunarError:  # what is remembered says its age, which sync judges
                newest = client.known(x, y, now) or newest
        return newest

    def wall(world: np.ndarray, velocity: np.ndarray, now: float) -> TwinPatch | None:
        client.request(float(world[0]), float(world[1]), float(velocity[0]), float(velocity[1]))
        return client.latest() or newest

    return simulated if cfg.clock == "simulated" else wall


@contextlib.contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a question that the loop asks, so that no cycle and no log record is cut in two."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt  # the second time: out at once; drivers still send their safe commands
        asked.set()

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


# ---- what the operator sees -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _progress(console: Console, plan: RunPlan) -> Iterator[Callable[[Loop, float], None]]:
    """A bar over the run with hops so far and the time left."""
    columns = (TextColumn("hil"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    total = plan.stand + plan.duration + plan.down
    before = {"wait": 0.0, "stand": 0.0, "run": plan.stand, "down": plan.stand + plan.duration, "done": total}
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total, state="connecting")
        last = -1.0

        def show(loop: Loop, now: float) -> None:
            nonlocal last
            if now - last < _SHOW and not loop.done:
                return
            last = now
            done = before[loop.phase] + (loop.elapsed(now) if loop.phase in ("stand", "run", "down") else 0.0)
            hops = loop.last.info.hops if loop.last else 0
            bar.update(task, completed=min(done, total), state=f"{loop.phase}, {hops} hops")

        yield show


@contextlib.contextmanager
def _status(console: Console) -> Iterator[Callable[[Loop, float], None]]:
    """One line that says the state, for a run that has no end of its own."""
    with console.status("connecting") as line:
        last = -1.0

        def show(loop: Loop, now: float) -> None:
            nonlocal last
            if now - last < _SHOW or loop.last is None:
                return
            last = now
            state, info = loop.last.supervisor, loop.last.info
            line.update(escape(f"{state.state}  {state.reason}  {info.hops} hops, {now:.0f} s"))

        yield show


def _print(console: Console, results: dict[str, Any]) -> None:
    table = Table("hil", "value", title=f"{results['run_seconds']:.1f} s with the policy, {results['clock']} clock")
    late = results["lateness_us"]
    rows = {
        "hops": results["hops"],
        "pronks": results["pronks"],
        "trips": f"{results['trips']} {results['reason']}".strip(),
        "stale commands": results["stale_commands"],
        f"lateness, {results['lateness_kind']}": " / ".join(f"{late[k]:.0f}" for k in late) + " us (p50/p99/p99.9)",
        "log": results["log"],
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table)
