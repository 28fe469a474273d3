"""Hops with something rare planted in them, for ``lunar bench subset``: what is planted, and the hops as features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from matrix_hil.log.hops import FEATURES, hops_of
from matrix_hil.log.signals import Signals
from policy.monitor.nominal import Disturbance, world_of
from policy.monitor.nominal import run as feed
from policy.networks.policy_file import load_actor
from sim.envs.world import PronkWorld
from sim.files import find_policy
from sim.mdp.state import State
from sim.spec.gravity import MOON
from sim.spec.joints import JOINT_NAMES
from sim.spec.observation import SENSORS

_ONE_HOP = 65  # control steps
_CALM = 250  # steps after something rare in which a robot's hops belong to nothing
_BEGUN, _FALLING = 4.0, 3.0  # s of a trial's beginning and before a fall in which hops belong to nothing either
_PLACES = {s.name: sum(x.size for x in SENSORS[:i]) for i, s in enumerate(SENSORS)}
_SCALES = {s.name: s.scale for s in SENSORS}


@dataclass(frozen=True)
class Rare:
    """What is planted: any of the three, in the robots ``ids``; ``on`` is False when it is to be undone."""

    sense: Callable[[Tensor], None] | None = None
    """Changes the rows of a frame, scaled, in place."""
    move: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    """Of actions now, two steps ago and at the onset: what the joints get instead."""
    strike: Callable[[PronkWorld, Tensor, bool], None] | None = None
    """Changes the world."""
    steps: int = _ONE_HOP


def _add(sensor: str, index: int, value: float) -> Rare:
    at, change = _PLACES[sensor] + index, value * _SCALES[sensor]

    def sense(rows: Tensor) -> None:
        rows[:, at] += change

    return Rare(sense=sense)


def _push(x: float, y: float, steps: int = 10) -> Rare:
    def strike(world: PronkWorld, ids: Tensor, on: bool) -> None:
        world.physics.set_push(ids, torch.tensor([[x, y]]).repeat(len(ids), 1) * on)

    return Rare(strike=strike, steps=steps)


def _load(kg: float, x: float, steps: int) -> Rare:
    def strike(world: PronkWorld, ids: Tensor, on: bool) -> None:
        place = torch.tensor([[x, 0.0, 0.1]]).repeat(len(ids), 1)
        world.physics.set_payload(ids, torch.full((len(ids),), kg * on), place, torch.zeros(len(ids), 3))

    return Rare(strike=strike, steps=steps)


def _gravity(value: float) -> Rare:
    def strike(world: PronkWorld, ids: Tensor, on: bool) -> None:
        world.physics.set_gravity(ids, torch.full((len(ids),), value if on else MOON), torch.zeros(len(ids)))

    return Rare(strike=strike)


def _ice(friction: float) -> Rare:
    def strike(world: PronkWorld, ids: Tensor, on: bool) -> None:
        world.physics.set_friction(ids, torch.full((len(ids),), friction) if on else world.friction[ids])

    return Rare(strike=strike)


def _motors(strength: float, stiffness: float = 1.0, delay: float = 0.0) -> Rare:
    def strike(world: PronkWorld, ids: Tensor, on: bool) -> None:
        one = torch.ones(len(ids))
        values = (stiffness, 1.0, strength, delay) if on else (1.0, 1.0, 1.0, 0.0)
        world.physics.set_motors(ids, *(v * one for v in values))

    return Rare(strike=strike)


def _leg(leg: int, share: float) -> Rare:
    def move(now: Tensor, _: Tensor, __: Tensor) -> Tensor:
        out = now.clone()
        out[:, 3 * leg : 3 * leg + 3] *= share
        return out

    return Rare(move=move)


def _stuck(joint: str, steps: int) -> Rare:
    j = JOINT_NAMES.index(f"{joint}_joint")

    def move(now: Tensor, _: Tensor, first: Tensor) -> Tensor:
        out = now.clone()
        out[:, j] = first[:, j]
        return out

    return Rare(move=move, steps=steps)


def _offset(joint: str, angle: float) -> Rare:
    j = JOINT_NAMES.index(f"{joint}_joint")

    def move(now: Tensor, _: Tensor, __: Tensor) -> Tensor:
        out = now.clone()
        out[:, j] += angle / 0.35
        return out

    return Rare(move=move)


def _noise(factor: float) -> Rare:
    generator = torch.Generator().manual_seed(5)

    def sense(rows: Tensor) -> None:
        at = slice(_PLACES["joint_position"], _PLACES["joint_position"] + 24)
        rows[:, at] += factor * (2.0 * torch.rand(len(rows), 24, generator=generator) - 1.0)

    return Rare(sense=sense)


SHOWN: dict[str, Rare] = {
    "pushed by 25 N for 0.4 s": _push(0.0, 25.0, 20),
    "front left leg at 40%": _leg(0, 0.4),
    "rear knee stuck for 0.4 s": _stuck("RL_calf", 20),
    "pulled back by 60 N for 0.1 s": _push(-60.0, 0.0, 5),
    "actions 40 ms late": Rare(move=lambda _, old, __: old),
    "3 kg on the trunk for ten hops": _load(3.0, 0.1, 10 * _ONE_HOP),
    "encoder off by 0.3 rad": _add("joint_position", JOINT_NAMES.index("RL_thigh_joint"), 0.3),
    "IMU off by 0.2": _add("projected_gravity", 0, 0.2),
    "ice": _ice(0.05),
    "gravity 2.6": _gravity(2.6),
    "motors at half strength": _motors(0.5),
    "noisy joints": _noise(0.3),
}
"""Looked at while the choice was made."""
HELD: dict[str, Rare] = {
    "pushed ahead by 30 N for 0.4 s": _push(30.0, 0.0, 20),
    "rear right leg at 40%": _leg(3, 0.4),
    "front hip stuck for 0.4 s": _stuck("FR_thigh", 20),
    "shoved by 80 N for 0.1 s": _push(0.0, -80.0, 5),
    "servos 20 ms late": _motors(1.0, delay=0.02),
    "4 kg at the tail for ten hops": _load(4.0, -0.15, 10 * _ONE_HOP),
    "hip off by 0.25 rad": _offset("FL_thigh", 0.25),
    "gyro off by 1.5 rad/s": _add("angular_velocity", 1, 1.5),
    "gravity 0.9": _gravity(0.9),
    "servos at half stiffness": _motors(1.0, 0.5),
    "abduction off by 0.3 rad": _offset("RR_hip", 0.3),
    "encoder off by 0.3 rad in a knee": _add("joint_position", JOINT_NAMES.index("FR_calf_joint"), 0.3),
}
"""Not looked at."""


class Planted(Disturbance):
    """Robot i gets kind i % 12, once, from its onset on."""

    def __init__(self, kinds: dict[str, Rare]) -> None:
        self._kinds = list(kinds.values())

    def begin(self, world: PronkWorld, onset: Tensor) -> None:
        super().begin(world, onset)
        self._past: list[Tensor] = []
        self._first = torch.zeros(world.num_envs, 12)
        self._kind = torch.arange(world.num_envs) % len(self._kinds)
        self._until = onset + torch.tensor([kind.steps for kind in self._kinds])[self._kind]

    def _rows(self, k: int) -> Tensor:
        return ((self._kind == k) & (self.onset <= self.step) & (self.step < self._until)).nonzero()[:, 0]

    def sense(self, frame: Tensor) -> Tensor:
        for k, kind in enumerate(self._kinds):
            if kind.strike is not None:
                for edge, on in ((self.onset, True), (self._until, False)):
                    if len(ids := ((self._kind == k) & (edge == self.step)).nonzero()[:, 0]):
                        kind.strike(self.world, ids, on)
            if kind.sense is not None and len(ids := self._rows(k)):
                rows = frame[ids]
                kind.sense(rows)
                frame[ids] = rows
        return frame

    def move(self, action: Tensor) -> Tensor:
        self._past = [action, *self._past[:2]]
        self._first = torch.where((self.onset == self.step)[:, None], action, self._first)
        moved = action.clone()
        for k, kind in enumerate(self._kinds):
            if kind.move is not None and len(ids := self._rows(k)):
                moved[ids] = kind.move(action[ids], self._past[-1][ids], self._first[ids])
        return moved


def simulate(
    policy: str, robots: int, seconds: float, kinds: dict[str, Rare], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features (m, f) of the hops of all trials up to their falls, and the kind (m,) that each is of: -1 of none."""
    folder = Path(find_policy(policy))
    actor, card = load_actor(folder)
    world_cfg = world_of("mare", card, robots)
    world_cfg = replace(
        world_cfg,
        physics=replace(world_cfg.physics, joint_sensors=True),
        commands=replace(world_cfg.commands, period=2.0 * seconds),
    )
    world = PronkWorld(world_cfg, seed, restart=False, privileged=False)
    steps, physics = round(seconds / world.dt), world.physics
    rng = np.random.default_rng(seed)
    longest = max(kind.steps for kind in kinds.values())
    onset = rng.integers(200, max(201, steps - longest), robots)
    kept: dict[str, list[np.ndarray]] = {}

    def visit(_: int, s: State) -> None:
        rows = {
            "force": physics.foot_force, "height": physics.base_height, "qpos": physics.qpos,
            "gravity": s.projected_gravity, "rates": physics.qvel[:, 3:6], "joint_velocity": physics.qvel[:, 6:],
            "work": (physics.joint_torque * physics.joint_speed).clamp(min=0.0).sum(2),
            "targets": world.nominal + world.action_scale * world.last_action, "command": world.command,
        }  # fmt: skip
        for name, value in rows.items():
            kept.setdefault(name, []).append(value.numpy().astype(np.float32))

    trials = feed(actor, world, steps, Planted(kinds), onset, visit)
    rows = {name: np.stack(values) for name, values in kept.items()}
    samples = rows["height"].shape[2]
    dt = world.dt / samples
    features, labels = [], []
    for i in range(robots):
        end = int(trials.fell[i])
        if end < 200:
            continue

        def every(name: str, i: int = i, end: int = end) -> np.ndarray:
            return np.repeat(rows[name][:end, i], samples, axis=0)

        height = rows["height"][:end, i].reshape(-1)
        qpos = every("qpos")
        signals = Signals(
            np.arange(len(height)) * dt,
            {
                "force": rows["force"][:end, i].reshape(-1, 4), "gravity": every("gravity"), "rates": every("rates"),
                "base": np.concatenate([qpos[:, :2] - qpos[:1, :2], height[:, None]], axis=1),
                "joint_position": qpos[:, 7:], "joint_velocity": every("joint_velocity"), "targets": every("targets"),
                "command": every("command"),
            },
        )  # fmt: skip
        hops = hops_of(signals, physics.mass)
        if not len(hops):
            continue
        power = rows["work"][:end, i].reshape(-1)
        values = hops.values
        values[:, list(FEATURES).index("offset")] = np.nan  # there is no pulley
        for k in range(len(hops)):
            inside = slice(signals.at(hops.start[k]), signals.at(hops.end[k]) + 1)
            values[k, list(FEATURES).index("work")] = power[inside].sum() * dt / physics.mass
        begin, over = onset[i] * world.dt, (onset[i] + list(kinds.values())[i % len(kinds)].steps) * world.dt
        label = np.full(len(hops), -1)
        odd = (hops.end > begin) & (hops.start < over + _CALM * world.dt)
        odd |= (hops.start < _BEGUN) | ((end < steps) & (hops.end > end * world.dt - _FALLING))
        label[odd] = -2
        shared = np.minimum(hops.end, over) - np.maximum(hops.start, begin)
        if shared.max() > 0.0:
            # of a short one the hop that it strikes most, of a long one all that lie in it
            label[(shared == shared.max()) | (shared >= 0.8 * (hops.end - hops.start))] = i % len(kinds)
        labels.append(label)
        features.append(values)
    values, kind = np.concatenate(features), np.concatenate(labels)
    return values[kind > -2], kind[kind > -2]
