"""A made-up run, logged: a robot that pronks by the book on a rig that follows it. Known hops, known gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from matrix_hil.log import Pose, Recorder, SyncStamp
from matrix_hil.messages import (
    CounterweightCommand,
    CounterweightState,
    MachineCommands,
    MachineStates,
    PlatformCommand,
    PlatformState,
    RobotCommand,
    RobotState,
    TrackerState,
    TreadmillCommand,
    TreadmillState,
    TwinPatch,
)
from matrix_hil.safety.supervisor import SupervisorState
from sim.spec.command import HopCommand
from sim.spec.gravity import EARTH, MOON

RATE = 200.0  # Hz
MASS = 15.206  # kg
START = 1.0  # s, standing before
APEX = 0.3  # m
STANCE = 0.35  # s
HEIGHT = 0.30  # m, base above ground at lift-off
SPEED = 0.3  # m/s
LIFTOFF = math.sqrt(2.0 * MOON * APEX)  # m/s
FLIGHT = 2.0 * LIFTOFF / MOON  # s
PERIOD = STANCE + FLIGHT
LEG = 0.213  # m
TENSION = MASS * (EARTH - MOON)  # N
EPOCH = 1_790_000_000.0


@dataclass
class Phase:
    """Where in a hop a moment lies."""

    index: int
    airborne: bool
    height: float  # m above the ground of this hop
    force: float  # N, all feet
    share: float  # of the flight that has passed


def phase_at(t: float) -> Phase:
    if t < START:
        return Phase(0, False, HEIGHT, MASS * MOON, 0.0)
    index, within = divmod(t - START, PERIOD)
    if within < STANCE:
        push = 2.0 * LIFTOFF / STANCE
        height = (
            HEIGHT - LIFTOFF * within + 0.5 * push * within**2 if index else HEIGHT - 0.3 * within * (STANCE - within)
        )
        return Phase(int(index), False, height, MASS * (push + MOON), 0.0)
    air = within - STANCE
    return Phase(int(index), True, HEIGHT + LIFTOFF * air - 0.5 * MOON * air**2, 0.0, air / FLIGHT)


def ground(x: float | np.ndarray) -> np.ndarray:
    return 0.03 * np.sin(2.0 * math.pi * np.asarray(x) / 3.0)


def joints(leg_length: float) -> np.ndarray:
    knee = -2.0 * math.acos(min(0.99, leg_length / (2.0 * LEG)))
    return np.tile([0.0, -knee / 2.0, knee], 4)


def write_log(
    folder: Path, seconds: float = 20.0, seed: int = 0, trip_at: float | None = None, card: bytes = b"",
    jerk: float = -1.0,
) -> Path:  # fmt: skip
    """Log ``seconds`` of it; the supervisor trips at ``trip_at``; the rope jerks for 0.1 s from ``jerk`` on."""
    rng = np.random.default_rng(seed)
    upright = np.array([1.0, 0.0, 0.0, 0.0])
    x_of = lambda t: SPEED * max(0.0, t - START)  # noqa: E731
    kept = {"config.yaml": b"rate: 200\n", "revision.txt": b"0123456789"} | ({"card.json": card} if card else {})
    with Recorder(folder, kept, EPOCH) as log:
        for k in range(round(seconds * RATE)):
            t = k / RATE
            p = phase_at(t)
            here, ahead = (
                float(ground(x_of(START + p.index * PERIOD))),
                float(ground(x_of(START + (p.index + 1) * PERIOD))),
            )
            blend = 3 * p.share**2 - 2 * p.share**3
            heave = (1 - blend) * here + blend * ahead
            pose = np.array([0.0, 0.0, heave, 0.0, 0.05 * math.sin(t), 0.0])
            lag = pose + [0, 0, -0.002 * math.sin(9 * t), 0.002 * math.sin(5 * t), 0, 0]
            z = p.height + heave
            base = np.array([0.02 * math.sin(0.7 * t), 0.01 * math.sin(0.5 * t), z])
            reach = min(p.height - 0.022, 0.24 if 0.15 < p.share < 0.85 else 0.285)
            foot = np.full(4, p.force / 4.0) * (1.0 + 0.05 * np.array([1, -1, 1, -1]))
            tension = TENSION + 4.0 * math.sin(8.0 * t) * p.airborne + rng.normal(0.0, 0.5)
            tension += 60.0 * (jerk <= t < jerk + 0.1)
            tripped = trip_at is not None and t >= trip_at
            run = t >= START and not tripped
            robot = RobotState(t - 0.002, joints(reach), np.zeros(12), np.zeros(3), np.array([0.0, 0.0, -1.0]), foot)
            tracker = TrackerState(math.floor(t * 120.0) / 120.0 - 0.01, base + rng.normal(0, 0.002, 3), upright)
            log.write_states(
                MachineStates(
                    PlatformState(t - 0.001, lag, np.zeros(6)),
                    TreadmillState(t - 0.001, SPEED * run, x_of(t)),
                    CounterweightState(t - 0.001, tension, 3.6 - z, 0.0),
                    tracker,
                    robot,
                ),
                np.full(4, not p.airborne),
                t,
            )
            log.write_commands(
                MachineCommands(
                    PlatformCommand(t, pose),
                    TreadmillCommand(t, SPEED * run),
                    CounterweightCommand(t, TENSION, tripped),
                    RobotCommand(t, joints(reach), 30.0, 0.75, "run" if run else "stand"),
                ),
                t,
            )
            log.write("/rig/base_pose", Pose(t, base, upright), t)
            log.write("/world/base_pose", Pose(t, np.array([x_of(t), 0.0, z]), upright), t)
            log.write("/hop_command", HopCommand(SPEED, 0.0, 0.0, APEX, 0.0), t)
            state = "safe" if tripped else "run" if run else "armed" if t > 0.4 else "idle"
            reason = "tracker_stale: the pose tracker is older than 50 ms" if tripped else ""
            log.write("/supervisor/state", SupervisorState(t, state, reason, int(tripped), 3 * int(tripped)), t)
            late = 2e-5 + rng.gamma(1.2, 4e-5) + 1e-3 * (rng.random() < 0.004)
            log.write("/sync/stamp", SyncStamp(t, k, late, 4e-4, np.full(5, 0.004)), t)
            if k % 40 == 0:
                xs = np.arange(-1.6, 1.61, 0.05) + x_of(t)
                heights = np.broadcast_to(ground(xs), (65, 65)).astype(np.float32)
                log.write("/twin/patch", TwinPatch(t, np.array([xs[0], -1.6]), 0.05, heights), t)
    assert not log.warning
    return folder
