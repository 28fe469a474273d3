"""Which messages of an e-stop button count, where two subscriptions hear them and clocks are set. Pure."""

from __future__ import annotations


class Buttons:
    """Of any number of senders."""

    def __init__(self) -> None:
        self._newest: dict[bytes, int] = {}

    def counts(self, pressed: bool, sender: bytes, number: int) -> bool:
        """Whether a message is to be acted upon: a button that is pressed always, one that is let go unless that is
        older than what was heard of it last.

        Args:
            pressed: what the message says.
            sender: whose button it is.
            number: rises with every message, but for a sender whose clock is set back, where it is a time of his: no
                pressing may be lost by that. Who listens twice may hear a pressing again after the letting go, and then
                hears that again too.
        """
        if pressed or number >= self._newest.get(sender, number):
            self._newest[sender] = number
            return True
        return False
