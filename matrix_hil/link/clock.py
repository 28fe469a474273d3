"""The clock that a rig lives by: the host's, or a slower one where every machine is emulated."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class HostClock:
    """s of the host's monotonic clock, all processes' alike. Call it for the time.

    With a ``pace`` below 1 the whole rig lives in slow motion: machines, bridge and their time limits alike, so that a
    slow or busy computer has the longer for every cycle. What is real has no other pace than 1.
    """

    pace: float = 1.0
    """s of the rig per s of the host."""
    began: float = 0.0
    """s of ``time.monotonic`` at which it shows zero."""

    def __call__(self) -> float:
        return (time.monotonic() - self.began) * self.pace

    def until(self, due: float) -> float:
        """s of the host until this clock shows ``due``; 0 when it has."""
        return max(0.0, (due - self()) / self.pace)

    def sleep(self, due: float) -> None:
        """Sleep until this clock shows ``due``."""
        time.sleep(self.until(due))


HOST = HostClock()
"""The host's monotonic clock as it is."""
