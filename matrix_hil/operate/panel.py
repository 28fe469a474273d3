"""The operator's panel: orders from a page and from the keyboard, carried out between two cycles; gauges the other way.

Buttons and gauges live in the page's process (``operate.live``), which shares memory with the loop: a press is a
counter that goes up, a gauge is a text that is replaced. Neither side can wait for the other.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np

from matrix_hil.link import SerialDevice
from matrix_hil.operate.gauges import readings
from matrix_hil.operate.keyboard import Keyboard
from matrix_hil.run.loop import Loop

ORDERS = ("estop", "quit", "hold", "reset", "arm", "run")
"""What can be asked for, the most urgent first."""
KEYS = {" ": "estop", "e": "estop", "q": "quit", "h": "hold", "x": "reset", "a": "arm", "r": "run"}
"""Order of each key."""
HELP = "keys: a arm, r run, h hold, space e-stop, x reset, q quit"
PAGE_SILENCE = 3.0
"""s. A page that has not been seen alive for longer while the rig is armed is an e-stop: its button would not work."""
_GAUGE_PERIOD = 0.1  # s between two sets of gauges
_LATEST = 1000  # cycles whose lateness is shown
_TEXT = 16384  # bytes of gauges at most


class Desk:
    """Memory that page and loop share. The page presses and beats, the loop writes gauges; each reads the other's."""

    def __init__(self) -> None:
        self._presses = RawArray("q", len(ORDERS))
        self._beats = RawArray("q", 1)
        self._head = RawArray("q", 2)  # count, odd while it is being written; length
        self._text = RawArray("B", _TEXT)

    def press(self, order: str) -> None:
        """Page: the operator asks for one of ``ORDERS``."""
        self._presses[ORDERS.index(order)] += 1

    def presses(self) -> list[int]:
        """Loop: how often each order was asked for so far."""
        return list(self._presses)

    def beat(self) -> None:
        """Page: it is alive."""
        self._beats[0] += 1

    def beats(self) -> int:
        """Loop: signs of life of the page so far."""
        return int(self._beats[0])

    def put(self, reading: Mapping[str, Any]) -> None:
        """Loop: the newest gauges."""
        data = json.dumps(reading).encode()
        if len(data) > _TEXT:
            return
        self._head[0] += 1
        np.frombuffer(self._text, np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        self._head[1] = len(data)
        self._head[0] += 1

    def take(self, seen: int) -> tuple[int, dict[str, Any]] | None:
        """Page: count and values of the newest gauges; None while they are not newer than ``seen`` or being written."""
        count, length = self._head[0], self._head[1]
        data = np.frombuffer(self._text, np.uint8)[:length].tobytes()
        whole = count != seen and count % 2 == 0 and self._head[0] == count
        return (count, json.loads(data)) if whole else None


class Panel:
    """Carries out what page and keyboard ask for. ``step`` once per cycle, in the loop's thread.

    A loop that follows a plan takes an e-stop and the end from here; the rest needs one that is operated.

    Args:
        desk: shared with the page; None without a page.
        keyboard: of the terminal; None without one.
        devices: drivers by name, whose links are shown.
        page_lives: whether the page's process does.
        clock: s, of the page's signs of life; a wall clock, whatever the loop's is.
    """

    def __init__(
        self,
        desk: Desk | None,
        keyboard: Keyboard | None,
        devices: Mapping[str, SerialDevice],
        page_lives: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.message = ""
        """Answer to the latest order."""
        self._desk = desk
        self._keyboard = keyboard
        self._devices = devices
        self._page_lives = page_lives
        self._clock = clock
        self._presses = desk.presses() if desk else []
        self._beats = -1
        self._heard = 0.0
        self._lateness: deque[float] = deque(maxlen=_LATEST)
        self._shown = -math.inf

    def timed(self, lateness: float) -> None:
        """Take how late a cycle started, s."""
        self._lateness.append(max(0.0, lateness))

    def step(self, loop: Loop, now: float) -> None:
        """Carry out what was asked for since the last step, and show how things are."""
        for order in self._asked():
            self._carry_out(order, loop, now)
        if 0.0 <= now - self._shown < _GAUGE_PERIOD:
            return
        self._shown = now
        self._watch_page(loop, now)
        if self._desk is not None and loop.last is not None:
            stats = {name: device.stats for name, device in self._devices.items()}
            self._desk.put(readings(loop.last, stats, self._lateness, loop.supervisor, self.message))

    def _asked(self) -> list[str]:
        """Orders since the last call, the most urgent first."""
        asked = {KEYS[key] for key in self._keyboard.pressed().lower() if key in KEYS} if self._keyboard else set()
        if self._desk is not None:
            presses = self._desk.presses()
            asked |= {o for o, now, before in zip(ORDERS, presses, self._presses, strict=True) if now != before}
            self._presses = presses
        if "estop" in asked:
            asked -= {"run", "arm", "reset"}  # they were meant for what was before
        return sorted(asked, key=ORDERS.index)

    def _carry_out(self, order: str, loop: Loop, now: float) -> None:
        if order == "quit":
            loop.stop(now)
            done, text = True, "going down"
        elif order == "estop":
            done, text = loop.estop(now)
        elif loop.operated:
            done, text = getattr(loop, order)(now)
        else:
            done, text = False, "this run follows a plan; start it with --panel to operate it"
        self.message = f"{order}: done" if done else f"{order}: refused, {text}"

    def _watch_page(self, loop: Loop, now: float) -> None:
        if self._desk is None or not loop.operated:
            return
        wall, alive = self._clock(), self._page_lives()
        if (beats := self._desk.beats()) != self._beats:
            self._beats, self._heard = beats, wall
        silent = wall - self._heard
        if loop.supervisor.state in ("armed", "run", "hold") and (not alive or silent > PAGE_SILENCE):
            loop.estop(now)
            why = f"has been silent for {silent:.1f} s" if alive else "has ended"
            self.message = f"estop: done, the process of the page {why}"


def pace(clock: Callable[[], float]) -> Callable[[float], None]:
    """A function that, given a time in s, waits until ``clock`` has gone on as far since the first call."""
    start: list[float] = []

    def wait(now: float) -> None:
        if not start:
            start.append(clock() - now)
        time.sleep(max(0.0, now - (clock() - start[0])))

    return wait
