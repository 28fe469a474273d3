"""A driver's own watchdog: when commands stop, it says the device's safe command itself, until they come again."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic

from matrix_hil.link.devices import C, S
from matrix_hil.link.driver import SerialDevice
from matrix_hil.link.order import CLOCK_TOLERANCE


class WatchedDevice(Generic[S, C]):
    """A driver whose commands come from another process. Pure but for the port: time is an argument.

    Before the first command it says nothing, so that the device keeps the safe state in which it woke up.

    Args:
        device: connected driver.
        timeout: s without a command after which the safe command is sent instead. Shorter than the device's own
            watchdog, which is for the death of this process.
    """

    def __init__(self, device: SerialDevice[S, C], timeout: float) -> None:
        self.device = device
        self.timeout = timeout
        self.trips = 0
        """Times that commands stopped."""
        self._commanded: float | None = None
        self._safe: C | None = None

    @property
    def tripped(self) -> bool:
        """Whether the device is held safe now."""
        return self._safe is not None

    def send(self, command: C, now: float) -> bool:
        """Pass a command on, which its ``valid_for`` goes with; returns whether it was taken.

        One made longer than ``timeout`` ago is refused, and one from the future: it would outlive its data.
        """
        if not -CLOCK_TOLERANCE <= now - command.time <= self.timeout:
            return False
        self._commanded, self._safe = now, None
        self.device.send(command)
        return True

    def poll(self, now: float) -> int:
        """Call once per period; returns the new states."""
        fresh = self.device.poll(now)
        if self._commanded is not None and now - self._commanded > self.timeout:
            if self._safe is None:
                # where to freeze is taken once: a platform must not creep after its own noise
                self._safe = self.device.safe_command(now)
                self.trips += 1
            if self._safe is not None:
                self.device.send(replace(self._safe, time=now))
        return fresh
