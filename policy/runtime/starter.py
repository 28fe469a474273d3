"""A node that a launch or a runner started ends with it: a robot must not hop on when whoever could stop it is dead."""

from __future__ import annotations

import ctypes
import os
import signal

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
    if os.getppid() == int(starter):
        return True
    try:
        os.kill(int(starter), 0)
    except OSError:
        return False
    return True  # something between the two started this process, and the kernel watches that
