"""``lunar eval``: what a policy does in the fixed worlds of configs/eval/. ``evaluate`` is the same as a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress, TimeElapsedColumn

from policy.evaluation.metrics import summarise
from policy.evaluation.report import Report, numbers, print_table
from policy.evaluation.suites import load_suite, suite_names, suite_title, world_for
from policy.evaluation.trials import Trials, run_trials
from policy.networks.policy_file import load_actor
from policy.runtime.card import Card
from sim.config import parse
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.results import write_results
from sim.robots.identity import identify
from sim.terminal import Terminal
from sim.terrain.generators import load_terrain

QUICK_ROBOTS, QUICK_SECONDS = 64, 5.0


@dataclass(frozen=True)
class EvalConfig:
    """Measure a policy in one or more suites (files in configs/eval/) and print the hop metrics."""

    policy: str
    """Folder with policy.safetensors and card.json."""
    suite: str = "flat"
    """Suite names or files like those in configs/eval/, separated by commas, or ``all``."""
    terrain: str = ""
    """A preset in configs/terrain/ or such a file, instead of the suites' grounds."""
    robot: str = ""
    """Name of a robot or path of an MJCF, instead of the policy's own."""
    robots: int = 512
    """Trials per suite."""
    seed: int | None = None
    """Of worlds, commands and sensor noise, instead of the suites' own."""
    device: str = "cpu"
    """Where physics and policy run: ``cpu`` or ``cuda``."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """64 robots for 5 s."""
    save: bool = False
    """Write the metrics into the policy's card."""
    out: str = ""
    """Folder for a page with a picture and a video of each suite."""
    video: float = 10.0
    """s of video per suite in ``out``; 0 for none."""
    picture: str = ""
    """PNG file for a picture of one robot's hops in the first suite."""


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
    actor, card = load_actor(Path(policy))
    actor = actor.to(device)
    results: dict[str, dict[str, Any]] = {}
    card = replace(card, mjcf=robot) if robot else card
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


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar eval``."""
    cfg = parse(EvalConfig, argv, "lunar eval")
    if cfg.robots < 1:
        raise LunarError(f"robots is {cfg.robots}; a suite needs one trial or more")
    console = Terminal()
    names = suite_names(cfg.suite)
    if cfg.save and (cfg.terrain or cfg.robot or names != [suite_title(name) for name in names]):
        raise LunarError("--save keeps what a policy does in the fixed suites: leave out your own ground and robot")
    about = {suite_title(name): load_suite(name).about for name in names}
    report = Report(Path(cfg.out), Path(cfg.policy).name, cfg.video, about) if cfg.out else None
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with Progress(*columns, console=Terminal(stderr=True), transient=True) as bar:
        task = bar.add_task("eval", total=None)

        def tick(name: str, steps: int) -> None:
            bar.update(task, advance=1, total=steps * len(names), description=f"eval {name}")

        def look(name: str, trials: Trials) -> None:
            if cfg.picture and name == suite_title(names[0]):
                from policy.evaluation.pictures import draw_robot

                Path(cfg.picture).parent.mkdir(parents=True, exist_ok=True)
                missing = draw_robot(trials.recording, Path(cfg.picture))
                console.print(f"picture in {cfg.picture}" + (f" ({missing})" if missing else ""))
            if report is not None:
                bar.update(task, description=f"draw {name}")
                report.draw(name, trials)

        robots, duration = (QUICK_ROBOTS, QUICK_SECONDS) if cfg.quick else (cfg.robots, None)
        results = evaluate(
            cfg.policy, names, robots, cfg.seed, duration, cfg.device, cfg.terrain, cfg.robot, tick, look
        )
    print_table(results, console)
    card = Card.load(Path(cfg.policy) / "card.json")
    if not cfg.robot and card.robot_digest not in ("", identify(card.physics_robot).digest):
        console.print(f"the model of '{card.robot}' has changed since {cfg.policy} was trained on it")
    if report is not None:
        console.print(f"pictures and videos in {report.finish(results)}")
    if cfg.save:
        save_metrics(Path(cfg.policy), results)
    if cfg.json:
        write_results(cfg.json, "eval", load_suite(names[0]).seed if cfg.seed is None else cfg.seed, results)
