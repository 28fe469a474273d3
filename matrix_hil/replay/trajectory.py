"""A log as what physics needs of it: states and actions of robot and machines on one even grid of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import savgol_filter

from matrix_hil.log import Log, Series
from matrix_hil.log.signals import held, interpolated
from matrix_hil.replay.look.measure import rotations
from sim.errors import LunarError

DT = 0.005
"""s between samples."""
_LATEST = 0.03  # s; a robot's state is at most this old when the loop reads it
_TRACKER_SPAN = 11  # samples over which a tracker's noise is smoothed
_WIDEST = 2 * np.pi  # rad; no leg's joint turns further
_TOLERANCE = 1e-6  # s; a command is in force from its own grid time on


@dataclass(frozen=True)
class Trajectory:
    """n samples, every ``DT`` s; frames and units as in ``sim.rig``."""

    time: np.ndarray
    """(n,) s since the log's first message."""
    on_rig: bool
    """Hung from a rope over a belt on Earth; else free on level ground on the Moon."""
    age: float
    """s by which device states were old when the loop read them, taken off here."""
    base_position: np.ndarray
    """(n, 3) m."""
    base_quaternion: np.ndarray
    """(n, 4) w, x, y, z."""
    base_velocity: np.ndarray
    """(n, 3) m/s, from the positions."""
    angular_velocity: np.ndarray
    """(n, 3) rad/s, base frame."""
    joint_position: np.ndarray
    """(n, 12) rad."""
    joint_velocity: np.ndarray
    """(n, 12) rad/s."""
    targets: np.ndarray
    """(n, 12) rad, commanded."""
    kp: np.ndarray
    """(n,) N*m/rad."""
    kd: np.ndarray
    """(n,) N*m*s/rad."""
    running: np.ndarray
    """(n,) bool, the policy drives: mode ``run``."""
    platform_pose: np.ndarray
    """(n, 6) m, rad, measured."""
    belt_speed: np.ndarray
    """(n,) m/s, measured."""
    tension: np.ndarray
    """(n,) N, measured."""
    rope_speed: np.ndarray
    """(n,) m/s, paying out, measured."""
    tension_command: np.ndarray
    """(n,) N, commanded."""
    brake: np.ndarray
    """(n,) bool, commanded."""

    def __len__(self) -> int:
        return len(self.time)


def trajectory(log: Log, tracker_latency: float = 0.010) -> Trajectory:
    """Put a log on the grid.

    Args:
        log: with joints, IMU, robot commands and the base's pose; of a rig also rope, belt and platform.
        tracker_latency: s between a tracker's exposure and its sample's arrival.

    Raises:
        LunarError: the log lacks one of these, is too short, or has joint angles that are not in rad.
    """
    on_rig = "/counterweight/state" in log
    needed = ["/robot/joint_states", "/robot/imu", "/robot/command"]
    needed += ["/counterweight/command", "/treadmill/state", "/platform/state"] if on_rig else []
    for topic in needed:
        log[topic]
    base, span, latency = _base(log, on_rig, tracker_latency)
    joints, imu, command = log["/robot/joint_states"], log["/robot/imu"], log["/robot/command"]
    if (widest := float(np.nanmax(np.abs(joints.position), initial=0.0))) > _WIDEST:
        raise LunarError(f"log {log.path} has joint angles of {widest:.4g}: /robot/joint_states is not in rad")
    begin = max(s.time[0] for s in (base, joints, imu, command)) + _LATEST
    end = min(s.time[-1] for s in (base, joints, imu, command)) - _LATEST
    time = np.arange(np.ceil(begin / DT), np.floor(end / DT) + 1) * DT
    if len(time) < 2 * span:
        raise LunarError(f"log {log.path} is too short to be simulated again: {max(0.0, end - begin):.2f} s")
    quaternion = rotations(time, base.time - latency, base.quaternion)
    age = _age(time, quaternion, imu)
    position = interpolated(time, base.time - latency, base.position)
    smooth = savgol_filter(position, span, 2, axis=0) if span > 3 else position
    n, late = len(time), time + age

    def measured(topic: str, name: str, width: int = 0) -> np.ndarray:
        if not on_rig:
            return np.zeros((n, width) if width else n)
        return interpolated(late, log[topic].time, getattr(log[topic], name))

    def commanded(topic: str, name: str) -> np.ndarray:
        return held(time + _TOLERANCE, log[topic].time, getattr(log[topic], name))

    mode = commanded("/robot/command", "mode")
    return Trajectory(
        time=time - min(float(s.log_time[0]) for s in log.series.values()),
        on_rig=on_rig,
        age=age,
        base_position=smooth,
        base_quaternion=quaternion,
        base_velocity=savgol_filter(position, span, 2, deriv=1, delta=DT, axis=0),
        angular_velocity=interpolated(late, imu.time, imu.angular_velocity),
        joint_position=interpolated(late, joints.time, joints.position),
        joint_velocity=interpolated(late, joints.time, joints.velocity),
        targets=commanded("/robot/command", "targets"),
        kp=commanded("/robot/command", "kp"),
        kd=commanded("/robot/command", "kd"),
        running=np.array(mode == "run", dtype=bool),
        platform_pose=measured("/platform/state", "pose", 6),
        belt_speed=measured("/treadmill/state", "speed"),
        tension=measured("/counterweight/state", "tension"),
        rope_speed=measured("/counterweight/state", "speed"),
        tension_command=commanded("/counterweight/command", "tension") if on_rig else np.zeros(n),
        brake=commanded("/counterweight/command", "brake").astype(bool) if on_rig else np.zeros(n, dtype=bool),
    )


def windows(path: Trajectory, length: float) -> np.ndarray:
    """First samples of stretches of ``length`` s in which the policy drives at constant gains and all that was measured
    is a number, one after the other.

    Each begins where the base accelerates least within its first fifth, as velocities taken from positions are right
    there and wrong in the middle of a landing's impact.

    Raises:
        LunarError: there is none.
    """
    size = max(2, round(length / DT))
    jolt = np.abs(np.gradient(path.base_velocity[:, 2], DT))
    samples = [v.reshape(len(path), -1) for v in vars(path).values() if isinstance(v, np.ndarray)]
    usable = path.running & np.all([np.isfinite(v).all(1) for v in samples], axis=0)
    first, starts = 0, []
    while first + size < len(path):
        stretch = slice(first, first + size + size // 5 + 1)
        if usable[stretch].all() and np.ptp(path.kp[stretch]) == np.ptp(path.kd[stretch]) == 0.0:
            start = first + int(jolt[first : first + size // 5 + 1].argmin())
            if start + size < len(path):
                starts.append(start)
            first += size
        else:
            first += 1
    if not starts:
        raise LunarError(f"the log has no {length:g} s in which the policy drives and all measurements are numbers")
    return np.array(starts)


def _base(log: Log, on_rig: bool, tracker_latency: float) -> tuple[Series, int, float]:
    """Where the base is, over how many samples that is smoothed, and how old it is."""
    exact = "/rig/base_pose" if on_rig else "/world/base_pose"
    if exact in log:
        return log[exact], 3, 0.0
    if "/tracker/pose" in log:
        return log["/tracker/pose"], _TRACKER_SPAN, tracker_latency
    raise LunarError(f"log {log.path} does not say where the base is: neither {exact} nor /tracker/pose")


def _age(time: np.ndarray, quaternion: np.ndarray, imu: Series) -> float:
    """s by which the IMU lags behind the base's attitude, from the direction of gravity in both."""
    w, x, y, z = quaternion.T
    gravity = -np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], axis=1)
    lags = np.arange(0.0, _LATEST, 5e-4)
    misses = [np.square(interpolated(time + lag, imu.time, imu.projected_gravity) - gravity).sum() for lag in lags]
    return float(lags[int(np.argmin(misses))])
