"""``lunar monitor``: fit the monitor of a policy, or measure it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from policy.monitor.config import EvalConfig, FitConfig
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results
from sim.terminal import Terminal

_USAGE = """usage: lunar monitor fit|eval --policy DIR [--key value ...]

  fit   fit a monitor to the policy, calibrate it, and write it beside the policy
  eval  how often it trips for nothing, and what it catches how soon

'lunar monitor fit --help' lists its options."""


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar monitor``."""
    if argv[:1] == ["fit"]:
        _fit(argv[1:])
    elif argv[:1] == ["eval"]:
        _eval(argv[1:])
    elif list(argv) in (["-h"], ["--help"]):
        print(_USAGE)
    else:
        raise LunarError("name what to do: fit, eval")


def _fit(argv: Sequence[str]) -> None:
    cfg = parse(FitConfig, argv, "lunar monitor fit", first=("policy",))
    from policy.monitor.fit import fit_monitor  # torch takes seconds: only for what makes sense

    with _progress() as tick:
        found = fit_monitor(cfg, tick)
    Terminal().print(
        f"monitor beside {cfg.policy}: {found['bytes'] / 1024:.0f} kB, calibrated on {found['trials']} healthy trials "
        f"of {found['seconds']:g} s for {found['budget_per_hour']:g} trips per robot-hour"
    )
    if cfg.json:
        write_results(cfg.json, "monitor fit", cfg.seed, found)


def _eval(argv: Sequence[str]) -> None:
    cfg = parse(EvalConfig, argv, "lunar monitor eval", first=("policy",))
    from policy.monitor.evaluate import evaluate

    with _progress() as tick:
        found = evaluate(cfg, tick)
    show(found)
    if cfg.json:
        write_results(cfg.json, "monitor eval", cfg.seed, found)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with Progress(*columns, console=Terminal(stderr=True), transient=True) as bar:
        task = bar.add_task("monitor", total=None)
        yield lambda text: bar.update(task, advance=1, description=f"monitor {text}")


def show(found: dict[str, Any]) -> None:
    """Print what ``evaluate`` found."""
    table = Table("fault", title_justify="left", title=(
        f"{found['trips']} false trips in {found['hours']:.2f} robot-hours: {found['trips_per_hour']:.2f} per hour, "
        f"at most {found['trips_per_hour_upper95']:.2f} (95%)"
    ))  # fmt: skip
    for column in ("family", "AUROC", "0.5 s", "1 s", "2 s", "advice 2 s", "channel right", "fell"):
        table.add_column(column, justify="right")
    for name, row in found["faults"].items():
        keys = ("auroc", "0.5s", "1s", "2s", "advised_2s", "channel_right", "fell")
        cells = ["–" if row[key] is None else f"{row[key]:.2f}" for key in keys]
        table.add_row(name, row["family"], *cells)
    Terminal().print(table)
