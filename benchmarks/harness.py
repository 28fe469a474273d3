"""What benchmarks share: subjects measured by turns, a bar, tables, and means with their spread."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from sim.terminal import Terminal

T = TypeVar("T")
Samples = dict[str, list[float]]


def bar(transient: bool = True) -> Progress:
    """A progress bar with the time that is left, on stderr."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(),
    )  # fmt: skip
    return Progress(*columns, console=Terminal(stderr=True), transient=transient)


QUICK = 45.0
"""s after which a benchmark that was asked to be quick begins nothing more."""


def countdown(quick: bool) -> Callable[[], float]:
    """s that are left of ``QUICK`` since the call; for ever when not ``quick``. A slow machine does less in that time:
    what ends by counts takes minutes there."""
    end = time.monotonic() + QUICK if quick else math.inf
    return lambda: end - time.monotonic()


def by_turns(
    subjects: Mapping[str, Callable[[], float]], rounds: int, title: str, left: Callable[[], float] = lambda: math.inf
) -> Samples:
    """What each subject gives in each round, until no time is ``left``; then the round that goes on does not count.

    They take turns, because the host's speed swings, and a round before the first warms up and does not count: caches,
    imports and first allocations are no part of a speed, and would weigh more in a short measurement than in a long.
    Where there was time for that one alone, it counts.
    """
    taken: list[dict[str, float]] = []
    with bar() as progress:
        task = progress.add_task(title, total=(1 + rounds) * len(subjects))
        for _ in range(1 + rounds):
            values: dict[str, float] = {}
            for name, subject in subjects.items():
                if taken and left() <= 0.0:
                    break
                values[name] = subject()
                progress.advance(task)
            if len(values) < len(subjects):
                break
            taken.append(values)
    return {name: [values[name] for values in taken[1:] or taken] for name in subjects}


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """s that a call takes, and what it returns."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def seconds(call: Callable[[], Any]) -> float:
    """s that a call takes."""
    return timed(call)[0]


def cpu_seconds(call: Callable[[], Any]) -> float:
    """s of this process's CPU time that a call takes, whatever else runs beside it."""
    start = time.process_time()
    call()
    return time.process_time() - start


def medians(samples: Samples) -> dict[str, float]:
    """Of every subject."""
    return {name: statistics.median(values) for name, values in samples.items()}


def ratio(samples: Samples, of: str, to: str) -> float:
    """Median over the rounds of one subject's value over another's of the same round."""
    return statistics.median(a / b for a, b in zip(samples[of], samples[to], strict=True))


@dataclass(frozen=True)
class Shown:
    """A table as it was shown."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    caption: str


_catchers: list[list[Shown]] = []


@contextlib.contextmanager
def shown() -> Iterator[list[Shown]]:
    """The tables that are shown meanwhile, which are not printed."""
    _catchers.append([])
    try:
        yield _catchers[-1]
    finally:
        _catchers.pop()


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> None:
    """Print a table whose first column holds names and the others numbers."""
    if _catchers:
        _catchers[-1].append(Shown(title, list(columns), [list(row) for row in rows], caption))
        return
    table = Table(title=title, caption=caption or None, title_justify="left")
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if k else "left", no_wrap=not k)
    for row in rows:
        table.add_row(*row)
    Terminal().print(table)


def spread(values: Iterable[Any]) -> str:
    """Mean and standard deviation over seeds as a table's cell; what is None or NaN was not measured."""
    known = [float(v) for v in values if v is not None and not math.isnan(v)]
    if not known:
        return "–"
    deviation = f" ± {statistics.stdev(known):.2g}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.3g}{deviation}"
