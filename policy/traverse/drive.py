"""Robots along paths in ``PronkWorld``: many at once, each with its own path and its own gait on every segment.

Trials of single gaits and traverses by plan are one thing here, so that what is learned of one holds for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from policy.evaluation.suites import load_suite, world_for
from policy.networks.actor import Actor
from policy.networks.imported import Imported
from policy.networks.policy_file import load_network
from policy.networks.student import Student
from policy.runtime.card import Card
from policy.runtime.follow import ASTRAY, Follower
from policy.runtime.switch import Gate, check_alike, columns_of
from policy.traverse.options import Gait
from sim.envs.world import PronkWorld
from sim.mdp.state import heading
from sim.physics.threads import physics_first
from sim.spec.observation import scale_command
from sim.terrain.height_field import HeightField

SUITE = "mare"
"""Its sensor noise, and how robots stand at first."""
STUCK = 15.0
"""s without progress, after which a robot is given up."""


@dataclass(frozen=True)
class Driven:
    """What became of N robots on paths of S segments."""

    metres: np.ndarray
    """(N, S) m of progress."""
    seconds: np.ndarray
    """(N, S) s."""
    joules: np.ndarray
    """(N, S) J, positive work of the joints."""
    choice: np.ndarray
    """(N, S) gait in use at the segment's end."""
    fell: np.ndarray
    """(N,) segment in which each fell; -1 where none did."""
    arrived: np.ndarray
    """(N,) bool."""
    track: np.ndarray
    """(T, N, 2) m, where they were every half second; NaN after the end."""

    @property
    def falls(self) -> np.ndarray:
        """(N, S) bool."""
        return np.arange(self.metres.shape[1]) == self.fell[:, None]


@cache
def actor_of(policy: str) -> tuple[Actor | Student | Imported, Card]:
    """Loaded once."""
    return load_network(policy)


class Crew:
    """The policies of some gaits, acting for the robots whose turn it is.

    Raises:
        LunarError: one does not load, or one robot cannot change between two of them.
    """

    def __init__(self, gaits: Sequence[Gait]) -> None:
        names = list(dict.fromkeys(gait.policy for gait in gaits))
        loaded = {name: actor_of(name) for name in names}
        check_alike([(name, card) for name, (_, card) in loaded.items()])
        self.card = loaded[names[0]][1]
        ages = sorted({age for _, card in loaded.values() for age in card.observation.ages})
        self.spec = replace(self.card.observation, ages=tuple(ages))
        self._actors = [loaded[name][0] for name in names]
        self._columns = [torch.as_tensor(columns_of(self.spec, loaded[name][1].observation)) for name in names]
        self.policy = np.array([names.index(gait.policy) for gait in gaits])
        """(G,) which policy each gait has."""
        self.commands = np.array([loaded[g.policy][1].clip_command(g.command) for g in gaits])
        """(G, 5)."""

    def act(self, observation: torch.Tensor, active: np.ndarray) -> torch.Tensor:
        """(N, 12) actions for observations (N, size) of ``spec``, by the gaits ``active`` (N,)."""
        action = torch.zeros(len(observation), 12)
        for k, (actor, columns) in enumerate(zip(self._actors, self._columns, strict=True)):
            ids = torch.as_tensor(np.flatnonzero(self.policy[active] == k))
            if len(ids):
                with torch.no_grad():
                    action[ids] = actor(observation[ids][:, columns]).action
        return action


def world_on(crew: Crew, ground: HeightField, robots: int, seed: int) -> PronkWorld:
    """A world of ``robots`` on a map or a stack, sensed as in ``lunar eval``."""
    cfg = replace(world_for(load_suite(SUITE), crew.card, robots), ages=crew.spec.ages)
    return PronkWorld(cfg, seed, restart=False, threads=1, privileged=False, ground=ground)


@physics_first()
def drive(
    crew: Crew, world: PronkWorld, points: np.ndarray | None, choice: np.ndarray, most: float, settle: float = 0.0,
    length: tuple[int, float] = (3, 2.5), tick: Callable[[], None] = lambda: None,
) -> tuple[Driven, np.ndarray]:  # fmt: skip
    """Robots from their paths' starts to the ends, a fall, or the end of their time.

    Args:
        crew: of the gaits.
        world: of N robots, fresh.
        points: (N, S + 1, 2) m, ends of their segments; None: straight ahead from wherever they start.
        choice: (N, S) gaits.
        most: s.
        settle: s at the beginning that are not booked.
        length: segments and m of each, for paths straight ahead.
        tick: called after every control step.

    Returns:
        What became of them, and their ``points``.
    """
    n, dt = world.num_envs, world.dt
    if points is not None:
        way = points[:, 1] - points[:, 0]
        places = np.column_stack([points[:, 0], np.arctan2(way[:, 1], way[:, 0])])
        world.places = torch.as_tensor(places, dtype=torch.float32)
    observation = world.reset()["policy"]
    if points is None:
        ahead, steps = heading(world.state.quaternion).numpy(), length[1] * np.arange(length[0] + 1)
        points = world.state.position[:, None, :2].numpy() + steps[:, None] * ahead[:, None]
    follower, gate, robots = Follower(points), Gate(choice[:, 0]), np.arange(n)
    shape = (n, points.shape[1] - 1)
    metres, seconds, joules = np.zeros((3, *shape))
    used, fell, going = choice.copy(), np.full(n, -1), np.ones(n, dtype=bool)
    track, each, moved = [], round(0.5 / dt), np.zeros(n)
    frames = len(crew.spec.ages) * crew.spec.frame_size
    for k in range(round(most / dt)):
        state = world.state
        facing = heading(state.quaternion).numpy()
        before, segment = follower.progress, follower.segment
        gaits = gate.step(choice[robots, segment], np.any(world.hops.loaded, axis=1))
        command = crew.commands[gaits]
        position = state.position[:, :2].numpy()
        command[:, :3] = follower.step(position, np.arctan2(facing[:, 1], facing[:, 0]), command[:, 0])
        if k % each == 0:
            track.append(np.where(going[:, None], position, np.nan))
        scaled = torch.as_tensor(scale_command(crew.spec, command))
        step = world.step(crew.act(torch.cat([observation[:, :frames], scaled], dim=1), gaits))
        observation = step.observations["policy"]
        physics = world.physics
        power = (physics.joint_torque * physics.joint_speed).clamp(min=0.0).sum(2).mean(1).numpy()
        if k * dt >= settle:
            seconds[robots, segment] += dt * going
            joules[robots, segment] += dt * power * going
            metres[robots, follower.segment] += (follower.progress - before) * going
        used[robots, segment] = np.where(going, gaits, used[robots, segment])
        down = step.terminated.numpy() & going
        fell[down] = follower.segment[down]
        moved = np.where(follower.progress > before, k * dt, moved)
        going &= ~down & ~follower.arrived & (follower.aside < ASTRAY) & (k * dt - moved < STUCK)
        world.physics.moving = torch.as_tensor(going)
        tick()
        if not going.any():
            break
    world.physics.moving = None
    arrived = follower.arrived & (fell < 0)
    return Driven(metres, seconds, joules, used, fell, arrived, np.array(track)), points
