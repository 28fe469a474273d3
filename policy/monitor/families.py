"""What goes wrong, by family: faults of sensors, motors, body, ground, time and pushes, and controls that are no fault.

The families ``LOOKED_AT`` were looked at when scores were chosen; the others serve for nothing but the test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policy.monitor.nominal import Disturbance
from sim.envs.world import PronkWorld
from sim.spec.joints import JOINT_NAMES
from sim.spec.observation import SENSORS

_STARTS = {s.name: sum(x.size for x in SENSORS[:i]) for i, s in enumerate(SENSORS)}
_SCALES = {s.name: s.scale for s in SENSORS}
_SIZES = {s.name: s.size for s in SENSORS}


def place(sensor: str, index: int = 0) -> int:
    """Column of a frame that holds a sensor's value."""
    return _STARTS[sensor] + index


class Sense(Disturbance):
    """Changes what is sensed: ``change(frame, memory)``, where memory is the frame (N, 42) at the onset."""

    def __init__(self, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._change = change

    def begin(self, world: PronkWorld, onset: Tensor) -> None:
        super().begin(world, onset)
        self._memory = torch.zeros(world.num_envs, world.spec.frame_size)

    def sense(self, frame: Tensor) -> Tensor:
        now = (self.onset == self.step)[:, None]
        self._memory = torch.where(now, frame, self._memory)
        return torch.where(self.on[:, None], self._change(frame.clone(), self._memory), frame)


class Replay(Disturbance):
    """Sensors repeat what they read ``steps`` ago: an old message, again and again."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._past: list[Tensor] = []

    def sense(self, frame: Tensor) -> Tensor:
        self._past = [frame, *self._past[: self._steps]]
        old = self._past[-1].clone()
        old[:, 30:] = frame[:, 30:]
        return torch.where(self.on[:, None], old, frame)


class Move(Disturbance):
    """Changes what the joints get: ``change(action, memory)``, where memory is the action at the onset."""

    def __init__(self, change: Callable[[Tensor, Tensor], Tensor], late: int = 0) -> None:
        self._change, self._late = change, late
        self._past: list[Tensor] = []

    def begin(self, world: PronkWorld, onset: Tensor) -> None:
        super().begin(world, onset)
        self._memory = torch.zeros(world.num_envs, 12)

    def move(self, action: Tensor) -> Tensor:
        self._past = [action, *self._past[: self._late]]
        self._memory = torch.where((self.onset == self.step)[:, None], action, self._memory)
        return torch.where(self.on[:, None], self._change(self._past[-1].clone(), self._memory), action)


class Limp(Disturbance):
    """A joint's motor gives no torque: its target follows the joint, so that only damping is left."""

    def __init__(self, joint: int) -> None:
        self._joint = joint

    def move(self, action: Tensor) -> Tensor:
        w, j = self.world, self._joint
        moved = action.clone()
        here = (w.physics.qpos[:, 7 + j] - w.nominal[j]) / w.action_scale
        moved[:, j] = torch.where(self.on, here, action[:, j])
        return moved


class World(Disturbance):
    """Changes the world of the robots when their time has come."""

    def __init__(self, change: Callable[[PronkWorld, Tensor], None]) -> None:
        self._change = change

    def strike(self, ids: Tensor) -> None:
        self._change(self.world, ids)


class Shove(Disturbance):
    """One push from the side within a control step, ``impulse`` in N*s."""

    def __init__(self, impulse: float) -> None:
        self._impulse = impulse

    def move(self, action: Tensor) -> Tensor:
        if len(ids := ((self.onset == self.step) | (self.onset + 1 == self.step)).nonzero()[:, 0]):
            force = torch.zeros(len(ids), 2)
            force[self.onset[ids] == self.step, 1] = self._impulse / self.world.dt
            self.world.physics.set_push(ids, force)
        return action


class SamePhase(Disturbance):
    """For ``steps`` of the policy the sensors repeat what they read one hop earlier, at the same phase."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._past: list[Tensor] = []
        self._flying: list[Tensor] = []

    def sense(self, frame: Tensor) -> Tensor:
        self._past, self._flying = [*self._past, frame], [*self._flying, self.world.state.in_flight.clone()]
        seen = frame.clone()
        for i in (self.on & (self.step < self.onset + self._steps)).nonzero()[:, 0].tolist():
            flying = torch.stack([f[i] for f in self._flying[: int(self.onset[i]) + 1]]).int()
            begun = (flying.diff() == 1).nonzero()[:, 0]
            if len(begun) > 1:
                seen[i, :30] = self._past[self.step - int(begun[-1] - begun[-2])][i, :30]
        return seen


class Ask(Disturbance):
    """Another command, scaled as policies see it, within the range of training."""

    def __init__(self, command: tuple[float, ...]) -> None:
        self._command = torch.tensor(command)

    def ask(self, command: Tensor) -> Tensor:
        return torch.where(self.on[:, None], self._command.expand_as(command), command)


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    family: str
    make: Callable[[], Disturbance]
    channels: tuple[str, ...] = ()
    """Beginnings of the names of channels that a verdict may name for it; empty where none is the right one."""
    terrain: str = ""
    """Ground that the trials are on instead, of configs/terrain/."""


def _add(sensor: str, index: int, value: float) -> Callable[[], Disturbance]:
    def change(frame: Tensor, _: Tensor) -> Tensor:
        frame[:, place(sensor, index)] += value * _SCALES[sensor]
        return frame

    return lambda: Sense(change)


def _freeze(sensors: dict[str, int]) -> Callable[[], Disturbance]:
    def change(frame: Tensor, memory: Tensor) -> Tensor:
        for sensor, index in sensors.items():
            at = place(sensor, index)
            frame[:, at] = 0.0 if sensor == "joint_velocity" else memory[:, at]
        return frame

    return lambda: Sense(change)


def _noise(factor: float) -> Callable[[], Disturbance]:
    generator = torch.Generator().manual_seed(5)

    def change(frame: Tensor, _: Tensor) -> Tensor:
        for sensor in SENSORS:
            if sensor.noise:
                at = slice(_STARTS[sensor.name], _STARTS[sensor.name] + sensor.size)
                uniform = 2.0 * torch.rand(len(frame), sensor.size, generator=generator) - 1.0
                frame[:, at] += factor * sensor.noise * sensor.scale * uniform
        return frame

    return lambda: Sense(change)


def _tilted(angle: float) -> Callable[[], Disturbance]:
    c, s = np.cos(angle), np.sin(angle)
    turn = torch.tensor([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]], dtype=torch.float32)

    def change(frame: Tensor, _: Tensor) -> Tensor:
        frame[:, 0:3], frame[:, 3:6] = frame[:, 0:3] @ turn, frame[:, 3:6] @ turn
        return frame

    return lambda: Sense(change)


def _swapped(frame: Tensor, _: Tensor) -> Tensor:
    order = [3, 4, 5, 0, 1, 2, 6, 7, 8, 9, 10, 11]
    for start in (6, 18):
        frame[:, start : start + 12] = frame[:, start : start + 12][:, order]
    return frame


def _scaled_turn(frame: Tensor, _: Tensor) -> Tensor:
    frame[:, 0:3] *= float(np.pi / 180.0)
    return frame


def _shift(joint: int, angle: float) -> Callable[[], Disturbance]:
    def change(action: Tensor, _: Tensor) -> Tensor:
        action[:, joint] += angle / 0.35
        return action

    return lambda: Move(change)


def _locked(joint: int) -> Callable[[], Disturbance]:
    def change(action: Tensor, memory: Tensor) -> Tensor:
        action[:, joint] = memory[:, joint]
        return action

    return lambda: Move(change)


def _as_is(action: Tensor, _: Tensor) -> Tensor:
    return action


def _weaker(world: PronkWorld, ids: Tensor) -> None:
    one = torch.ones(len(ids))
    world.physics.set_motors(ids, one, one, 0.5 * one, 0.0 * one)


def _rubbing(world: PronkWorld, ids: Tensor) -> None:
    one = torch.ones(len(ids))
    world.physics.set_joints(ids, 1.5 * one, 4.0 * one)


def _load(kg: float) -> Callable[[], Disturbance]:
    def change(world: PronkWorld, ids: Tensor) -> None:
        where = torch.tensor([[0.1, 0.0, 0.1]]).repeat(len(ids), 1)
        world.physics.set_payload(ids, torch.full((len(ids),), kg), where, torch.zeros(len(ids), 3))

    return lambda: World(change)


def _gravity(value: float) -> Callable[[], Disturbance]:
    def change(world: PronkWorld, ids: Tensor) -> None:
        world.physics.set_gravity(ids, torch.full((len(ids),), value), torch.zeros(len(ids)))

    return lambda: World(change)


def _ice(world: PronkWorld, ids: Tensor) -> None:
    world.physics.set_friction(ids, torch.full((len(ids),), 0.08))


def _other_noise(world: PronkWorld, _: Tensor) -> None:
    torch.rand(1, generator=world.generator)  # whatever is drawn after it is another


def _shoved(world: PronkWorld, ids: Tensor) -> None:
    world.physics.set_push(ids, torch.tensor([[0.0, 25.0]]).repeat(len(ids), 1))


class Drift(Sense):
    """A channel that creeps away by ``rate`` per second."""

    def __init__(self, sensor: str, index: int, rate: float) -> None:
        super().__init__(self._creep)
        self._at, self._rate = place(sensor, index), rate * _SCALES[sensor]

    def _creep(self, frame: Tensor, _: Tensor) -> Tensor:
        frame[:, self._at] += self._rate * self.world.dt * (self.step - self.onset).clamp(min=0)
        return frame


def _joint(name: str) -> int:
    return JOINT_NAMES.index(f"{name}_joint")


def _leg(joint: str) -> tuple[str, ...]:
    return (f"{joint} position", f"{joint} velocity")


FAULTS: dict[str, Fault] = {
    "gyro off by 0.6 rad/s": Fault("sensor", _add("angular_velocity", 1, 0.6), ("angular_velocity y",)),
    "IMU tilted by 12 deg": Fault("sensor", _tilted(0.21), ("angular_velocity", "projected_gravity")),
    "encoder off by 0.2 rad": Fault("sensor", _add("joint_position", _joint("RL_thigh"), 0.2), _leg("RL_thigh")),
    "encoder stuck": Fault(
        "sensor",
        _freeze({"joint_position": _joint("FR_calf"), "joint_velocity": _joint("FR_calf")}),
        _leg("FR_calf"),
    ),
    "noise x 5": Fault("sensor", _noise(5.0), ()),
    "front legs swapped": Fault("sensor", lambda: Sense(_swapped), ("FL_", "FR_")),
    "gyro in degrees": Fault("sensor", lambda: Sense(_scaled_turn), ("angular_velocity",)),
    "knee dead": Fault("actuator", lambda: Limp(_joint("RR_calf")), _leg("RR_calf")),
    "hip off by 0.15 rad": Fault("actuator", _shift(_joint("FL_thigh"), 0.15), _leg("FL_thigh")),
    "joint holds still": Fault("actuator", _locked(_joint("RL_calf")), _leg("RL_calf")),
    "motors x 0.5": Fault("actuator", lambda: World(_weaker)),
    "joints rub": Fault("actuator", lambda: World(_rubbing)),
    "actions 40 ms late": Fault("time", lambda: Move(_as_is, late=2), ()),
    "sensors 60 ms late": Fault("time", lambda: Replay(3)),
    "frames of 0.5 s ago": Fault("time", lambda: Replay(25)),
    "load of 5 kg": Fault("body", _load(5.0)),
    "gravity 3.7": Fault("ground", _gravity(3.7)),
    "ice": Fault("ground", lambda: World(_ice)),
    "pushed by 25 N": Fault("push", lambda: World(_shoved)),
    "attitude drifts 0.1 /s": Fault("drift", lambda: Drift("projected_gravity", 0, 0.1), ("projected_gravity x",)),
    "encoder drifts 0.1 rad/s": Fault(
        "drift", lambda: Drift("joint_position", _joint("FR_thigh"), 0.1), _leg("FR_thigh")
    ),
}
"""By name; each is on from its onset to the end."""
LOOKED_AT = ("sensor", "body", "push", "actuator")
"""Families on which scores were compared while they were chosen."""
HIJACK = "hijacked within its range"
"""The control of which a monitor of states can see nothing: an order like any other, by somebody else."""
CONTROLS: dict[str, Fault] = {
    HIJACK: Fault("control", lambda: Ask((1.2, 0.4, 0.4, 1.6, 0.0))),
    "operator asks for a turn": Fault("control", lambda: Ask((0.6, 0.0, -0.4, 0.8, 0.5))),
    "noise drawn anew": Fault("control", lambda: World(_other_noise)),
    "0.1 s of the hop before": Fault("control", lambda: SamePhase(5)),
    "load of 1 kg": Fault("control", _load(1.0)),
    "gravity 2.4": Fault("control", _gravity(2.4)),
    "one push of 10 N s": Fault("control", lambda: Shove(10.0)),
    "terrain not seen": Fault("control", Disturbance, terrain="polar-rough"),
}
"""What is no fault, and must not trip: the operator's own choice, and what the card's ranges of training hold."""
