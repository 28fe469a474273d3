"""What a policy does in the fixed worlds of configs/eval/: ``lunar eval`` as a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from policy.evaluation.metrics import summarise
from policy.evaluation.report import numbers
from policy.evaluation.suites import load_suite, suite_names, suite_title, world_for
from policy.evaluation.trials import Trials, run_trials
from policy.networks.policy_file import load_network
from policy.networks.robot import on_robot
from policy.runtime.card import Card
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.terrain.generators import load_terrain


def evaluate(
    policy: str | Path,
    suites: str | Sequence[str] = "flat",
    robots: int = 512,
    seed: int | None = None,
    duration: float | None = None,
    device: str = "cpu",
    terrain: str = "",
    robot: str = "",
    tick: Callable[[str, int], None] | None = None,
    look: Callable[[str, Trials], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Run a policy in suites and measure it.

    Args:
        policy: its folder.
        suites: names, or text such as ``flat,mare`` or ``all``.
        robots: trials per suite.
        seed: of everything random, instead of the suites' own.
        duration: s per trial, instead of the suites' own.
        device: ``cpu`` or ``cuda``.
        terrain: a preset or a file, instead of the suites' grounds.
        robot: a name or a file, instead of the policy's own.
        tick: called after every control step with the suite and the steps of one of its trials.
        look: called after every suite with its name and what was recorded, which is not kept.

    Returns:
        By suite, the metrics of ``policy.evaluation.metrics.summarise``.

    Raises:
        LunarError: unknown suite, damaged policy, or one that this version's observation does not fit.
    """
    actor, card = load_network(Path(policy))
    actor = actor.to(device)
    results: dict[str, dict[str, Any]] = {}
    card = on_robot(card, robot)
    for file in suite_names(suites):
        suite, name = load_suite(file), suite_title(file)
        if terrain:
            suite = replace(suite, world=replace(suite.world, terrain=load_terrain(terrain)))
        world = PronkWorld(world_for(suite, card, robots), suite.seed if seed is None else seed, device, restart=False)
        if difference := card.observation.difference(world.spec):
            raise LunarError(f"policy {policy} does not fit the environment's observation: {difference}")
        seconds = suite.duration if duration is None else duration
        steps = round(seconds / world.dt)
        progress = None if tick is None else partial(tick, name, steps)
        trials = run_trials(actor, world, seconds, card.estimates, progress)
        results[name] = summarise(trials)
        if look is not None:
            look(name, trials)
    return results


def save_metrics(folder: Path, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the results' plain numbers, to four digits, into the policy's card; other suites there stay."""
    path = folder / "card.json"
    card = Card.load(path)
    short = {
        suite: {name: float(f"{value:.4g}") for name, value in numbers(metrics).items() if abs(value) < float("inf")}
        for suite, metrics in results.items()
    }
    replace(card, metrics={**card.metrics, **short}).save(path)
