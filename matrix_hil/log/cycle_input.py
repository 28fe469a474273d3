"""The inputs of one cycle of the bridge, as one flat record that a log keeps bit by bit, and back again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from matrix_hil.messages import (
    CounterweightState,
    MachineStates,
    PlatformState,
    RobotState,
    TrackerState,
    TreadmillState,
)
from sim.spec.command import HopCommand

MACHINES = ("platform", "treadmill", "counterweight", "tracker", "robot")


@dataclass(frozen=True)
class CycleInput:
    """Inputs of sync and supervisor in one cycle; fields as in ``matrix_msgs/CycleInput``."""

    time: float
    """s, of the cycle; in a log rounded to ns."""
    cycle: int
    now: float
    """s, the same, exact."""
    orders: tuple[str, ...]
    """Orders to sync and supervisor since the cycle before, in order; see ``matrix_hil.run.loop.ORDERS``."""
    command: np.ndarray
    """(5,) the operator's command to the robot, in SI units."""
    patch_time: float
    """s, of the ground that was used; NaN without one."""
    heard: np.ndarray
    """(5,) bool, whether each of ``MACHINES`` has ever sent a state; without one its values are zero."""
    received: np.ndarray
    """(5,) s."""
    fault: np.ndarray
    """(5,) flags."""
    platform: np.ndarray
    """(12,) pose and velocity."""
    treadmill: np.ndarray
    """(2,) speed in m/s, position in m."""
    counterweight: np.ndarray
    """(3,) tension in N, length in m, speed in m/s."""
    tracker: np.ndarray
    """(7,) position in m, quaternion (w, x, y, z)."""
    joint_position: np.ndarray
    """(12,) rad."""
    joint_velocity: np.ndarray
    """(12,) rad/s."""
    angular_velocity: np.ndarray
    """(3,) rad/s."""
    projected_gravity: np.ndarray
    """(3,) unit vector."""
    foot_force: np.ndarray
    """(4,) N."""


def cycle_input(
    cycle: int,
    now: float,
    states: MachineStates,
    command: HopCommand,
    orders: tuple[str, ...],
    patch_time: float | None,
) -> CycleInput:
    """The record of a cycle at ``now`` s; ``patch_time`` is None without ground."""
    reported: list[Any] = [getattr(states, name) for name in MACHINES]
    p, t, c, tracker, r = states.platform, states.treadmill, states.counterweight, states.tracker, states.robot
    zero3 = np.zeros(3)
    return CycleInput(
        time=now,
        cycle=cycle,
        now=now,
        orders=orders,
        command=command.array(),
        patch_time=math.nan if patch_time is None else patch_time,
        heard=np.array([s is not None for s in reported]),
        received=np.array([0.0 if s is None else s.time for s in reported]),
        fault=np.array([0 if s is None else s.fault for s in reported]),
        platform=np.zeros(12) if p is None else np.concatenate([p.pose, p.velocity]),
        treadmill=np.zeros(2) if t is None else np.array([t.speed, t.position]),
        counterweight=zero3 if c is None else np.array([c.tension, c.length, c.speed]),
        tracker=np.zeros(7) if tracker is None else np.concatenate([tracker.position, tracker.quaternion]),
        joint_position=np.zeros(12) if r is None else r.joint_position,
        joint_velocity=np.zeros(12) if r is None else r.joint_velocity,
        angular_velocity=zero3 if r is None else r.angular_velocity,
        projected_gravity=zero3 if r is None else r.projected_gravity,
        foot_force=np.zeros(4) if r is None else r.foot_force,
    )


def machine_states(inputs: Any, k: int) -> MachineStates:
    """The states of the ``k``-th record of a log's ``/sync/input`` series, bit by bit those of the cycle."""
    heard = inputs.heard[k]
    time, fault = inputs.received[k].tolist(), inputs.fault[k].tolist()
    p, t, c, tracker = (
        inputs.platform[k],
        inputs.treadmill[k].tolist(),
        inputs.counterweight[k].tolist(),
        inputs.tracker[k],
    )
    return MachineStates(
        PlatformState(time[0], p[:6], p[6:], fault[0]) if heard[0] else None,
        TreadmillState(time[1], t[0], t[1], fault[1]) if heard[1] else None,
        CounterweightState(time[2], c[0], c[1], c[2], fault[2]) if heard[2] else None,
        TrackerState(time[3], tracker[:3], tracker[3:], fault[3]) if heard[3] else None,
        RobotState(
            time[4],
            inputs.joint_position[k],
            inputs.joint_velocity[k],
            inputs.angular_velocity[k],
            inputs.projected_gravity[k],
            inputs.foot_force[k],
            fault[4],
        )
        if heard[4]
        else None,
    )
