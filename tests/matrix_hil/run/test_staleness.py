"""No command leaves from data older than its stale limit, however late the loop, the drivers and the bytes are.

Everything is real but the clock and the physics: sync, supervisor, drivers, bytes on pseudo-terminals, emulators. The
loop and every driver get turns at random moments, now and then after a long pause, so that states wait in ports and
commands wait in queues. For each command seen on a wire the ages of all the states that it was made from are known.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matrix_hil.config import (
    Counterweight,
    Platform,
    Robot,
    RunPlan,
    Tracker,
    Treadmill,
)
from matrix_hil.control.sync import Sync, SyncConfig
from matrix_hil.link import DEVICES, SerialDevice
from matrix_hil.link.framing import FrameDecoder
from matrix_hil.link.protocol import unpack
from matrix_hil.run.loop import Cycle, Loop
from matrix_hil.safety.supervisor import SafetyConfig, Supervisor
from matrix_hil.virtual.emulator import Emulator, Lockstep
from matrix_hil.virtual.machines import (
    CounterweightEmulator,
    PlatformEmulator,
    RobotEmulator,
    TrackerEmulator,
    TreadmillEmulator,
)
from policy.runtime.onnx_policy import OnnxPolicy
from sim.spec.command import HopCommand
from sim.spec.joints import NOMINAL_POSE

TICK = 0.001
TRANSIT = 0.003  # s. The shortest way from a sensor to the host's port: a tick and the line; it cannot be seen there
SAFE = SafetyConfig()
LIMITS = {name: getattr(SAFE, f"{name}_stale") for name in DEVICES}


@dataclass
class Wire:
    """Both directions of one line, decoded as they pass."""

    heard: float = -1.0
    """s, the device's own stamp of the newest state that has come out of the port."""
    commands: list[tuple[float, float]] = field(default_factory=list)
    """(when it was made, when it was written), s."""
    _rx: FrameDecoder = field(default_factory=FrameDecoder)
    _tx: FrameDecoder = field(default_factory=FrameDecoder)

    def listen(self, device: SerialDevice) -> Any:
        """What the driver's ``tap`` takes."""

        def tap(way: str, data: bytes, now: float) -> None:
            for frame in (self._rx if way == "rx" else self._tx).feed(data):
                message = unpack(frame)
                if way == "rx" and isinstance(message, device.spec.state_type):
                    self.heard = frame.time
                elif way == "tx" and device.spec.command_type and isinstance(message, device.spec.command_type):
                    self.commands.append((frame.time, now))

        return tap


def turns(random: np.random.Generator, period: float, longest: float, end: float) -> set[int]:
    """Ticks at which someone gets a turn: about every ``period`` s, late by chance, now and then very late."""
    at, ticks = 0.0, set()
    while at < end:
        late = random.exponential(0.4 * period) + (random.random() < 0.03) * random.uniform(0.0, longest)
        at += period + late
        ticks.add(round(at / TICK))
    return ticks


def emulators() -> dict[str, Emulator]:
    """The five devices; the robot stands in its harness."""
    platform, belt = PlatformEmulator(Platform(), 1), TreadmillEmulator(Treadmill(), 2)
    rope, tracker = CounterweightEmulator(Counterweight(), 3), TrackerEmulator(Tracker(), 4)
    robot = RobotEmulator(Robot(), 5)
    rope.measure(124.5, 3.7, 0.0)
    tracker.measure(np.array([0.0, 0.0, 0.3]), np.array([1.0, 0.0, 0.0, 0.0]))
    robot.measure(NOMINAL_POSE, np.zeros(12), np.zeros(3), np.array([0.0, 0.0, -1.0]), np.full(4, 6.0))
    return dict(zip(DEVICES, (platform, belt, rope, tracker, robot), strict=True))


@pytest.mark.parametrize("seed", range(2))
def test_no_command_is_written_from_data_older_than_their_stale_limit(standing_policy: Path, seed: int) -> None:
    random, end = np.random.default_rng(seed), 6.0
    cycles: dict[int, tuple[Cycle, dict[str, float]]] = {}  # by tick
    stamps: dict[str, float] = {}  # when what each driver holds was measured, by the device's own clock

    def keep(cycle: Cycle) -> None:
        cycles[round(cycle.time / TICK)] = (cycle, dict(stamps))

    with ExitStack() as stack:
        machines = emulators()
        devices, wires = {}, {name: Wire() for name in DEVICES}
        for name, spec in DEVICES.items():
            stack.callback(machines[name].close)
            devices[name] = stack.enter_context(SerialDevice(spec, machines[name].port))
            devices[name].tap = wires[name].listen(devices[name])
        links = {name: Lockstep(devices[name], machines[name]) for name in DEVICES}
        sync = Sync(SyncConfig(), OnnxPolicy(standing_policy))
        loop = Loop(sync, Supervisor(SAFE), devices, HopCommand(0.1), RunPlan(stand=0.0), keep, operated=True)
        loop_turns = turns(random, 0.005, 0.08, end)
        device_turns = {name: turns(random, spec.period, 0.08, end) for name, spec in DEVICES.items()}
        for k in range(round(end / TICK)):
            now = k * TICK
            for name in DEVICES:
                links[name].poll_emulator(now)
                if k in device_turns[name]:
                    links[name].poll_device(now)
                    stamps[name] = wires[name].heard
            if k in loop_turns:
                state = loop.supervisor.state
                if state in ("safe", "estop"):
                    loop.reset(now)
                elif state == "idle":
                    loop.arm(now)
                elif state == "armed":
                    loop.run(now)
                loop.cycle(now, loop.newest(), None)
        expired = sum(device.stats.expired_commands for device in devices.values())
        written_so_far = {name: list(wire.commands) for name, wire in wires.items()}  # without those of the exit

    checked = 0
    for commands in written_so_far.values():
        for made, written in commands:
            cycle, measured = cycles[round(made / TICK)]
            if cycle.supervisor.state not in ("armed", "run", "hold"):
                continue  # safe commands rest on no measurement but the place to freeze at
            for device, limit in LIMITS.items():
                assert written - measured[device] <= limit + TRANSIT + 1e-6, (device, made, written)
                checked += 1
    trips = max(cycle.supervisor.trips for cycle, _ in cycles.values())
    assert checked > 2000
    assert trips > 3 and expired > 0  # the jitter was bad enough to matter
