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
HELD = ("arm", "run")
"""Orders that a button must be held for: they make machines move, which a click by mistake must not."""
HOLD_RATE = 10.0
"""Hz. How often a browser says that a button is still held."""
HOLD_TIME = 0.5
"""s that a button of ``HELD`` must be held before its order is carried out."""
_RELEASED = 0.4  # s without a word of it, after which a button is no longer held
PAGE_SILENCE = 3.0
"""s. A browser that showed the page while the rig was armed and has been silent for longer is an e-stop: its button
would not work."""
_GAUGE_PERIOD = 0.1  # s between two sets of gauges
_LATEST = 1000  # cycles whose lateness is shown
_TEXT = 16384  # bytes of gauges at most


class Desk:
    """Memory that page and loop share. The page presses and beats, the loop writes gauges; each reads the other's."""

    def __init__(self) -> None:
        self._presses = RawArray("q", len(ORDERS))
        self._holds = RawArray("q", len(HELD))
        self._beats = RawArray("q", 1)
        self._head = RawArray("q", 2)  # count, odd while it is being written; length
        self._text = RawArray("B", _TEXT)

    def press(self, order: str) -> None:
        """Page: the operator asks for one of ``ORDERS`` that need not be held for."""
        assert order not in HELD, f"{order} must be held"
        self._presses[ORDERS.index(order)] += 1

    def presses(self) -> list[int]:
        """Loop: how often each order was asked for so far."""
        return list(self._presses)

    def hold(self, order: str) -> None:
        """Page: the button of one of ``HELD`` is down; to be said at ``HOLD_RATE``."""
        self._holds[HELD.index(order)] += 1

    def holds(self) -> list[int]:
        """Loop: how often each of ``HELD`` was said to be held so far."""
        return list(self._holds)

    def beat(self, beats: int) -> None:
        """Page: signs of life of browsers so far."""
        self._beats[0] = beats

    def beats(self) -> int:
        """Loop: signs of life of browsers so far."""
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
        self._buttons = {order: _Button(clock) for order in HELD}
        self._run_by_button = False
        self._beats = desk.beats() if desk else 0
        self._heard = -math.inf
        self._silent = True  # no browser shows the page
        self._attended = False  # one has since the rig was armed
        self._lateness: deque[float] = deque(maxlen=_LATEST)
        self._shown = -math.inf

    def timed(self, lateness: float) -> None:
        """Take how late a cycle started, s."""
        self._lateness.append(max(0.0, lateness))

    def step(self, loop: Loop, now: float) -> None:
        """Carry out what was asked for since the last step, and show how things are."""
        for order in self._asked(loop):
            self._carry_out(order, loop, now)
        if 0.0 <= now - self._shown < _GAUGE_PERIOD:
            return
        self._shown = now
        self._watch_page(loop, now)
        if self._desk is not None and loop.last is not None:
            stats = {name: device.stats for name, device in self._devices.items()}
            self._desk.put(readings(loop.last, stats, self._lateness, loop.supervisor, self.message))

    def _asked(self, loop: Loop) -> list[str]:
        """Orders since the last call, the most urgent first."""
        typed = {KEYS[key] for key in self._keyboard.pressed().lower() if key in KEYS} if self._keyboard else set()
        asked = set(typed)
        if self._desk is not None:
            presses = self._desk.presses()
            asked |= {o for o, now, before in zip(ORDERS, presses, self._presses, strict=True) if now != before}
            self._presses = presses
            asked |= self._held(self._desk.holds())
        running = loop.supervisor.state == "run"
        self._run_by_button = ((self._run_by_button and running) or "run" in asked) and "run" not in typed
        if self._run_by_button and not self._buttons["run"].down:
            self._run_by_button = False
            asked.add("hold")
        if "estop" in asked:
            asked -= {"run", "arm", "reset"}  # they were meant for what was before
        return sorted(asked, key=ORDERS.index)

    def _held(self, holds: list[int]) -> set[str]:
        """Orders whose buttons have just been held for long enough."""
        ready = set()
        for order, count in zip(HELD, holds, strict=True):
            button = self._buttons[order]
            if button.step(count) and not self._silent:
                ready.add(order)
            elif button.clicked:
                self.message = f"{order}: keep the button down"
        return ready

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
        """E-stop where the page went away while the rig was armed; whoever uses the keyboard alone needs none."""
        if self._desk is None or not loop.operated:
            return
        wall, alive = self._clock(), self._page_lives()
        if (beats := self._desk.beats()) != self._beats:
            self._beats, self._heard = beats, wall
        self._silent = wall - self._heard > PAGE_SILENCE
        armed = loop.supervisor.state in ("armed", "run", "hold")
        self._attended = armed and (self._attended or not self._silent)
        if armed and (not alive or (self._attended and self._silent)):
            loop.estop(now)
            why = f"the page has been silent for {PAGE_SILENCE:g} s" if alive else "the process of the page has ended"
            self.message = f"estop: done, {why}"


class _Button:
    """One that must be held: down while its count goes up."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.down = self.clicked = False
        """``clicked``: it has just been let go before it was held for long enough."""
        self._clock = clock
        self._count: int | None = None
        self._since = self._heard = 0.0
        self._done = False

    def step(self, count: int) -> bool:
        """Whether it has just been down for ``HOLD_TIME``. ``count`` is how often it was said to be down so far."""
        now = self._clock()
        told, self._count = self._count not in (None, count), count
        was = self.down
        if told:
            if not was:
                self._since, self._done = now, False
            self._heard = now
        self.down = told or (was and now - self._heard <= _RELEASED)
        self.clicked = was and not self.down and not self._done
        ready = told and not self._done and now - self._since >= HOLD_TIME
        self._done |= ready
        return ready


def pace(clock: Callable[[], float]) -> Callable[[float], None]:
    """A function that, given a time in s, waits until ``clock`` has gone on as far since the first call."""
    start: list[float] = []

    def wait(now: float) -> None:
        if not start:
            start.append(clock() - now)
        time.sleep(max(0.0, now - (clock() - start[0])))

    return wait
