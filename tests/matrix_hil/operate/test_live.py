"""The live view draws the newest cycle in a browser and never holds up who shows it."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from matrix_hil.config import HilConfig, RunPlan
from matrix_hil.control.sync import Sync, SyncConfig
from matrix_hil.messages import MachineStates, PlatformState, RobotState, TrackerState, TreadmillState, TwinPatch
from matrix_hil.operate import cli as hil
from matrix_hil.operate import live
from matrix_hil.operate.live import Board, LiveView, Page
from matrix_hil.run.loop import Cycle, Loop
from matrix_hil.safety.supervisor import SafetyConfig, Supervisor
from policy.runtime.onnx_policy import OnnxPolicy
from policy.runtime.starter import ENDS
from sim.errors import LunarError
from sim.rig.config import RigConfig
from sim.spec.command import HopCommand
from sim.spec.joints import NOMINAL_POSE
from tests.browser import Tab, needs_chromium, open_tab, until


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
    with LiveView(RigConfig()) as shown:
        yield shown


@pytest.fixture
def page(view: LiveView) -> Iterator[Page]:
    """The server's side in this process, where a browser can be asked for its picture."""
    shown = Page(view._board, view.desk, RigConfig())
    try:
        yield shown
    finally:
        shown.close()


@pytest.fixture
def tab(page: Page, tmp_path: Path) -> Iterator[Tab]:
    """Looks at the page."""
    with open_tab(page.server.url, tmp_path, 500, 400) as opened:
        yield opened


def gold(picture: np.ndarray) -> int:
    """Pixels in the colour of the platform's deck."""
    red, blue = picture[..., 0].astype(int), picture[..., 2].astype(int)
    return int(((red > 110) & (red - blue > 60)).sum())


@pytest.mark.wall_clock
@needs_chromium
def test_a_browser_sees_the_rig_move(view: LiveView, page: Page, tab: Tab, cycle_of: Callable[[float], Cycle]) -> None:
    view.show(cycle_of(0.3))
    client = next(iter(until(page.server.get_clients).values()))

    def picture() -> np.ndarray:
        page.draw()
        return client.get_render(height=180, width=240)

    until(lambda: gold(picture()) > 300)  # the platform's golden deck; the first pictures may be empty
    low = picture().astype(int)
    view.show(cycle_of(0.9))
    until(lambda: np.abs(picture() - low).mean() > 0.5)  # both robots have risen
    assert gold(picture()) > 300
    assert not tab.errors


def test_the_page_is_served_on_this_computer_only_and_ends(view: LiveView, cycle_of: Callable[[float], Cycle]) -> None:
    view.show(cycle_of(0.3))
    assert view.url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(view.url, timeout=30.0) as answer:
        assert b"<html" in answer.read().lower()
    assert view.frames == 0, "nobody looks, nothing is drawn"
    for number in ENDS:  # as they reach a whole group of processes
        os.kill(view._process.pid or 0, number)
    view.close()
    assert view._process.exitcode == 0, "the page stays until the rig is down"
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(view.url, timeout=5.0)


def test_a_port_in_use_is_named(page: Page) -> None:
    with pytest.raises(LunarError, match="live_port"):
        LiveView(RigConfig(), port=page.server.get_port())


@pytest.mark.parametrize("shape", [(511, 513), (513, 511), (256, 256), (257, 256), (2048, 2048), (2, 2048)])
def test_ground_of_any_size_fits_on_the_board(shape: tuple[int, int]) -> None:
    board = Board()
    board.put_ground(np.zeros(2), 0.05, np.ones(shape))
    taken = board.take_ground(0.0)
    assert taken is not None and (taken[3] == 1.0).all()


def test_the_board_gives_the_newest_whole_moment() -> None:
    board = Board()
    assert board.take(0.0) is None and board.take_ground(0.0) is None
    for value in (1.0, 2.0, 3.0):
        board.put(np.full(33, value))
    taken = board.take(0.0)
    assert taken is not None and (taken[1] == 3.0).all()
    assert board.take(taken[0]) is None, "nothing new"
    board.moment[0] += 1  # a writer is at it
    assert board.take(0.0) is None


@pytest.mark.parametrize("size", [2, 41, 700])
def test_ground_of_any_size_is_thinned_to_fit(size: int) -> None:
    board = Board()
    heights = np.arange(float(size * size)).reshape(size, size)
    board.put_ground(np.array([1.0, 2.0]), 0.01, heights)
    taken = board.take_ground(0.0)
    assert taken is not None
    _, origin, resolution, drawn = taken
    every = round(resolution / 0.01)
    assert (origin == [1.0, 2.0]).all()
    np.testing.assert_array_equal(drawn, heights[::every, ::every].astype(np.float32))


@pytest.mark.wall_clock
def test_hil_shows_its_cycles(standing_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Cycle] = []
    monkeypatch.setattr(live.LiveView, "show", lambda self, cycle: shown.append(cycle))
    cfg = HilConfig(
        policy=str(standing_policy), log=str(tmp_path / "log"), plan=RunPlan(0.2, 0.1, down=0.1), live=True, live_port=0
    )
    hil.run(cfg, Console(quiet=True))
    assert len(shown) > 60 and shown[-1].supervisor.state == "idle"
