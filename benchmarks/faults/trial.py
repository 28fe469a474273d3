"""One fault on the simulated clock: the rig runs, the fault strikes at a phase of a hop, and all that matters is noted.

The run is that of ``lunar hil``, with a ``Cable`` between every driver and its device. Time in the trial is that of the
machines; the host's clock is the same until a fault lets it jump.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np

from benchmarks.faults.alterations import Alteration
from benchmarks.faults.cable import Cable, lockstep_through
from matrix_hil.config import HilConfig, RunPlan, Twin
from matrix_hil.rig import Rig
from matrix_hil.run.clocks import SimulatedClock, drive
from matrix_hil.run.drivers import leave_safe
from matrix_hil.run.loop import Loop
from matrix_hil.virtual.rig import VirtualMachines
from matrix_hil.virtual.unreal import Misbehaviour, TwinServer
from sim.rig.signals import RigOutputs
from sim.spec.command import HopCommand

Phase = Literal["lift-off", "rising", "apex", "falling", "touch-down", "landing", "stance", "pushing"]
PHASES: tuple[Phase, ...] = ("lift-off", "rising", "apex", "falling", "touch-down", "landing", "stance", "pushing")
"""Of a hop, in order."""

PATCH_PERIOD = 0.25
"""s between patches of virtual ground."""
COMMAND = HopCommand(0.4, 0.0, 0.0, 0.3, 0.0)

_CONTACT = 1.0  # N on all feet together; less is flight
_SLOW = 0.15  # m/s; around the turning points of the base's motion
_LATEST = 6.0  # s with the policy by which the phase must have come


def rig_of(server: TwinServer, deadline: float = 10.0, **settings: Any) -> HilConfig:
    """The rig of a trial over ``server``'s ground: patches at a fixed pace, which wait for a busy computer.

    Args:
        server: stand-in for Unreal.
        deadline: s of wall time for a patch.
        settings: further fields of ``HilConfig``.
    """
    twin = Twin(
        host="127.0.0.1", port=server.port, timeout=10.0, deadline=deadline, prefetch=0.0, rate=1.0 / PATCH_PERIOD
    )
    plan = RunPlan(duration=20.0, stand=0.3, down=1.0)
    return replace(HilConfig(twin=twin, plan=plan), **settings)


@dataclass
class Recording:
    """What a trial saw, one row per millisecond; times in s."""

    time: list[float] = field(default_factory=list)
    platform_pose: list[np.ndarray] = field(default_factory=list)
    """(6,) m and rad."""
    platform_speed: list[float] = field(default_factory=list)
    """m/s or rad/s, the fastest axis."""
    belt_speed: list[float] = field(default_factory=list)
    """m/s."""
    brake: list[bool] = field(default_factory=list)
    rope_length: list[float] = field(default_factory=list)
    """m."""
    tension: list[float] = field(default_factory=list)
    """N."""
    mode: list[str] = field(default_factory=list)
    """Of the robot's controller."""
    base: list[np.ndarray] = field(default_factory=list)
    """(6,) m and m/s, place and velocity of the robot's base in the rig's frame."""

    def add(self, now: float, machines: VirtualMachines) -> None:
        """Take what the machines do now."""
        self.time.append(now)
        self.platform_pose.append(machines.platform.actuated.pose)
        self.platform_speed.append(float(np.abs(machines.platform.actuated.velocity).max()))
        self.belt_speed.append(machines.treadmill.actuated.speed)
        self.brake.append(machines.counterweight.actuated.brake)
        self.rope_length.append(machines.outputs.rope_length)
        self.tension.append(machines.outputs.rope_tension)
        self.mode.append(machines.robot.actuated.mode)
        self.base.append(np.concatenate([machines.outputs.base_position, machines.outputs.base_velocity]))


class Trial:
    """Drives a rig: ``run`` it, then read the fields.

    Args:
        inject: makes the fault, given this trial.
        when: phase of a hop at which it does; None: as soon as the policy drives.
        server: stand-in for Unreal that the run reads.
        after: s with the policy before the phase counts.
        wait: s after the fault for which a trip is waited for.
    """

    def __init__(
        self,
        inject: Callable[[Trial], None],
        when: Phase | None,
        server: TwinServer,
        after: float = 0.6,
        wait: float = 4.0,
    ) -> None:
        self._inject = inject
        self._when = when
        self._after = after
        self._wait = wait
        self._server = server
        self.cables: dict[str, Cable] = {}
        self.jump = 0.0
        """s that the host's clock is ahead of the machines'."""
        self.injected: float | None = None
        """s, when the fault struck; None if its phase never came."""
        self.tripped: float | None = None
        """s, when the supervisor latched."""
        self.recording = Recording()
        self.apex = 0.0
        """m, greatest height of the robot's base before the fault."""
        self.silenced: frozenset[str] = frozenset()
        """Machines that the supervisor has given up."""
        self._started: float | None = None
        self._seen: list[str] = []

    # ---- what a fault may do ----------------------------------------------------------------------------------------

    def to_host(self, device: str, alteration: Alteration) -> None:
        """Spoil what a device says."""
        self.cables[device].spoil("to_host", alteration)

    def to_device(self, device: str, alteration: Alteration) -> None:
        """Spoil what a device hears."""
        self.cables[device].spoil("to_device", alteration)

    def twin(self, misbehaviour: Misbehaviour) -> None:
        """Let the stand-in for Unreal misbehave."""
        self._server.misbehave(misbehaviour)

    # ---- the run ----------------------------------------------------------------------------------------------------

    def run(self, rig: Rig) -> None:
        """Run to the end. Machines go in ticks of a millisecond, the host once per cycle, nobody is ever late."""
        loop, clock = rig.loop, _HostClock(self, rig)

        def after(now: float, duration: float, lateness: float) -> None:
            if self.tripped is None and loop.supervisor.state in ("safe", "estop"):
                self.tripped = now - self.jump
            self.silenced |= loop.supervisor.silenced
            assert loop.last is not None
            if rig.log is not None:
                rig.log.timed(loop.last, 0.0, 0.0)

        try:
            with clock:
                drive(loop, clock, rig.ground, lambda now: None, after)
        finally:
            leave_safe(rig.drivers.values())
            for cable in self.cables.values():
                cable.close()

    def strike(self, now: float, loop: Loop, machines: VirtualMachines) -> None:
        """The turn of the fault, s on the machines' clock."""
        if self._started is None and loop.phase == "run":
            self._started = now
        if self.injected is None and self._started is not None and now >= self._started + self._after:
            if self._when is None or self._is_phase(machines.outputs):
                self.injected = now
                self._inject(self)
                self.recording.add(now, machines)
            elif now > self._started + _LATEST:
                loop.stop(now)
        if self.injected is not None and self.tripped is None and now > self.injected + self._wait:
            loop.stop(now)

    def _is_phase(self, o: RigOutputs) -> bool:
        """Whether the hop has just come to the phase that was asked for, the ones before it having been seen."""
        force, rate = float(o.foot_force.sum()), float(o.base_velocity[2])
        air = force < _CONTACT
        phase: Phase
        if air:
            fresh = not self._seen or self._seen[-1] not in ("lift-off", "rising", "apex", "falling")
            phase = "lift-off" if fresh else "apex" if abs(rate) < _SLOW else "rising" if rate > 0 else "falling"
        else:
            fresh = bool(self._seen) and self._seen[-1] in ("rising", "apex", "falling")
            phase = "touch-down" if fresh else "stance" if abs(rate) < _SLOW else "landing" if rate < 0 else "pushing"
        if not self._seen or self._seen[-1] != phase:
            self._seen.append(phase)
        return phase == self._when and len(set(self._seen)) > 2


class _HostClock(SimulatedClock):
    """Simulated time on a host whose clock a fault may let jump, with a cable between every driver and its device."""

    def __init__(self, trial: Trial, rig: Rig) -> None:
        assert isinstance(rig.machines, VirtualMachines)
        super().__init__(rig.machines, rig.drivers, 1.0 / rig.cfg.sync.rate)
        self._trial, self._loop = trial, rig.loop

        def watch(now: float) -> None:
            if trial.injected is not None:
                trial.recording.add(now, self.machines)
            else:
                trial.apex = max(trial.apex, float(self.machines.outputs.base_position[2]))

        rig.machines.watch = watch

    def __enter__(self) -> Self:
        cables = self._trial.cables
        for name, device in self.devices.items():
            device.disconnect()
            self.machines.emulators[name].poll(0.0, 30.0, device.bytes_sent)  # what it said in leaving is no surprise
            cables[name] = cable = Cable(device.port)
            device.port = cable.port
            device.connect()
        self.links = self.machines.lockstep(
            self.devices, lambda device, emulator: lockstep_through(cables[device.spec.name], device, emulator)
        )
        return self

    def wait(self) -> float:
        """Move the machines; then the fault may strike."""
        self._trial.strike(super().wait(), self._loop, self.machines)
        return self.now()

    def now(self) -> float:
        """s on the host's clock."""
        return super().now() + self._trial.jump
