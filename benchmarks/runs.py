"""Runs of a benchmark as processes, a few at a time, with one bar over all of them."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import bar
from sim.errors import LunarError


@dataclass(frozen=True)
class Work:
    """One run."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    log: Path
    """Where its process writes what went wrong."""


def run_all(works: Sequence[Work], jobs: int, total: float, done: Callable[[], float]) -> None:
    """Run all, ``jobs`` at a time; the bar shows ``done()`` of ``total``. SIGTERM ends them as Ctrl-C does.

    Raises:
        LunarError: one failed; the others are stopped.
    """

    def stop(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    waiting = list(works)
    active: dict[str, tuple[Work, subprocess.Popen[bytes]]] = {}
    with bar(transient=False) as progress:
        task = progress.add_task("start", total=total)
        try:
            while waiting or active:
                while waiting and len(active) < jobs:
                    work = waiting.pop(0)
                    active[work.name] = work, work.start()
                time.sleep(1.0)
                for name, (work, process) in list(active.items()):
                    if process.poll() is None:
                        continue
                    del active[name]
                    if process.returncode:
                        raise LunarError(f"run {name} failed; see {work.log}, then start this command again")
                progress.update(task, completed=done(), description=f"run {', '.join(active)}")
        finally:
            for _, process in active.values():
                process.terminate()
            for _, process in active.values():
                process.wait()
            signal.signal(signal.SIGTERM, before)
