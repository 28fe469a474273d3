"""What processes beside the loop's have in common: they leave signals to it, and end with its end of their pipe."""

from __future__ import annotations

import signal
from multiprocessing.context import SpawnProcess
from multiprocessing.util import Finalize

from policy.runtime.starter import ENDS


def leave_signals() -> None:
    """Ignore what asks for an end in this process: it reaches a whole group of processes, of which the loop's
    needs the others on its orderly way down."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)


def end_with(owner: object, process: SpawnProcess) -> None:
    """Kill a started ``process`` that leaves signals when ``owner`` is no more, at the latest when this process ends:
    multiprocessing would send it SIGTERM then, and wait for ever."""
    Finalize(owner, process.kill, exitpriority=0)
