"""The rig put together, for every command and node alike: nothing else makes drivers into a rig that can be armed.

``open_rig`` connects the machines in their protocols, reads or measures their calibration, and joins sync, supervisor
and log to the loop that it yields. Leaving it, whatever happened inside, first makes every machine safe; everything
else is closed afterwards, however long that takes.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from matrix_hil.config import EMULATED, HilConfig
from matrix_hil.control.sync import Sync
from matrix_hil.link import DEVICES, HostClock, SerialDevice
from matrix_hil.link.calibration import (
    SOUND,
    Calibration,
    arming_objection,
    figures,
    identity,
)
from matrix_hil.link.threads import real_time
from matrix_hil.log import Recorder
from matrix_hil.messages import RigTruth
from matrix_hil.run.calibration import PERIOD, SlowMotion, measure
from matrix_hil.run.clocks import Clock, GroundSource, SimulatedClock, WallClock
from matrix_hil.run.drivers import connected, kept_calibration
from matrix_hil.run.ground import virtual_ground
from matrix_hil.run.loop import Cycle, Loop
from matrix_hil.run.robot import fitted
from matrix_hil.run.run_log import BACKLOG, Background, RunLog, at_once, attachments
from matrix_hil.run.start_check import check
from matrix_hil.run.traverse import Guide, check_policies, policies_of
from matrix_hil.run.way import along
from matrix_hil.safety.supervisor import Supervisor
from matrix_hil.virtual.calibration_stand import CalibrationStand
from matrix_hil.virtual.process import RigProcess
from matrix_hil.virtual.rig import EmulatedMachines, VirtualMachines
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy
from sim.errors import LunarError

Record = Callable[[dict[str, bytes]], AbstractContextManager[Any]]
"""Opens a log that holds these attachments; gives a ``Recorder``, or what looks like one."""


@dataclass
class Rig:
    """An open rig."""

    cfg: HilConfig
    loop: Loop
    devices: dict[str, Any]
    """By name: the connected drivers, or what stands here for drivers in other processes."""
    drivers: dict[str, SerialDevice]
    """Those of ``devices`` whose ports this process has open."""
    machines: VirtualMachines | RigProcess | None
    """The emulated ones, where this process has them made."""
    time: HostClock
    """s, the clock of a run in wall time."""
    ground: GroundSource
    truth: Callable[[], RigTruth] | None
    """What physics knows, of a rig that is emulated as a whole here."""
    takers: list[Callable[[Cycle], None]] = field(default_factory=list)
    """Who gets the record of every cycle."""
    guide: Guide | None = None
    """Who follows the plan that ``cfg`` names in ``loop``."""
    log: RunLog | None = None
    recorder: Any = None

    def clock(self) -> Clock:
        """Whose time the loop runs in; enter it for the run."""
        period = 1.0 / self.cfg.sync.rate
        if self.cfg.clock == "wall":
            return WallClock(self.drivers, period, self.time)
        return SimulatedClock(self.machines, self.drivers, period)


@contextlib.contextmanager
def open_rig(
    cfg: HilConfig,
    *,
    record: Record | None = None,
    backlog: int = BACKLOG,
    ground: GroundSource | None = None,
    operated: bool = False,
    calibration: Calibration | None = None,
    clock: HostClock | None = None,
    ports: Mapping[str, str] | None = None,
    remote: Mapping[str, Any] | None = None,
    refuse: bool = True,
    show: Callable[[str], None] = lambda text: None,
) -> Iterator[Rig]:
    """Open the rig of ``cfg``. Nothing moves before its loop is cycled, by ``run.clocks.drive``.

    Args:
        cfg: the configuration; what is meant for the Go2's weight in it goes with the robot's.
        record: opens the log; None keeps none.
        backlog: records that may wait in wall time; what comes while so many do is dropped, which ends a recording.
        ground: of the virtual world; by default what ``cfg.twin`` says.
        operated: the loop waits for an operator's orders instead of following ``cfg.plan``.
        calibration: of an emulated rig whose errors are known; measured by default.
        clock: of a run in wall time; by default one at ``cfg.pace`` that begins now.
        ports: by device, where emulated machines are reached that another process has made.
        remote: by device, what stands for drivers in other processes; no port is opened then.
        refuse: whether a rig of real machines without a calibration that fits is refused at once. Else it can be
            opened, and objects to being armed.
        show: takes a sentence about what takes long.

    Raises:
        LunarError: policy missing or unfit, port absent, Unreal silent, or no calibration that fits; nothing has moved.
    """
    cfg = along(fitted(cfg))
    check(cfg)
    wall = cfg.clock == "wall"
    real = [name for name, port in cfg.ports.items() if port != EMULATED]
    if real and not wall:
        raise LunarError(f"{real[0]}.port is a real port, which needs real time; set clock to 'wall'")
    policy, guide = policies_of(cfg)
    policies = [policy] if isinstance(policy, OnnxPolicy) else policy.policies
    watched = any(each.monitor is not None for each in policies)
    check_policies(cfg, policy, guide)
    sync = Sync(cfg.sync, policy, cfg.platform, cfg.monitor == "trip")
    if wall:
        for each in policies:
            each.infer(np.zeros((1, each.card.observation.size)))  # the first call is slow
    objection: str | Callable[[], str] = ""
    if calibration is None or real:
        try:
            calibration = find_calibration(cfg, show)
        except LunarError as error:
            if refuse:
                raise
            calibration, objection = SOUND, str(error)
    clock = clock or HostClock(cfg.pace, time.monotonic())
    takers: list[Callable[[Cycle], None]] = []

    def sink(cycle: Cycle) -> None:
        for take in takers:
            take(cycle)

    with ExitStack() as stack:
        if ground is None:
            ground = stack.enter_context(virtual_ground(cfg, clock))
        machines: VirtualMachines | RigProcess | None = None
        if ports is None and remote is None and len(real) < len(DEVICES):
            machines = RigProcess(cfg, cfg.seed, clock) if wall else VirtualMachines(cfg, cfg.seed)
            stack.enter_context(machines)
        afterwards = stack.enter_context(ExitStack())  # closed once the machines are safe
        drivers = {}
        if remote is None:
            drivers = stack.enter_context(connected(cfg, ports or (machines.ports if machines else {})))
        devices = dict(remote or drivers)
        supervisor = Supervisor(cfg.safety, calibration, cfg.platform, policy.card.joints)
        loop = Loop(sync, supervisor, devices, cfg.command, cfg.plan, sink, operated)
        if guide is not None:
            loop.guide = guide.command
        if objection:
            loop.objection = lambda: str(objection)
        elif real:
            loop.objection = arming_objection(calibration, cfg, devices)
        truth = machines.truth if machines is not None and not real else None
        rig = Rig(cfg, loop, devices, drivers, machines, clock, ground, truth, takers, guide)
        if record is not None:
            kept = attachments(cfg, cfg.policy) | {"calibration.json": calibration.document().encode()}
            if policy.card != Card.load(policy.folder / "card.json"):
                kept["card.json"] = policy.card.text().encode()
            rig.recorder = afterwards.enter_context(record(kept))
            do: Callable[[Callable[[], None]], None] = at_once
            if wall:
                behind = f"the disk has fallen {backlog} records behind"
                late = (lambda r=rig.recorder: r.stop(behind)) if isinstance(rig.recorder, Recorder) else lambda: None
                do = afterwards.enter_context(Background(backlog, late))
            rig.log = RunLog(rig.recorder, cfg.sync.heading, truth, do, watched)
            takers.append(rig.log.add)
            if isinstance(rig.recorder, Recorder):
                for name, device in drivers.items():
                    device.tap = rig.log.wire(name)
        yield rig


# ---- calibration -----------------------------------------------------------------------------------------------------


def find_calibration(cfg: HilConfig, show: Callable[[str], None] = lambda text: None) -> Calibration:
    """The rig's calibration, from its file or, when everything is emulated, measured now.

    Raises:
        LunarError: there is none that is fresh and fits.
    """
    if all(port == EMULATED for port in cfg.ports.values()):
        show("everything is emulated: the virtual rig calibrates itself first")
        return virtual_calibration(cfg)
    return kept_calibration(cfg)


def exact_calibration(cfg: HilConfig) -> Calibration:
    """Of a rig that is emulated as a whole: what its configuration says of its errors."""
    w, t = cfg.counterweight, cfg.tracker
    return Calibration(0.0, cfg.ports, figures(cfg), w.zero, cfg.treadmill.scale, t.origin)


def calibrate(
    cfg: HilConfig, show: Callable[[str], None], now: float | None = None, clock: HostClock | None = None
) -> Calibration:
    """Measure on the machines that ``cfg`` names, emulated ones on a stand of their own; nothing is written.

    Args:
        cfg: the configuration.
        show: takes what is going on.
        now: s since 1970 of the result; this moment by default.
        clock: of real machines; by default one that begins now.

    Raises:
        LunarError: see ``run.calibration.measure``.
    """
    check(cfg)
    real = [name for name, port in cfg.ports.items() if port != EMULATED]
    with ExitStack() as stack:
        if real:
            stack.enter_context(real_time())
        stand: EmulatedMachines | None = None
        if len(real) < len(DEVICES):
            stand = stack.enter_context(CalibrationStand(cfg, cfg.seed))
        devices = stack.enter_context(connected(cfg, stand.ports if stand else {}))
        drives: Clock
        if real:
            clock = clock or HostClock(began=time.monotonic())
            if stand:
                stand.on_wall(clock)
            drives = WallClock(devices, PERIOD, clock, stand)
        else:
            drives = SimulatedClock(stand, devices, PERIOD, first=1)
        stack.enter_context(drives)
        motion = SlowMotion(devices, cfg.safety, cfg.platform, drives)
        tracked = "tracker" in real
        seen = {name: (name in real) == tracked for name in ("platform", "treadmill")}
        found = measure(motion, cfg.calibration, seen, show)
        identities = {name: identity(device, cfg.ports[name]) or "" for name, device in devices.items()}
    return Calibration(time.time() if now is None else now, identities, figures(cfg), **found)


def virtual_calibration(cfg: HilConfig) -> Calibration:
    """Of a rig that is emulated as a whole: the same procedure, shorter, in simulated time.

    The time of the result is 0: such a rig is calibrated anew by every program; runs of one program share it.
    """
    brief = replace(cfg.calibration, average=0.2, platform_step=0.0, belt_travel=0.15)
    return _virtual_calibration(
        cfg.platform,
        cfg.treadmill,
        cfg.counterweight,
        cfg.tracker,
        cfg.robot,
        cfg.sync,
        cfg.safety,
        brief,
        cfg.seed,
    )


@functools.lru_cache(maxsize=8)
def _virtual_calibration(*parts: Any) -> Calibration:
    names = ("platform", "treadmill", "counterweight", "tracker", "robot", "sync", "safety", "calibration", "seed")
    return calibrate(HilConfig(**dict(zip(names, parts, strict=True))), lambda text: None, now=0.0)
