"""A node that a launch or a runner started ends with it: a robot must not hop on when whoever could stop it is dead."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

STARTER = "LUNAR_STARTER"
"""Variable with the process id of who starts a node; absent for a node that was started by hand."""
FOREIGN = ("setpriv", "--pdeathsig", "TERM")
"""What to put before a program of somebody else, so that it ends likewise."""
_PR_SET_PDEATHSIG = 1  # prctl(2)


def follow_starter() -> bool:
    """Have the kernel send this process SIGTERM when its starter dies, however that is. False: it has died already.

    Call once from the main thread, with the handler of SIGTERM in place.
    """
    starter = os.environ.get(STARTER, "")
    if not starter:
        return True
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # something may stand between the two; then the kernel watches that
    return int(starter) in _ancestors()


def _ancestors() -> Iterator[int]:
    """Process ids of this one's parent, of its parent, and so on. Who has died is nobody's parent: that a process with
    his id is there would not say so, for nobody may have asked for his status yet, and ids are used again."""
    process = os.getppid()
    while process:
        yield process
        try:
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has died meanwhile
            return
