"""``lunar eval``: its options, its table, and what else it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import Progress, TimeElapsedColumn

from policy.evaluation.config import EvalConfig
from policy.evaluation.suites import load_suite, suite_names, suite_title
from policy.runtime.card import Card
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results
from sim.robots.identity import identify
from sim.terminal import Terminal

if TYPE_CHECKING:
    from policy.evaluation.trials import Trials

QUICK_ROBOTS, QUICK_SECONDS = 64, 5.0


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar eval``."""
    cfg = parse(EvalConfig, argv, "lunar eval", first=("policy",))
    if cfg.robots < 1:
        raise LunarError(f"robots is {cfg.robots}; a suite needs one trial or more")
    from policy.evaluation.evaluate import evaluate, save_metrics  # torch takes seconds: only for what makes sense
    from policy.evaluation.report import Report, print_table

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
    print_table(results, console, cfg.all)
    if cfg.terrain:
        console.print(f"all of it on {cfg.terrain}, in place of the suites' own ground", soft_wrap=True)
    card = Card.load(Path(cfg.policy) / "card.json")
    if not cfg.robot and card.robot_digest not in ("", identify(card.physics_robot).digest):
        console.print(f"the model of '{card.robot}' has changed since {cfg.policy} was trained on it")
    if report is not None:
        console.print(f"pictures and videos in {report.finish(results)}")
    if cfg.save:
        save_metrics(Path(cfg.policy), results)
    if cfg.json:
        seed = load_suite(names[0]).seed if cfg.seed is None else cfg.seed
        write_results(cfg.json, "eval", seed, results, [cfg.policy])
