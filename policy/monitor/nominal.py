"""What a policy feels: trials of many robots, healthy or disturbed, as the policy sees them step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from policy.evaluation.suites import ALL, load_suite, world_for
from policy.networks.actor import Actor, ActorOutput
from policy.networks.student import Student
from policy.runtime.card import Card
from sim.envs.world import PronkWorld
from sim.mdp.state import State
from sim.physics.threads import physics_first
from sim.tasks.config import WorldConfig

ALLOWED = tuple(name for name in ALL if name != "recover")
"""Suites whose ground, gravity, payload, pushes and sensor errors are allowed to be odd; ``recover`` begins in trouble,
which is not health."""
COMMAND_PERIOD = 5.0
"""s after which an operator asks for something else."""
BEFORE_A_FALL = 1.0
"""s before a fall from which on a trial is not healthy any more."""


@dataclass(frozen=True)
class Feed:
    """What a policy saw and said in T control steps of N trials."""

    frame: np.ndarray
    """(T, N, 42) scaled, newest frame of the observation."""
    hidden: np.ndarray
    """(T, N, H)."""
    action: np.ndarray
    """(T, N, 12)."""
    latent: np.ndarray
    """(T, N, L)."""
    std: np.ndarray
    """(T, N, 12)."""
    command: np.ndarray
    """(T, N, 5) scaled, as the policy saw it."""
    healthy: np.ndarray
    """(T, N) bool: neither fallen nor within ``BEFORE_A_FALL`` of it."""
    phase: np.ndarray
    """(T, N) 0 on the ground, 1 rising, 2 falling."""
    fell: np.ndarray
    """(N,) steps until the fall; T where there was none."""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.frame)


class Disturbance:
    """What goes wrong in a trial; this one nothing. One object serves one batch of trials."""

    def begin(self, world: PronkWorld, onset: Tensor) -> None:
        """Take note of the world (its trials have begun) and of the steps (N,) at which it goes wrong."""
        self.world, self.onset = world, onset
        self.step = 0

    @property
    def on(self) -> Tensor:
        """(N,) bool, whose trial has gone wrong."""
        return self.onset <= self.step

    def strike(self, ids: Tensor) -> None:
        """Change the world of the robots ``ids`` (n,), whose onset is now."""

    def sense(self, frame: Tensor) -> Tensor:
        """The frame (N, 42), scaled, that the policies see instead."""
        return frame

    def ask(self, command: Tensor) -> Tensor:
        """The command (N, 5), scaled, that the policies see instead."""
        return command

    def move(self, action: Tensor) -> Tensor:
        """The actions (N, 12) that the joints get instead."""
        return action


class Guard(Protocol):
    """Stands between the policies and their robots."""

    def begin(self, world: PronkWorld) -> None:
        """Trials begin."""

    def act(self, frame: Tensor, out: ActorOutput) -> Tensor:
        """The actions (N, 12) that are sent, of the newest frames (N, 42) and what the policies say."""


def world_of(name: str, card: Card, robots: int) -> WorldConfig:
    """The world of the suite ``name``, in which an operator changes his mind every ``COMMAND_PERIOD``."""
    world = world_for(load_suite(name), card, robots)
    physics = replace(world.physics, joint_sensors=False)
    return replace(world, physics=physics, commands=replace(world.commands, period=COMMAND_PERIOD))


@physics_first()
def run(
    actor: Actor | Student,
    world: PronkWorld,
    steps: int,
    disturbance: Disturbance | None = None,
    onset: np.ndarray | None = None,
    visit: Callable[[int, State], None] | None = None,
    guard: Guard | None = None,
) -> Feed:
    """Trials from the world's reset on.

    Args:
        actor: the policy; its mean actions are taken.
        world: fresh, not restarting.
        steps: T.
        disturbance: what goes wrong; nothing by default.
        onset: (N,) steps at which it does.
        visit: called with each step and the state after it.
        guard: decides what is sent instead of the policy's action.
    """
    trouble = disturbance or Disturbance()
    n, size = world.num_envs, world.spec.frame_size
    observation = world.reset()["policy"]
    if guard:
        guard.begin(world)
    trouble.begin(world, torch.as_tensor(np.full(n, steps) if onset is None else onset))
    tail = len(world.spec.ages) * size
    history = torch.zeros(max(world.spec.ages) + 1, n, size)
    rows: dict[str, np.ndarray] = {}
    fell = np.full(n, steps)
    said = torch.zeros(n, 12)
    for k in range(steps):
        trouble.step = k
        if len(ids := (trouble.onset == k).nonzero()[:, 0]):
            trouble.strike(ids)
        frame = torch.cat([observation[:, : size - 12], said], dim=1)  # a joint may do other than the policy said
        frame = trouble.sense(frame)
        history = torch.cat([frame[None], history[:-1]]) if k else frame.expand_as(history).clone()
        command = trouble.ask(observation[:, tail:])
        state = world.state
        rising = torch.where(state.com_vertical_velocity > 0.0, 1, 2)
        with torch.no_grad():
            out = actor(torch.cat([*history[list(world.spec.ages)], command], dim=1))
        keep = {"frame": frame, "hidden": out.hidden, "action": out.action, "latent": out.latent, "std": out.std}
        keep["command"] = command
        for name, value in (keep | {"phase": (state.in_flight * rising).to(torch.int8)}).items():
            if name not in rows:
                rows[name] = np.zeros((steps, *value.shape), value.numpy().dtype)
            rows[name][k] = value.numpy()
        said = guard.act(frame, out) if guard else out.action
        step = world.step(trouble.move(said))
        observation = step.observations["policy"]
        fell = np.where((fell == steps) & step.terminated.numpy(), k + 1, fell)
        if visit is not None:
            visit(k, world.state)
    end = np.where(fell < steps, fell - round(BEFORE_A_FALL / world.dt), steps)
    return Feed(**rows, healthy=np.arange(steps)[:, None] < end, fell=fell)


def nominal(
    actor: Actor | Student, card: Card, robots: int, seconds: float, seed: int, suites: tuple[str, ...] = ()
) -> Iterator[tuple[str, Feed]]:
    """Healthy trials suite by suite.

    Args:
        robots: per suite.
        seconds: of a trial.
        seed: of all that is random, terrain too.
        suites: names; ``ALLOWED`` by default.
    """
    for k, name in enumerate(suites or ALLOWED):
        world = PronkWorld(world_of(name, card, robots), seed + 10 * k, restart=False, privileged=False, threads=1)
        yield name, run(actor, world, round(seconds / world.dt))
