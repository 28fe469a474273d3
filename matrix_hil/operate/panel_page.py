"""Buttons and gauges of the operator's panel, in the page's process."""

from __future__ import annotations

import time
from collections.abc import Callable

import viser

from matrix_hil.operate.gauges import to_html
from matrix_hil.operate.panel import HELD, HOLD_RATE, ORDERS, Desk
from sim.view.server import PrivateServer

_PERIOD = 0.2  # s between two drawings of the gauges
_BUTTONS = {
    "arm": ("Arm", "blue", viser.Icon.SHIELD_CHECK, "Hold down: the robot stands up, the rope carries it"),
    "run": (
        "Run",
        "green",
        viser.Icon.PLAYER_PLAY,
        "The policy drives while this is held down; key r in the terminal goes on without",
    ),
    "hold": ("Hold", "yellow", viser.Icon.PLAYER_PAUSE, "The robot stands; belt and platform stop"),
    "reset": ("Reset", "gray", viser.Icon.REFRESH, "Back to idle; clears what is latched, here and in the devices"),
    "quit": ("Quit", "gray", viser.Icon.POWER, "Go down safely and end the program"),
}
"""Label, colour, icon and hint of each order but the e-stop, in the order of use."""
_ESTOP_STYLE = """<style>
button:has(.icon-tabler-hand-stop) {
  height: 5.5rem !important; margin: 0.4rem 0 1.2rem; border: 4px solid #ffcc00 !important;
  background: #d00000 !important; font-size: 2rem;
}
button:has(.icon-tabler-hand-stop) .mantine-Button-label { font-weight: 800 !important; }
button:has(.icon-tabler-hand-stop) .mantine-Button-section { margin-right: 1.2rem !important; }
</style>"""
"""Stands apart from the orders and is not missed in a hurry: viser's buttons are all of one size."""


class PanelPage:
    """Draws the panel on ``server`` and presses on ``desk``.

    Args:
        server: of the page.
        desk: shared with the loop.
        operated: whether there are buttons for every order, or for the e-stop only.
    """

    def __init__(self, server: PrivateServer, desk: Desk, operated: bool) -> None:
        self._server = server
        self._desk = desk
        self._seen = 0
        self._drawn = 0.0
        server.gui.configure_theme(control_width="large", show_logo=False)
        server.gui.main_panel.dock_right()
        server.gui.set_panel_label("MATRIX operator panel" if operated else "MATRIX")
        server.gui.add_html(_ESTOP_STYLE)
        stop = server.gui.add_button(
            "E-STOP", color="red", icon=viser.Icon.HAND_STOP, hint="Safe state, now; key: space"
        )
        stop.on_click(self._presser("estop"))
        server.gui.add_divider()
        for order in _BUTTONS if operated else ():
            assert order in ORDERS
            label, color, icon, hint = _BUTTONS[order]
            button = server.gui.add_button(label, color=color, icon=icon, hint=hint)  # type: ignore[arg-type]
            if order in HELD:
                button.on_hold(self._holder(order), callback_hz=HOLD_RATE)
            else:
                button.on_click(self._presser(order))
        self._gauges = server.gui.add_html("")

    def draw(self) -> None:
        """Show the newest gauges, and pass signs of life of browsers on to the loop."""
        self._desk.beat(self._server.guard.beats)
        now = time.monotonic()
        if now - self._drawn < _PERIOD or (taken := self._desk.take(self._seen)) is None:
            return
        self._drawn = now
        self._seen, reading = taken
        self._gauges.content = to_html(reading)

    def _presser(self, order: str) -> Callable[[object], None]:
        return lambda _: self._desk.press(order)

    def _holder(self, order: str) -> Callable[[object], None]:
        return lambda _: self._desk.hold(order)
