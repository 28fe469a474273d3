"""A picture of the internal model at work: what its horizons see of a hop, and what it makes of it."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from benchmarks.plots import save
from policy.evaluation.suites import load_suite, world_for
from policy.networks.actor import Actor
from policy.networks.policy_file import load_actor
from sim.envs.world import PronkWorld
from sim.errors import LunarError

ROBOTS = 16
SECONDS = 8.0
SHOWN = 3.6  # s


def draw_horizons(policy: str | Path, path: Path, suite: str = "mare") -> None:
    """Draw one robot's last hops in a suite: frames seen before a touch-down, and estimates against truth.

    Raises:
        LunarError: the policy has no encoders, or no robot hopped.
    """
    actor, card = load_actor(policy)
    if not isinstance(actor, Actor) or actor.encoders is None:
        raise LunarError(f"policy {policy} has no internal model: there are no horizons to draw")
    chosen = load_suite(suite)
    world = PronkWorld(world_for(chosen, card, ROBOTS), chosen.seed)
    observation = world.reset()["policy"]
    rows = []
    for _ in range(round(SECONDS / world.dt)):
        with torch.no_grad():
            out = actor(observation)
        s = world.state
        rows.append(torch.cat([s.velocity, s.com_height[:, None], s.in_flight[:, None].float(), out.estimate], dim=1))
        observation = world.step(out.action).observations["policy"]
    data = torch.stack(rows)[-round(SHOWN / world.dt) :].numpy()
    landings = (data[:-1, :, 4] > 0.5) & (data[1:, :, 4] < 0.5)
    late = landings[-round(1.0 / world.dt) :].any(0)
    if not late.any():
        raise LunarError(f"policy {policy}: no robot landed within the last second of the picture; it hardly hops")
    robot = int(np.argmax(late))
    moment = int(np.flatnonzero(landings[:, robot])[-1])
    _draw(data[:, robot], moment, world.dt, actor.estimates, {n: e.ages for n, e in actor.cfg.encoders.items()}, path)


def _draw(
    data: np.ndarray, moment: int, dt: float, names: tuple[str, ...], horizons: dict[str, tuple[int, ...]], path: Path
) -> None:
    t = (np.arange(len(data)) - moment) * dt
    figure, axes = plt.subplots(3, 1, figsize=(9, 7), sharex=True, layout="constrained")
    axes[0].plot(t, data[:, 3], color="0.4", linewidth=1)
    for k, (name, ages) in enumerate(horizons.items()):
        seen = moment - np.array([age for age in ages if age <= moment])
        seconds = max(ages) * dt
        axes[0].scatter(
            t[seen], data[seen, 3] + 0.02 * k, s=22, color=f"C{k}", zorder=3,
            label=f"{name} horizon: {len(ages)} frames over {seconds:.1f} s",
        )  # fmt: skip
    axes[0].set(ylabel="height of centre of mass, m", title="Frames that the horizons see just before a touch-down")
    axes[0].legend(frameon=False, loc="upper left")
    for axis, name, words, column in (
        (axes[1], "vz", "vertical velocity, m/s", 2),
        (axes[2], "height", "height, m", 3),
    ):
        axis.plot(t, data[:, column], color="0.4", linewidth=1, label="true")
        if name in names:
            axis.plot(t, data[:, 5 + names.index(name)], color="C3", linewidth=1, label="estimated")
        axis.set(ylabel=words)
        axis.legend(frameon=False, loc="upper left")
    for axis in axes:
        start = None
        for k, flying in enumerate([*(data[:, 4] > 0.5), True]):
            if not flying and start is None:
                start = k
            if flying and start is not None:
                axis.axvspan(t[start], t[min(k, len(t) - 1)], color="0.85", zorder=0)
                start = None
        axis.axvline(0.0, color="0.2", linewidth=0.8, linestyle=":")
        axis.margins(x=0)
    axes[2].set(xlabel="s, relative to that touch-down; grey: feet on the ground")
    save(figure, path)
