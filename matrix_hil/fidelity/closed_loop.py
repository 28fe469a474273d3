"""Closed loop: the same policy and commands through the whole bridge, bytes included, and what physics did."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from matrix_hil.config import HilConfig, RigSetup, RunPlan
from matrix_hil.control.sync import SyncConfig
from matrix_hil.fidelity.schemes import Scheme
from matrix_hil.link import DEVICES
from matrix_hil.messages import TwinPatch
from matrix_hil.rig import exact_calibration, open_rig
from matrix_hil.run.clocks import GroundSource, drive
from matrix_hil.run.loop import Cycle
from matrix_hil.virtual.rig import VirtualMachines
from sim.rig.virtual_rig import VirtualRig
from sim.spec.command import HopCommand
from sim.terrain.height_field import HeightField

_PATCH_RATE, _PATCH_EXTENT, _PATCH_RESOLUTION = 10.0, 1.5, 0.05  # Hz, m around the robot, m
_NO_PULL = 60.0  # m, height of a pulley whose sideways pull is next to nothing
_RECENT = 100  # ticks in which a state that the policy acts on must have been measured


@dataclass(frozen=True)
class Recording:
    """What physics did while the policy drove: one row per tick, time from the policy's start."""

    time: np.ndarray
    """(n,) s."""
    base_height: np.ndarray
    """(n,) m, rig frame."""
    base_speed: np.ndarray
    """(n,) m/s, upward."""
    tilt: np.ndarray
    """(n,) rad."""
    com_velocity: np.ndarray
    """(n, 3) m/s, rig frame."""
    foot_force: np.ndarray
    """(n, 4) N."""
    joint_torque: np.ndarray
    """(n, 12) N*m."""
    joint_velocity: np.ndarray
    """(n, 12) rad/s."""
    tension: np.ndarray
    """(n,) N."""
    rig_ground: np.ndarray
    """(n,) m, height of the belt under the base, rig frame."""
    twin_ground: np.ndarray
    """(n,) m, height of the virtual ground under the base."""
    latency: np.ndarray
    """(actions,) s from the measurement that the policy acted on to its targets in the servos."""
    mass: float
    """kg of the robot."""
    trips: int
    reason: str
    """Why the supervisor ended the run early; empty when it did not."""


def run_scheme(
    scheme: Scheme,
    setup: RigSetup,
    policy: str,
    command: HopCommand,
    plan: RunPlan,
    ground: HeightField,
    seed: int,
    tick: Callable[[float], None],
) -> Recording:
    """Run ``policy`` on the rig of one scheme in simulated time.

    Args:
        scheme: how weight is taken off.
        setup: the rig; its trim is on for schemes with a force loop only.
        policy: folder of an exported policy.
        command: to the robot.
        plan: times.
        ground: the virtual world's.
        seed: of sensor noise and of the robot's first pose.
        tick: called with the simulated time now and then, s.
    """
    safety = setup.safety
    if not scheme.trim:
        safety = replace(safety, rope_astray=math.inf)  # no winch makes the rope pull as it is told
    if scheme.ropeless:
        # a rope that is not there is not slack, and nobody falls off the Moon's edge
        safety = replace(safety, slack_tension=-math.inf, drift=math.inf)
    machines = {name: getattr(setup, name) for name in DEVICES}
    cfg = HilConfig(
        rig=scheme.rig_config(setup.rig), trim=replace(setup.trim, enabled=scheme.trim), **machines,
        sync=_knowing(scheme, setup), safety=safety, policy=policy, command=command, plan=plan, seed=seed,
    )  # fmt: skip
    with open_rig(cfg, ground=_ground_source(ground), calibration=exact_calibration(cfg)) as rig:
        assert isinstance(rig.machines, VirtualMachines)
        trace = _Trace(rig.machines, ground)
        rig.machines.watch = trace.tick
        rig.takers.append(trace.cycle)
        with rig.clock() as clock:
            drive(rig.loop, clock, rig.ground, lambda now: None, lambda now, *_: tick(now))
    return trace.recording()


def _knowing(scheme: Scheme, setup: RigSetup) -> SyncConfig:
    """The bridge as a lab with this scheme would set it: it knows how the robot falls, and whether a rope pulls."""
    flight = replace(setup.sync.flight, gravity=sum(scheme.theory(setup.rig, setup.sync.mass)) / 2.0)
    if scheme.ropeless or setup.rig.trolley_lag > 0.0:
        flight = replace(flight, pulley_height=_NO_PULL)
    return replace(setup.sync, flight=flight, leg_relief=setup.sync.leg_relief and not scheme.ropeless)


def _ground_source(ground: HeightField) -> GroundSource:
    """Patches cut out of the true ground: how well Unreal's images show it is the twin's question, not the rope's."""
    newest: TwinPatch | None = None

    def source(world: np.ndarray, velocity: np.ndarray, now: float) -> TwinPatch:
        nonlocal newest
        if newest is None or now - newest.time >= 1.0 / _PATCH_RATE - 1e-9:
            middle = world[:2] + 0.5 * velocity
            origin = np.floor((middle - _PATCH_EXTENT) / _PATCH_RESOLUTION) * _PATCH_RESOLUTION
            steps = np.arange(round(2 * _PATCH_EXTENT / _PATCH_RESOLUTION) + 1) * _PATCH_RESOLUTION
            x, y = np.meshgrid(origin[0] + steps, origin[1] + steps)
            newest = TwinPatch(now, origin, _PATCH_RESOLUTION, ground.height(x, y))
        return newest

    return source


class _Trace:
    """Writes down what physics does in every tick, and how long a measurement takes to become a motion."""

    def __init__(self, machines: VirtualMachines, ground: HeightField) -> None:
        self._machines = machines
        self._rig: VirtualRig = machines.rig
        self._ground = ground
        self._rows: list[tuple[float, ...]] = []
        self._vectors: list[tuple[np.ndarray, ...]] = []
        self._world: list[np.ndarray] = []
        self._measured: deque[tuple[float, bytes]] = deque(maxlen=_RECENT)
        self._awaited: tuple[float, np.ndarray] | None = None
        self._latency: list[float] = []
        self._last: Cycle | None = None

    def cycle(self, cycle: Cycle) -> None:
        """After the bridge's cycle."""
        self._last = cycle
        state = cycle.states.robot
        if cycle.info.running and cycle.info.policy_time == cycle.time and state is not None:
            key = state.joint_position.astype(np.float32).tobytes()
            at = next((time for time, measured in reversed(self._measured) if measured == key), None)
            self._awaited = None if at is None else (at, cycle.sent.robot.targets.astype(np.float32))

    def tick(self, now: float) -> None:
        """After a tick of physics that ended at ``now``, s."""
        o, rig = self._machines.outputs, self._rig
        if self._awaited is not None:
            at, targets = self._awaited
            if (self._machines.robot.actuated.targets.astype(np.float32) == targets).all():
                self._latency.append(now - at)
                self._awaited = None
        # machines measure and act at a tick's start: what is seen now will have been measured at the next
        self._measured.append((now + self._machines.tick, o.joint_position.astype(np.float32).tobytes()))
        if self._last is None or not self._last.info.running:
            return
        x, y, z = o.base_position
        heave, roll, pitch = o.platform_pose[2:5]
        ground = heave - math.sin(pitch) * x + math.sin(roll) * y
        tilt = math.acos(min(max(-float(o.projected_gravity[2]), -1.0), 1.0))
        self._rows.append((now, z, o.base_velocity[2], tilt, o.rope_tension, ground))
        self._vectors.append((rig.center_of_mass()[1], o.foot_force, o.joint_torque, o.joint_velocity))
        self._world.append(self._last.world[:2])

    def recording(self) -> Recording:
        """All of it."""
        rows = np.array(self._rows).reshape(-1, 6)
        com, feet, torque, velocity = (
            np.array([v[i] for v in self._vectors]).reshape(-1, size) for i, size in enumerate((3, 4, 12, 12))
        )
        world = np.array(self._world).reshape(-1, 2)
        last = self._last
        return Recording(
            time=rows[:, 0] - (rows[0, 0] if len(rows) else 0.0),
            base_height=rows[:, 1],
            base_speed=rows[:, 2],
            tilt=rows[:, 3],
            com_velocity=com,
            foot_force=feet,
            joint_torque=torque,
            joint_velocity=velocity,
            tension=rows[:, 4],
            rig_ground=rows[:, 5],
            twin_ground=self._ground.height(world[:, 0], world[:, 1]),
            latency=np.array(self._latency),
            mass=self._rig.mass,
            trips=last.supervisor.trips if last else 0,
            reason=last.supervisor.reason if last else "",
        )
