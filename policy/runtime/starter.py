"""How a program that commands a robot ends: when it is asked to, and with whoever started it.

A robot must not hop on when whoever could stop it is dead.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

STARTER = "LUNAR_STARTER"
"""Variable with the process id of who starts a node; absent for a node that was started by hand."""
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
"""Signals that ask for an orderly end. Ctrl-Z and Ctrl-\\ are among them: a program that is suspended or aborted leaves
its machines without a word, and a Go2 has no watchdog of its own."""
FOREIGN = ("setpriv", "--pdeathsig", "TERM")
"""What to put before a program of somebody else, so that it ends likewise."""
_PR_SET_PDEATHSIG = 1  # prctl(2)


def follow_starter() -> bool:
    """Have the kernel send this process SIGTERM when its parent dies, however that is. False: the starter has died.

    Call once from the main thread, with the handler of SIGTERM in place. Something may stand between starter and
    process, such as a shell, and outlive the starter: ask ``starter_lives`` from time to time.
    """
    if os.environ.get(STARTER):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return starter_lives()


def starter_lives() -> bool:
    """Whether this process still descends from its starter, or was started by hand."""
    starter = os.environ.get(STARTER)
    return not starter or starter in map(str, _ancestors())


def _ancestors() -> Iterator[int]:
    """Process ids of this one's parent, of its parent, and so on. Who has died is nobody's parent: that a process with
    his id is there would not say so, for nobody may have asked for his status yet, and ids are used again."""
    process = os.getppid()
    while process:
        yield process
        try:
            told = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
            process = int(told.rpartition(")")[2].split()[1])
        except OSError:  # it has died meanwhile
            return
