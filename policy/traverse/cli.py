"""``lunar traverse``: try gaits, plan a traverse, see a plan through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from policy.traverse.config import PlanConfig, RunConfig, TableConfig
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results
from sim.terminal import Terminal

if TYPE_CHECKING:
    from policy.traverse.plan import Plan

_USAGE = """usage: lunar traverse table|plan|run [--key value ...]

  table  try every gait of some policies on many grounds
  plan   which policy, on which computer, with which gait, on which segment of a way
  run    see a plan through in simulation

'lunar traverse plan --help' lists its options."""


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar traverse``.

    Raises:
        LunarError: what is asked for is unknown or cannot be done.
    """
    commands = {"table": _table, "plan": _plan, "run": _run}
    if argv and argv[0] in commands:
        commands[argv[0]](argv[1:])
    elif list(argv) in (["-h"], ["--help"]):
        print(_USAGE)
    else:
        raise LunarError(f"name what to do: {', '.join(commands)}")


def _table(argv: Sequence[str]) -> None:
    cfg = parse(TableConfig, argv, "lunar traverse table")
    from policy.traverse.options import gaits_of
    from policy.traverse.table import SHIPPED, Cell, make_table

    if min(cfg.robots, cfg.seeds) < 1 or cfg.seconds <= 2.0:
        raise LunarError("a table needs robots and seeds of 1 or more, and trials of more than 2 s")
    gaits = gaits_of([name.strip() for name in cfg.policies.split(",")])
    grounds = [name.strip() for name in cfg.grounds.split(",")]
    cells = [Cell(g, level, seed) for seed in range(1, cfg.seeds + 1) for level in cfg.levels for g in grounds]
    with _progress(len(cells)) as tick:
        table = make_table(gaits, cells, cfg.robots, cfg.seconds, Path(cfg.out), tick)
    shown = Table("gait", title=f"{len(cells)} maps, {cfg.robots} robots each", title_justify="left")
    for column in ("m", "falls", "falls/100 m", "J/m", "m/s"):
        shown.add_column(column, justify="right")
    for k, gait in enumerate(table.gaits):
        own = table.rows(table.gait == k)
        metres = max(float(own.metres.sum()), 1e-9)
        shown.add_row(gait.title, f"{metres:.0f}", str(int(own.fell.sum())), f"{100 * own.fell.sum() / metres:.2f}",
                      f"{own.joules.sum() / metres:.1f}", f"{metres / own.seconds.sum():.2f}")  # fmt: skip
    Terminal().print(shown)
    print(f"wrote {Path(cfg.out) / SHIPPED.name}")


def _plan(argv: Sequence[str]) -> None:
    cfg = parse(PlanConfig, argv, "lunar traverse plan")
    from policy.traverse.assign import Shortfall
    from policy.traverse.make import make_plans, restored_ground
    from policy.traverse.picture import draw_plan

    plans = make_plans(cfg)
    if isinstance(plans, Shortfall):
        raise LunarError(f"no plan meets the limits, {cfg.reserve:.0%} of them kept in reserve: {plans}")
    console, out = Terminal(), Path(cfg.out)
    for k, plan in enumerate(plans):
        path = out.with_stem(f"{out.stem}-{k + 1}") if cfg.paths else out
        plan.save(path)
        picture = path.with_suffix(".png")
        draw_plan(plan, picture)
        _show_plan(console, plan, f"robot {k + 1}: " if cfg.paths else "")
        console.print(f"wrote {path} and {picture}", soft_wrap=True)
    if plans[0].limits is None and (known := restored_ground(cfg)):
        console.print(
            f"the limits of filter {known.method}, which made this map, do not hold at {known.resolution:g} m per "
            "sample: how much of the way is unsafe is not known; 'lunar terrain restore --finer' makes maps that they "
            "hold for"
        )
    if len(plans) > 1:
        (worst, low), joules = min(plan.arrival for plan in plans), sum(plan.sum("joules") for plan in plans)
        console.print(f"all: {joules:.0f} J; the one worst off arrives with {worst:.1%}, at least {low:.1%}")
    if plans[0].gap:
        gap = plans[0].gap
        console.print(f"the time to search was over: another plan may be better by {gap:.1%} of the objective")
    if cfg.json:
        found = [_figures(plan) for plan in plans]
        write_results(cfg.json, "traverse plan", cfg.seed, {"robots": found} if cfg.paths else found[0])


def _figures(plan: Plan) -> dict[str, Any]:
    expected, low = plan.arrival
    found: dict[str, Any] = {
        name: plan.sum(name) for name in ("length", "joules", "seconds", "falls", "falls_high")
    }  # fmt: skip
    found |= {"arrival": expected, "arrival_low": low, "options": [o.title for o in plan.options]}
    return found | {"choice": plan.choice.tolist(), "limits": plan.limits and asdict(plan.limits)}


def _show_plan(console: Terminal, plan: Plan, whose: str) -> None:
    title = f"{whose}{plan.sum('length'):.1f} m in {len(plan.segments)} segments"
    shown = Table("option", title=title, title_justify="left")
    for column in ("m", "J", "s", "falls", "falls, 90th"):
        shown.add_column(column, justify="right")
    for k, option in enumerate(plan.options):
        own = [s for s in plan.segments if s.option == k]
        sums = [sum(getattr(s, what) for s in own) for what in ("length", "joules", "seconds", "falls", "falls_high")]
        shown.add_row(option.title, *(f"{v:.0f}" for v in sums[:3]), *(f"{v:.3f}" for v in sums[3:]))
    console.print(shown)
    expected, low = plan.arrival
    console.print(
        f"{plan.sum('joules'):.0f} J, {plan.sum('seconds'):.0f} s, arrives with {expected:.1%}, at least {low:.1%}"
    )
    if used := plan.limits:
        console.print(
            f"by the limits of filter {used.method}, which made this map, for {used.noise} noise (unsafe from "
            f"{used.slope:.1f}° and {100 * used.step:.1f} cm) {used.unsafe:.1%} of the way is unsafe; by those of true "
            f"ground {used.unsafe_nominal:.1%}"
        )


def _run(argv: Sequence[str]) -> None:
    cfg = parse(RunConfig, argv, "lunar traverse run", first=("plan",))
    from policy.traverse.picture import draw_plan
    from policy.traverse.plan import load_plan
    from policy.traverse.run import results, see, steps_of

    if cfg.robots < 1 or not cfg.patience >= 1.0:
        raise LunarError("a run needs one robot or more, and a patience of 1 or more")
    plan = load_plan(cfg.plan)
    if cfg.terrain:
        plan = replace(plan, terrain=cfg.terrain)
    with _progress(steps_of(plan, cfg.patience)) as tick:
        seen = see(plan, cfg.robots, cfg.seed, cfg.patience, lambda: tick("run"))
    found = results(plan, seen)
    picture = Path(cfg.out) if cfg.out else Path(cfg.plan).with_suffix(".png")
    draw_plan(plan, picture, seen)
    shown = Table("", title=f"{found['robots']} robots, {found['metres']:.1f} m", title_justify="left")
    for column in ("expected", "seen"):
        shown.add_column(column, justify="right")
    share, low = found["arrived_expected"], found["arrived_promised"]
    shown.add_row("arrived", f"{share:.1%}, at least {low:.1%}", f"{found['arrived']:.1%}")
    shown.add_row("arrived within the budgets", "", f"{found['arrived_within_budget']:.1%}")
    shown.add_row("falls per robot", f"{found['falls_expected']:.3f}", f"{found['fell']:.3f}")
    for name, unit in (("joules", "J"), ("seconds", "s")):
        seen_mean = "–" if found[name] is None else f"{found[name]:.0f} {unit}"
        shown.add_row(f"{name} of those", f"{found[f'{name}_expected']:.0f} {unit}", seen_mean)
    console = Terminal()
    console.print(shown)
    console.print(f"wrote {picture}", soft_wrap=True)
    if cfg.json:
        write_results(cfg.json, "traverse run", cfg.seed, found)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with Progress(*columns, console=Terminal(stderr=True), transient=True) as bar:
        task = bar.add_task("traverse", total=total)
        yield lambda text: bar.update(task, advance=1, description=f"traverse {text}")
