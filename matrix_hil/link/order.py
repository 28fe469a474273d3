"""Which intact frames a receiver takes, and how late they are: replays, wrong sequences and old frames stay outside."""

from __future__ import annotations

import math

from matrix_hil.link.framing import Frame

WINDOW = 64
"""frames. A sequence number must be 1 to this many ahead of the newest one taken."""
RESYNC = 1.0
"""s without a frame taken after which any frame is taken again, as from a device that was restarted."""
CLOCK_JUMP = 0.1
"""s that a frame's time may lie before the newest taken (a command waited while a heartbeat was sent), and that the
sender's clock may gain on the receiver's."""
CLOCK_TOLERANCE = 1e-3
"""s. What is stamped later than this after now comes from another clock."""
DRIFT = 1e-3
"""s/s by which a sender's clock may lose against the receiver's; crystals stay within a tenth of it."""


class FrameOrder:
    """Judges the frames of one sender in the order of their arrival. Pure: time is an argument.

    A frame is taken if its sequence number lies ahead of the newest one's and its time near it or after. The sender's
    clock is mapped to the receiver's by the fastest frame so far: one that took longer is stamped before ``now`` by
    what it took longer, so that data which waited somewhere do not look fresh. What was fastest is forgotten no faster
    than clocks drift (``DRIFT``), so that a delay cannot grow unseen; one that was there from the beginning can hide.
    """

    def __init__(self) -> None:
        self.gaps = 0
        """Frames taken that did not follow the one before at once."""
        self.refused = 0
        """Frames refused: repeated, out of order, or from a clock that jumped."""
        self.offset = math.nan
        """s, receiver's clock minus sender's, the shortest transit included."""
        self.restart()

    def restart(self) -> None:
        """Take any frame next: the sender begins anew."""
        self._sequence: int | None = None
        self._sent = self._received = -math.inf
        self._fastest = math.inf  # s, of now - frame.time, let rise by DRIFT

    def take(self, frame: Frame, now: float) -> float | None:
        """When ``frame`` was sent, s on the receiver's clock and at most ``now``; None if it is not to be taken."""
        since = now - self._received
        if self._sequence is None or since > RESYNC:
            self.gaps += self._sequence is not None
            self.restart()
        else:
            ahead = (frame.sequence - self._sequence) & 0xFFFF
            if not 1 <= ahead <= WINDOW or not -CLOCK_JUMP <= frame.time - self._sent <= since + CLOCK_JUMP:
                self.refused += 1
                return None
            self.gaps += ahead > 1
        self._sequence, self._sent, self._received = frame.sequence, max(self._sent, frame.time), now
        self._fastest = self.offset = min(now - frame.time, self._fastest + DRIFT * max(since, 0.0))
        return frame.time + self.offset
