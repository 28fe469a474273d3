"""The live view draws the newest cycle in a browser and never holds up who shows it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from matrix_hil import hil, live
from matrix_hil.hil import HilConfig
from matrix_hil.live import LiveView, live_view
from matrix_hil.loop import Cycle, Loop, RunPlan
from matrix_hil.messages import MachineStates, PlatformState, RobotState, TrackerState, TreadmillState, TwinPatch
from matrix_hil.safety import SafetyConfig, Supervisor
from matrix_hil.sync import Sync, SyncConfig
from policy.runtime.onnx_policy import OnnxPolicy
from sim.errors import LunarError
from sim.rig import RigConfig
from sim.spec.command import HopCommand
from sim.spec.joints import NOMINAL_POSE


@pytest.fixture
def cycle_of(standing_policy: Path) -> Callable[[float], Cycle]:
    """``cycle_of(height)``: a cycle of a loop whose robot's base is ``height`` m over the belt."""
    cycles: list[Cycle] = []
    loop = Loop(
        Sync(SyncConfig(), OnnxPolicy(standing_policy)),
        Supervisor(SafetyConfig()),
        {},
        HopCommand(),
        RunPlan(),
        cycles.append,
    )
    patch = TwinPatch(0.0, np.array([-1.0, -1.0]), 0.05, 0.02 * np.random.default_rng(0).standard_normal((41, 41)))

    def make(height: float) -> Cycle:
        upright = np.array([1.0, 0.0, 0.0, 0.0])
        states = MachineStates(
            platform=PlatformState(0.0, np.zeros(6), np.zeros(6)),
            treadmill=TreadmillState(0.0, 0.3, 1.0),
            tracker=TrackerState(0.0, np.array([0.0, 0.0, height]), upright),
            robot=RobotState(0.0, NOMINAL_POSE, np.zeros(12), np.zeros(3), np.array([0.0, 0.0, -1.0]), np.zeros(4)),
        )
        loop.cycle(0.0, states, patch)
        return cycles[-1]

    return make


@pytest.fixture
def view() -> Iterator[LiveView]:
    with live_view(RigConfig(), 0.0, 0) as shown:
        yield shown


@pytest.fixture
def browser(view: LiveView, tmp_path: Path) -> Iterator[Path]:
    """Looks at the view; yields the file of its console."""
    console = tmp_path / "console.txt"
    with open(console, "w") as stderr:
        process = subprocess.Popen(
            [
                "chromium", "--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader", "--window-size=500,400", f"--user-data-dir={tmp_path / 'profile'}",
                "--enable-logging=stderr", view.url,
            ],
            stderr=stderr,
        )  # fmt: skip
        try:
            yield console
        finally:
            process.terminate()
            process.wait(20)


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The condition's first true value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
    return value


def gold(picture: np.ndarray) -> int:
    """Pixels in the colour of the platform's deck."""
    red, blue = picture[..., 0].astype(int), picture[..., 2].astype(int)
    return int(((red > 110) & (red - blue > 60)).sum())


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the chromium browser")
def test_a_browser_sees_the_rig_move(view: LiveView, browser: Path, cycle_of: Callable[[float], Cycle]) -> None:
    view.show(cycle_of(0.3))
    clients = until(view.server.get_clients)
    client = next(iter(clients.values()))
    until(lambda: view.frames > 0)

    def picture() -> np.ndarray:
        return client.get_render(height=180, width=240)

    until(lambda: gold(picture()) > 300)  # the platform's golden deck; the first pictures may be empty
    low = picture().astype(int)
    view.show(cycle_of(0.9))
    until(lambda: view.frames > 1)
    until(lambda: np.abs(picture() - low).mean() > 0.5)  # both robots have risen
    assert gold(picture()) > 300
    lines = [x for x in browser.read_text().splitlines() if ":CONSOLE" in x]
    assert not [x for x in lines if ":ERROR:" in x or "Uncaught" in x]


def test_showing_costs_the_loop_nothing(cycle_of: Callable[[float], Cycle], monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing that hangs or is slow does not reach the one who shows; only the newest cycle is kept."""
    drawn: list[Cycle] = []
    with live_view(RigConfig(), 0.0, 0) as view:
        monkeypatch.setattr(view.server, "get_clients", lambda: {0: None})
        monkeypatch.setattr(view, "_draw", lambda cycle: (drawn.append(cycle), time.sleep(0.2)))
        cycles = [cycle_of(0.3) for _ in range(200)]
        for cycle in cycles:
            view.show(cycle)
        until(lambda: drawn and drawn[-1] is cycles[-1])
    assert len(drawn) <= 2


def test_nobody_looks_nothing_is_drawn(view: LiveView, cycle_of: Callable[[float], Cycle]) -> None:
    view.show(cycle_of(0.3))
    time.sleep(0.2)
    assert view.frames == 0


def test_a_port_in_use_is_named(view: LiveView) -> None:
    with pytest.raises(LunarError, match="live_port"):
        live_view(RigConfig(), 0.0, view.server.get_port())


def test_hil_shows_its_cycles(standing_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Cycle] = []
    monkeypatch.setattr(live.LiveView, "show", lambda self, cycle: shown.append(cycle))
    cfg = HilConfig(
        policy=str(standing_policy), log=str(tmp_path / "log"), plan=RunPlan(0.2, 0.1, down=0.1), live=True, live_port=0
    )
    hil.run(cfg, Console(quiet=True))
    assert len(shown) > 60 and shown[-1].supervisor.state == "idle"
