"""The monitor between inference and motors: quiet on what it was fitted to, loud and by name on what it was not."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from policy.monitor.fit import write
from policy.monitor.nominal import Feed
from policy.monitor.scores import fit, peaks, trace
from policy.runtime.card import Card
from policy.runtime.monitor import LEAN, NOTHING, Monitor
from policy.runtime.monitor_file import FILES, Fitted, channel_names
from policy.runtime.onnx_policy import OnnxPolicy, PolicyOutput, Proprioception
from sim.config import ROOT
from sim.errors import LunarError

PRONK = ROOT / "policy/zoo/pronk"
CARD = Card.load(PRONK / "card.json")
HIDDEN, STEPS, ROBOTS = 128, 300, 64
NAMES = channel_names(CARD.observation)


def feed(seed: int) -> Feed:
    """Robots whose next frame follows, up to noise, from hidden layer, frame and action."""
    rng = np.random.default_rng(seed)
    law = np.random.default_rng(99).normal(0.0, 0.1, (42, 30))
    frame = np.zeros((STEPS, ROBOTS, 42), np.float32)
    hidden = rng.normal(size=(STEPS, ROBOTS, HIDDEN)).astype(np.float32)
    action = rng.normal(size=(STEPS, ROBOTS, 12)).astype(np.float32)
    for t in range(1, STEPS):
        frame[t, :, :30] = frame[t - 1] @ law + 0.2 * hidden[t - 1, :, :30] + 0.1 * rng.normal(size=(ROBOTS, 30))
        frame[t, :, 30:] = action[t - 1]
    frame[..., 5] = 0.05 * frame[..., 5] - 1.0  # it stands upright
    whole = np.ones((STEPS, ROBOTS), bool)
    none, fell = action[..., :0], np.full(ROBOTS, STEPS)
    return Feed(frame, hidden, action, none, action, action[..., :5], whole, whole.astype(np.int8), fell)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """With a limit such that nothing in ``feed(2)`` trips."""
    found = fit([feed(1)], len(NAMES))
    return replace(found, limit=1.3 * float(found.doubt(peaks(found, feed(2))).max()), advice=0.9)


@pytest.fixture
def folder(fitted: Fitted, tmp_path: Path) -> Path:
    """A policy with that monitor beside it."""
    for name in ("policy.onnx", "card.json"):
        shutil.copy(PRONK / name, tmp_path)
    write(tmp_path, CARD, fitted, {})
    return tmp_path


def said(feed: Feed, t: int, robot: int = 0) -> tuple[np.ndarray, PolicyOutput]:
    """Frame and output of one robot at one step."""
    nothing = np.zeros(0, np.float32)
    action, hidden = feed.action[t, robot], feed.hidden[t, robot]
    return feed.frame[t, robot], PolicyOutput(action, action, nothing, nothing, hidden)


def verdicts(monitor: Monitor, feed: Feed, bad: int | None = None, change: float = 0.0) -> list:
    """With ``change`` added to the channel ``bad`` from the middle on."""
    found = []
    for t in range(feed.steps):
        frame, output = said(feed, t)
        if bad is not None and t >= STEPS // 2:
            frame = frame.copy()
            frame[bad] += change
        found.append(monitor.step(frame, output))
    return found


def test_it_is_quiet_on_healthy_trials_and_the_same_after_a_reset(folder: Path) -> None:
    monitor = Monitor(folder, CARD, HIDDEN)
    first = verdicts(monitor, feed(3))
    assert not any(v.trip for v in first) and max(v.doubt for v in first) > 0.1
    monitor.reset()
    assert verdicts(monitor, feed(3)) == first


def test_what_robots_run_says_what_was_calibrated(folder: Path, fitted: Fitted) -> None:
    healthy = feed(3)
    alone = [v.doubt for v in verdicts(Monitor(folder, CARD, HIDDEN), healthy)]
    assert alone == pytest.approx(fitted.doubt(trace(fitted, healthy)[0]).max(1)[:, 0], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("channel", [1, 4, 13, 27])
def test_a_channel_that_is_off_trips_within_a_second_by_its_name(folder: Path, channel: int) -> None:
    found = verdicts(Monitor(folder, CARD, HIDDEN), feed(3), channel, 1.0)
    onset = STEPS // 2
    tripped = next(k for k, v in enumerate(found) if v.trip)
    assert onset <= tripped < onset + 50
    assert found[onset + 49].channel == NAMES[channel]
    assert found[onset + 49].sentence.startswith(f"{NAMES[channel]} is ")


def test_what_is_no_number_trips_at_once_and_is_forgotten_when_it_is_over(folder: Path) -> None:
    monitor, healthy = Monitor(folder, CARD, HIDDEN), feed(3)
    for t in range(60):
        assert not monitor.step(*said(healthy, t)).trip
    frame, output = said(healthy, 60)
    broken = monitor.step(frame, output._replace(hidden=np.full(HIDDEN, math.nan)))
    after = [monitor.step(*said(healthy, t)) for t in range(61, 130)]
    assert after[0].trip and after[0].doubt == math.inf and not after[-1].trip
    assert not math.isnan(broken.doubt)


def test_a_robot_that_stumbles_is_not_judged_but_what_is_no_number_is(folder: Path) -> None:
    monitor, healthy = Monitor(folder, CARD, HIDDEN), feed(3)

    def lying(t: int) -> tuple[np.ndarray, PolicyOutput]:
        frame, output = said(healthy, t)
        frame = frame + np.float32(1.0)
        frame[3:6] = math.sin(LEAN + 0.01), 0.0, -math.cos(LEAN + 0.01)
        return frame, output

    assert max(monitor.step(*lying(t)).doubt for t in range(100)) == 0.0
    frame, output = lying(100)
    monitor.step(frame, output._replace(hidden=np.full(HIDDEN, math.nan)))
    assert monitor.step(*lying(101)).trip
    frame[5] = math.nan
    monitor.reset()
    monitor.step(*lying(0))
    assert monitor.step(frame, output).trip


def test_a_joint_is_called_by_its_leg() -> None:
    assert len(NAMES) == 30 and NAMES[0] == "angular_velocity x" and NAMES[-1] == "RR_calf velocity"


def test_another_policys_monitor_is_refused(folder: Path) -> None:
    with pytest.raises(LunarError, match="fitted to other weights"):
        Monitor(folder, replace(CARD, weights="0" * 64), HIDDEN)


def test_files_that_do_not_belong_together_are_refused(folder: Path, fitted: Fitted) -> None:
    kept = (folder / FILES[1]).read_bytes()
    write(folder, CARD, replace(fitted, top=2.0 * fitted.top), {})
    (folder / FILES[1]).write_bytes(kept)
    with pytest.raises(LunarError, match="is not the file that"):
        Monitor(folder, CARD, HIDDEN)


def test_one_for_another_hidden_layer_is_refused(folder: Path) -> None:
    with pytest.raises(LunarError, match="'weights' has the shape"):
        Monitor(folder, CARD, HIDDEN - 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9}', '{"format": 1, "weights": 3}'])
def test_a_damaged_file_is_refused_in_one_sentence(folder: Path, text: str) -> None:
    (folder / FILES[0]).write_text(text)
    with pytest.raises(LunarError, match=r"monitor\.json"):
        Monitor(folder, CARD, HIDDEN)


@pytest.mark.parametrize(("name", "value"), [("top", 0.0), ("top", math.nan), ("deviation", 0.0)])
def test_limits_that_protect_nothing_are_refused(folder: Path, fitted: Fitted, name: str, value: float) -> None:
    write(folder, CARD, replace(fitted, **{name: np.full_like(getattr(fitted, name), value)}), {})
    with pytest.raises(LunarError, match="no number, or a limit"):
        Monitor(folder, CARD, HIDDEN)


def test_a_graph_without_its_hidden_layer_is_refused_with_the_remedy(folder: Path) -> None:
    model = onnx.load(folder / "policy.onnx")
    del model.graph.output[[o.name for o in model.graph.output].index("hidden")]
    onnx.save(model, folder / "policy.onnx")
    OnnxPolicy(folder)
    with pytest.raises(LunarError, match="lunar export --policy"):
        OnnxPolicy(folder, monitor="trip")


def test_to_trip_there_must_be_a_monitor_and_to_warn_there_need_not(folder: Path) -> None:
    assert OnnxPolicy(folder, monitor="warn").monitor is not None
    assert OnnxPolicy(folder).monitor is None
    for name in FILES:
        (folder / name).unlink()
    assert OnnxPolicy(folder, monitor="warn").monitor is None
    with pytest.raises(LunarError, match="lunar monitor fit"):
        OnnxPolicy(folder, monitor="trip")


def test_a_policy_judges_what_it_does_and_forgets_with_its_history(folder: Path) -> None:
    policy = OnnxPolicy(folder, monitor="warn")
    still = Proprioception(np.zeros(3), np.array([0.0, 0.0, -1.0]), np.array(CARD.default_pose), np.zeros(12))
    for _ in range(60):
        policy.act(still, np.array(CARD.default_command))
    assert policy.verdict != NOTHING
    policy.reset()
    assert policy.verdict == NOTHING


@pytest.mark.parametrize("name", ["pronk", "dual"])
def test_the_zoo_has_a_monitor_of_its_own_weights(name: str) -> None:
    policy = OnnxPolicy(name, monitor="trip")
    assert policy.monitor is not None
    assert sum((policy.folder / file).stat().st_size for file in FILES) < 300_000
    assert json.loads((policy.folder / FILES[0]).read_text())["budget_per_hour"] == 1.0
