"""The operator's panel: orders from page and keyboard, gauges, and an e-stop pressed in a real browser."""

from __future__ import annotations

import io
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from matrix_hil.config import HilConfig, RunPlan
from matrix_hil.control.sync import Sync, SyncConfig
from matrix_hil.link import LinkStats
from matrix_hil.log import read_log
from matrix_hil.messages import MachineStates
from matrix_hil.operate import cli as hil
from matrix_hil.operate.gauges import readings, to_html
from matrix_hil.operate.panel import (
    HELD,
    HOLD_TIME,
    KEYS,
    ORDERS,
    PAGE_SILENCE,
    Desk,
    Panel,
    pace,
)
from matrix_hil.run.loop import Cycle, Loop
from matrix_hil.safety.supervisor import SafetyConfig, Supervisor
from policy.runtime.onnx_policy import OnnxPolicy
from sim.spec.command import HopCommand
from sim.terrain.generators import TerrainConfig
from tests.browser import Tab, needs_chromium, open_tab, until
from tests.matrix_hil.run.test_loop import Rig
from tests.matrix_hil.safety.examples import DT, good_states

GOOD = LinkStats(connected=True, frames=100)


class Device:
    """What the panel needs of a driver."""

    stats = GOOD


class Typed:
    """A keyboard on which ``keys`` have been typed."""

    present = True

    def __init__(self) -> None:
        self.keys = ""

    def pressed(self) -> str:
        keys, self.keys = self.keys, ""
        return keys


class Operated:
    """A rig of good machines, its panel, and a page that is alive as long as ``beating``; its clock runs tenfold."""

    def __init__(self, policy: Path) -> None:
        self.rig = Rig(policy)
        supervisor = self.rig.loop.supervisor
        supervisor.cfg = replace(supervisor.cfg, frozen_time=math.inf)  # these machines always measure the same
        self.desk, self.keyboard = Desk(), Typed()
        devices: dict[str, Any] = {name: Device() for name in self.rig.devices}
        self.alive = self.beating = True
        self.held: set[str] = set()
        """Orders whose buttons are down."""
        keyboard: Any = self.keyboard
        self.panel = Panel(self.desk, keyboard, devices, lambda: self.alive, lambda: 10.0 * self.rig.now)
        self.run(0.2)

    def run(self, seconds: float) -> Operated:
        for _ in range(round(seconds / DT)):
            self.rig.run(DT)
            if self.beating:
                self.desk.beat(self.desk.beats() + 1)
            for order in self.held:
                self.desk.hold(order)
            self.panel.step(self.rig.loop, self.rig.now)
        return self

    @property
    def state(self) -> str:
        return self.rig.loop.supervisor.state


@pytest.fixture
def operated(standing_policy: Path) -> Operated:
    return Operated(standing_policy)


def ask(operated: Operated, way: str, order: str) -> str:
    """Press a button, or hold it as long as it takes, or a key; the state two cycles later."""
    operated.held.clear()
    if way == "page" and order in HELD:
        operated.run(0.05)  # 0.5 s on the page's clock: it has been let go before
        operated.held.add(order)
        operated.run(0.1 * HOLD_TIME)
    elif way == "page":
        operated.desk.press(order)
    else:
        operated.keyboard.keys += next(key for key, meant in KEYS.items() if meant == order)
    operated.run(2 * DT)
    return operated.state


@pytest.mark.parametrize("way", ["page", "keyboard"])
def test_the_orders_of_a_session(operated: Operated, way: str) -> None:
    assert operated.state == "idle"
    assert ask(operated, way, "run") == "idle", "not armed"
    assert operated.panel.message.startswith("run: refused")
    assert ask(operated, way, "arm") == "armed"
    assert ask(operated, way, "run") == "armed" and "must stand" in operated.panel.message
    operated.run(1.5)
    assert ask(operated, way, "run") == "run"
    assert ask(operated, way, "hold") == "hold"
    operated.run(1.5)
    assert ask(operated, way, "run") == "run"
    assert ask(operated, way, "estop") == "estop"
    assert operated.rig.loop.supervisor.reason.startswith("S00")
    assert operated.rig.cycles[-1].sent.robot.mode == "hold" and operated.rig.cycles[-1].sent.counterweight.brake
    assert ask(operated, way, "arm") == "estop", "latched"
    assert ask(operated, way, "reset") == "idle"
    assert ask(operated, way, "arm") == "armed"
    ask(operated, way, "quit")
    operated.run(0.6)
    assert operated.rig.loop.done and operated.rig.cycles[-1].sent.robot.mode == "damp"


def test_an_estop_acts_in_the_next_cycle_and_cancels_what_was_asked_beside_it(operated: Operated) -> None:
    ask(operated, "page", "arm")
    operated.run(1.5)
    ask(operated, "page", "run")
    operated.desk.press("reset")
    operated.keyboard.keys = "a r x"
    before = len(operated.rig.cycles)
    operated.run(DT)  # the orders are taken after this cycle
    operated.run(DT)
    assert [c.sent.counterweight.brake for c in operated.rig.cycles[before:]] == [False, True]
    operated.run(0.2)
    assert operated.state == "estop"
    assert operated.rig.cycles[before + 1].orders[0] == "estop", "logged, so that a log can be run again"


@pytest.mark.parametrize("how", ["dies", "hangs"])
@pytest.mark.parametrize("state", ["idle", "armed", "run"])
def test_a_page_that_is_gone_stops_an_armed_rig(operated: Operated, how: str, state: str) -> None:
    if state != "idle":
        ask(operated, "page", "arm")
    if state == "run":
        operated.run(1.5)
        ask(operated, "page", "run")
    if how == "dies":
        operated.alive = False
    operated.beating = False
    operated.run(0.15)  # 1.5 s on the page's clock
    assert operated.state == (state if how == "hangs" or state == "idle" else "estop")
    operated.run(0.1 * PAGE_SILENCE)
    assert operated.state == ("idle" if state == "idle" else "estop")
    assert state == "idle" or "the page" in operated.panel.message


def test_without_a_browser_the_keyboard_operates(operated: Operated) -> None:
    operated.beating = False  # the tab is closed
    operated.run(0.1 * PAGE_SILENCE + 0.1)
    assert ask(operated, "keyboard", "arm") == "armed"
    operated.run(0.1 * PAGE_SILENCE + 0.1)
    assert operated.state == "armed", "there was no button on which anybody relied"
    operated.beating = True  # it is opened, and closed again
    operated.run(0.2)
    operated.beating = False
    operated.run(0.1 * PAGE_SILENCE + 0.2)
    assert operated.state == "estop"


def test_buttons_of_a_browser_that_gives_no_sign_of_life_move_nothing(operated: Operated) -> None:
    operated.beating = False
    operated.run(0.1 * PAGE_SILENCE + 0.1)
    assert ask(operated, "page", "arm") == "idle"
    operated.beating = True
    operated.run(0.2)
    assert ask(operated, "page", "arm") == "armed"


@pytest.mark.parametrize("order", HELD)
def test_a_click_moves_nothing(operated: Operated, order: str) -> None:
    if order == "run":
        ask(operated, "keyboard", "arm")
        operated.run(1.5)
    before = operated.state
    operated.held.add(order)
    operated.run(0.1 * HOLD_TIME - 3 * DT)
    operated.held.clear()
    operated.run(0.5)
    assert operated.state == before and operated.panel.message == f"{order}: keep the button down"
    with pytest.raises(AssertionError, match="held"):
        operated.desk.press(order)


def test_the_policy_drives_while_run_is_held(operated: Operated) -> None:
    ask(operated, "page", "arm")
    operated.run(1.5)
    assert ask(operated, "page", "run") == "run"
    operated.run(2.0)
    assert operated.state == "run"
    operated.held.clear()  # let go, or the browser is frozen
    operated.run(0.1)  # 1 s
    assert operated.state == "hold"
    operated.run(1.5)
    assert ask(operated, "page", "run") == "run", "it must be pressed anew"


def test_the_keyboard_takes_over_from_the_button(operated: Operated) -> None:
    ask(operated, "page", "arm")
    operated.run(1.5)
    ask(operated, "page", "run")
    operated.keyboard.keys = "r"
    operated.run(2 * DT)
    operated.held.clear()
    operated.run(0.5)
    assert operated.state == "run"
    assert ask(operated, "keyboard", "hold") == "hold"


def test_a_run_that_follows_a_plan_takes_an_estop_and_the_end_only(standing_policy: Path) -> None:
    cycles: list[Cycle] = []
    sync = Sync(SyncConfig(), OnnxPolicy(standing_policy))
    loop = Loop(sync, Supervisor(SafetyConfig()), {}, HopCommand(), RunPlan(stand=0.5, down=0.1), cycles.append)
    desk = Desk()
    panel = Panel(desk, None, {}, lambda: True, lambda: 0.0)
    now = 10.0

    def run(seconds: float) -> None:
        nonlocal now
        for _ in range(round(seconds / DT)):
            now += DT
            loop.cycle(now, good_states(now), None)
            panel.step(loop, now)

    run(0.2)
    assert loop.phase == "stand"
    desk.press("hold")
    run(2 * DT)
    assert "--panel" in panel.message and loop.supervisor.state == "armed"
    desk.press("estop")
    run(0.2)
    assert loop.done and loop.supervisor.state == "estop" and cycles[-1].sent.counterweight.brake


# ---- gauges -------------------------------------------------------------------------------------------------------


def reading(states: MachineStates, operated: Operated, stats: dict[str, LinkStats] | None = None) -> dict[str, Any]:
    cycle = replace(operated.rig.cycles[-1], states=states)
    names = ("platform", "treadmill", "counterweight", "tracker", "robot")
    return readings(cycle, stats or dict.fromkeys(names, GOOD), [1e-4, 2e-4], Supervisor(SafetyConfig()), "message")


@pytest.mark.parametrize("name", ["platform", "treadmill", "counterweight", "tracker", "robot"])
def test_every_device_shows_its_own_estop_input(operated: Operated, name: str) -> None:
    good = good_states(operated.rig.now)
    shown = reading(good, operated)
    assert [d["estop"] for d in shown["devices"].values()] == [False] * 5 and to_html(shown).count("free") == 5
    pressed = replace(good, **{name: replace(getattr(good, name), fault=1)})  # type: ignore[arg-type]
    shown = reading(pressed, operated)
    assert [n for n, d in shown["devices"].items() if d["estop"]] == [name]
    assert to_html(shown).count("PRESSED") == 1 and to_html(shown).count("free") == 4
    odd = replace(good, **{name: replace(getattr(good, name), fault=0x12)})  # type: ignore[arg-type]
    assert reading(odd, operated)["devices"][name]["faults"] == ["watchdog", "unknown 0x10"]


def test_what_is_not_known_is_not_shown_as_zero(operated: Operated) -> None:
    shown = reading(MachineStates(), operated, {"robot": LinkStats(error="<unplugged>")})
    assert shown["devices"]["robot"]["estop"] is None
    assert {s["name"]: s["value"] for s in shown["scales"]}["rope"] is None
    text = to_html(shown)
    assert "&lt;unplugged&gt;" in text and "<unplugged>" not in text
    assert "–" in text


def test_values_that_are_no_numbers_reach_the_page_as_unknown(operated: Operated) -> None:
    good = good_states(operated.rig.now)
    assert good.counterweight is not None and good.tracker is not None
    states = replace(
        good,
        counterweight=replace(good.counterweight, tension=float("nan")),
        tracker=replace(good.tracker, position=np.full(3, np.inf)),
    )
    operated.desk.put(reading(states, operated))
    taken = operated.desk.take(0)
    assert taken is not None
    values = {s["name"]: s["value"] for s in taken[1]["scales"]}
    assert values["rope"] is None and values["base height"] is None and values["belt"] is not None
    assert to_html(taken[1])


def test_the_desk_gives_the_newest_whole_gauges() -> None:
    desk = Desk()
    assert desk.take(0) is None
    desk.put({"a": 1})
    desk.put({"a": 2})
    taken = desk.take(0)
    assert taken is not None and taken[1] == {"a": 2}
    assert desk.take(taken[0]) is None
    desk._head[0] += 1  # a writer is at it
    assert desk.take(taken[0]) is None
    desk.put({"too long": "x" * 20000})  # is left out, and harms nothing
    for order in ORDERS:
        desk.hold(order) if order in HELD else desk.press(order)
    assert desk.presses() == [order not in HELD for order in ORDERS] and desk.holds() == [1] * len(HELD)


# ---- pace, browser ------------------------------------------------------------------------------------------------


def test_pace_waits_for_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    wall = 100.0
    keep = pace(lambda: wall)
    keep(0.0)
    keep(0.5)  # simulated time is half a second ahead
    wall = 103.0
    keep(1.0)  # and now it is late
    assert slept == [0.0, 0.5, 0.0]


def run_by(tab: Tab) -> bool:
    """Hold the button for a while; whether the policy drives then."""
    with tab.held("Run"):
        until(lambda: any(answer in tab.text() for answer in ("run: done", "run: refused")))
        return "RUN" in tab.text()


@pytest.mark.wall_clock
@needs_chromium
def test_an_estop_pressed_in_a_browser_makes_the_rig_safe(standing_policy: Path, tmp_path: Path) -> None:
    """The whole way: mouse, page, its process, shared memory, loop, supervisor, bytes, emulators, log."""
    out = io.StringIO()
    console = Console(file=out, width=300)
    cfg = HilConfig(
        policy=str(standing_policy), log=str(tmp_path / "log"), panel=True, live_port=0, plan=RunPlan(stand=0.1),
        terrain=TerrainConfig(kind="flat"),
    )  # fmt: skip
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(hil.run(cfg, console)), daemon=True)
    thread.start()
    url = until(lambda: next((w.strip(",") for w in out.getvalue().split() if w.startswith("http://")), None))
    assert url.startswith("http://127.0.0.1:")
    with open_tab(url, tmp_path) as tab:
        until(lambda: "IDLE" in tab.text())
        with tab.held("Arm"):
            until(lambda: "ARMED" in tab.text())
        until(lambda: run_by(tab))
        until(lambda: "HOLD" in tab.text())
        tab.click("E-STOP")
        until(lambda: "S00" in tab.text() and "ESTOP" in tab.text())
        tab.click("Quit")
        thread.join(60.0)
    assert not thread.is_alive()
    assert results[0]["trips"] == 1 and results[0]["reason"].startswith("S00")
    log = read_log(tmp_path / "log")
    states = list(dict.fromkeys(log["/supervisor/state"].state))
    assert states[:5] == ["idle", "armed", "run", "hold", "estop"]
    stop = list(log["/supervisor/state"].state).index("estop")
    assert log["/counterweight/command"].brake[stop:].all()
    assert log["/treadmill/command"].speed[-1] == 0.0 and log["/robot/command"].mode[-1] == "damp"
