"""What a user can set and do on the page, by sliders and by keys."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import viser
from viser import GuiInputHandle, GuiSliderHandle

from policy.runtime.card import Card
from sim.spec.command import COMMAND_NAMES
from sim.spec.gravity import MOON
from sim.spec.joints import JOINT_NAMES
from sim.terrain.generators import LEVELS

GRAVITY = (0.85, 3.7)
"""m/s^2, least and most that can be chosen; the most is that of Mars."""
WHOLE = "none"
"""In the menu of joints to break."""
STRONGEST_PUSH = 20.0
"""N*s."""
DIRECTIONS = {
    "from behind": (1.0, 0.0, 0.0),
    "from the front": (-1.0, 0.0, 0.0),
    "from the right": (0.0, 1.0, 0.0),
    "from the left": (0.0, -1.0, 0.0),
    "from below": (0.0, 0.0, 1.0),
}
"""Where a push comes from, and its unit vector in the heading frame."""


@dataclass(frozen=True)
class _Dial:
    """A slider and the keys that move it."""

    label: str
    step: float  # of the slider
    key_step: float
    less: str
    more: str
    hint: str


# viser's camera has W A S D Q E and the arrows
_DIALS = {
    "vx": _Dial("forward m/s", 0.01, 0.1, "K", "I", "Speed ahead."),
    "vy": _Dial("leftward m/s", 0.01, 0.05, "O", "U", "Speed to the left."),
    "yaw_rate": _Dial("turn rad/s", 0.01, 0.1, "L", "J", "Turn rate, to the left."),
    "apex_gain": _Dial("apex m", 0.01, 0.05, "G", "T", "How far the body rises in a hop."),
    "economy": _Dial("economy", 0.01, 0.1, "N", "M", "0 hops as well as it can, 1 spares motors and legs."),
    "gravity": _Dial("gravity m/s²", 0.01, 0.1, "H", "Y", "Acts at once."),
}
_ACTIONS = {"push": "P", "reset": "R", "stop": "X", "follow": "F"}
KEYS = (
    "**I K** faster, slower · **J L** turn · **U O** sideways · **T G** apex · **M N** economy · **Y H** gravity · "
    "**X** stop · **P** push · **R** reset · **F** follow. Camera: mouse, or **W A S D Q E** and arrows."
)


@dataclass(frozen=True)
class Push:
    """Hit the robot with ``impulse`` (3,) N*s, heading frame."""

    impulse: tuple[float, float, float]


@dataclass(frozen=True)
class Restart:
    """Put the robot down anew."""


@dataclass(frozen=True)
class Ground:
    """Make the preset ``kind`` at ``level`` and put the robot on it."""

    kind: str
    level: int


Action = Push | Restart | Ground
T = TypeVar("T")


class Controls:
    """Sliders, menus, buttons and keys in a viser server. Values may be read at any time; what happens once waits in
    ``actions``.

    Args:
        server: the page's.
        card: of the policy: ranges, default command and gravity.
        presets: terrains on offer.
        kind: the one that is shown.
        level: its difficulty.
    """

    def __init__(self, server: viser.ViserServer, card: Card, presets: list[str], kind: str, level: int) -> None:
        self.actions: queue.SimpleQueue[Action] = queue.SimpleQueue()
        self._server = server
        gui = server.gui
        limits = {name: (card.command_low[i], card.command_high[i]) for i, name in enumerate(COMMAND_NAMES)}
        self._limits = limits | {"gravity": GRAVITY}
        self._presets = presets
        with gui.add_folder("Command"):
            values = zip(COMMAND_NAMES, card.default_command, strict=True)
            self.dials = {name: self._dial(name, *limits[name], value) for name, value in values}
            stop = gui.add_button("Stop", hint="Hop on the spot. Key X.")
        with gui.add_folder("World"):
            marks = ((GRAVITY[0], f"{GRAVITY[0]}"), (MOON, "Moon"), (GRAVITY[1], f"{GRAVITY[1]}"))
            self.dials["gravity"] = self._dial("gravity", *GRAVITY, card.gravity, marks)
            self.terrain = gui.add_dropdown("terrain", presets, initial_value=kind)
            self.level = gui.add_slider("difficulty", 0, LEVELS - 1, 1, level, hint="Share of the preset's relief.")
            self._follow = gui.add_checkbox("follow", True, hint="Keep the robot in view. Key F.")
            reset = gui.add_button("Reset", hint="Put the robot down anew. Key R.")
        with gui.add_folder("Push"):
            self.push_size = gui.add_slider("size N·s", 0.5, STRONGEST_PUSH, 0.5, 6.0)
            self.push_from = gui.add_dropdown("where", list(DIRECTIONS), initial_value="from the left")
            push = gui.add_button("Push", hint="Key P.")
            self._broken = gui.add_dropdown(
                "break a joint", [WHOLE, *JOINT_NAMES], initial_value=WHOLE, hint="Its motor gives no torque."
            )
        for handle in (self.terrain, self.level):
            handle.on_update(lambda _: self._change_ground())
        tasks: dict[str, Callable[[], None]] = {
            "stop": self._stop,
            "reset": lambda: self.actions.put(Restart()),
            "push": self._push,
            "follow": self._toggle_follow,
        }
        for name, button in {"stop": stop, "reset": reset, "push": push}.items():
            button.on_click(partial(_call, tasks[name]))
        for name, key in _ACTIONS.items():
            self._on_key(name, key, tasks[name])

    @property
    def broken(self) -> int | None:
        """The joint whose motor shall give no torque."""
        return JOINT_NAMES.index(self._broken.value) if self._broken.value in JOINT_NAMES else None

    @property
    def command(self) -> np.ndarray:
        """(5,) as in ``HopCommand``."""
        return np.array([self._read(name) for name in COMMAND_NAMES], dtype=float)

    @property
    def gravity(self) -> float:
        """m/s^2."""
        return self._read("gravity")

    @property
    def follow(self) -> bool:
        """Whether the view goes along with the robot."""
        return self._follow.value

    def _read(self, name: str) -> float:
        """A dial within its limits, whatever a browser sent."""
        return _within(self.dials[name].value, *self._limits[name])

    def _dial(
        self, name: str, low: float, high: float, value: float, marks: tuple[tuple[float, str], ...] | None = None
    ) -> GuiSliderHandle[float]:
        dial = _DIALS[name]
        hint = f"{dial.hint} Keys {dial.more} and {dial.less}."
        fixed = high - low < dial.step  # the policy knows but one value
        slider = self._server.gui.add_slider(
            dial.label, low, max(high, low + dial.step), dial.step, min(max(value, low), high), marks=marks,
            disabled=fixed, hint=hint,
        )  # fmt: skip

        def move(by: float) -> None:
            _set(slider, float(np.clip(round(slider.value + by, 6), low, high)))

        if not fixed:
            self._on_key(f"{name} more", dial.more, lambda: move(dial.key_step))
            self._on_key(f"{name} less", dial.less, lambda: move(-dial.key_step))
        return slider

    def _on_key(self, label: str, key: str, task: Callable[[], None]) -> None:
        self._server.gui.add_command(label, hotkey=key).on_trigger(partial(_call, task))  # type: ignore[arg-type]

    def _stop(self) -> None:
        for name in ("vx", "vy", "yaw_rate"):
            slider = self.dials[name]
            _set(slider, float(np.clip(0.0, slider.min, slider.max)))

    def _push(self) -> None:
        if (direction := DIRECTIONS.get(self.push_from.value)) is not None:
            x, y, z = (_within(self.push_size.value, 0.0, STRONGEST_PUSH) * v for v in direction)
            self.actions.put(Push((x, y, z)))

    def _change_ground(self) -> None:
        if self.terrain.value in self._presets:
            self.actions.put(Ground(self.terrain.value, round(_within(self.level.value, 0, LEVELS - 1))))

    def _toggle_follow(self) -> None:
        _set(self._follow, not self._follow.value)


def _within(value: float, low: float, high: float) -> float:
    """``value``, or zero where it is no number, between ``low`` and ``high``."""
    return min(max(float(value) if math.isfinite(value) else 0.0, low), high)


def _call(task: Callable[[], None], _: object) -> None:
    task()


def _set(handle: GuiInputHandle[T], value: T) -> None:
    handle.value = value  # type: ignore[misc]  # viser's setter stands too far from its getter for mypy
