"""What a log says of a policy is what the policy saw and did; a student learns from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from matrix_hil.cli import main as lunar
from matrix_hil.config import HilConfig, RunPlan
from matrix_hil.log import read_log
from matrix_hil.log.reader import Series
from matrix_hil.operate.cli import run
from matrix_hil.replay import demonstrations
from matrix_hil.replay.demonstrations import AGES, from_log
from policy.distill.teachers import Demonstrations, columns
from policy.networks.policy_file import ZOO, load_actor
from policy.runtime.onnx_policy import OnnxPolicy
from sim.errors import LunarError
from sim.spec.command import HopCommand

SECONDS = 0.9
POLICY = ZOO / "pronk"
CARD = (POLICY / "card.json").read_bytes()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a log of the shipped policy."""
    folder = tmp_path_factory.mktemp("demonstrations") / "log"
    cfg = HilConfig(
        policy=str(POLICY), log=str(folder), plan=RunPlan(duration=SECONDS, stand=0.3, down=0.1),
        command=HopCommand(0.2, 0.0, 0.0, 0.3, 0.0),
    )  # fmt: skip
    assert run(cfg, Console(quiet=True))["trips"] == 0
    return folder


@pytest.fixture(scope="module")
def shown(recorded: Path) -> Demonstrations:
    return from_log(recorded)


def test_every_control_step_of_the_run_is_there(shown: Demonstrations) -> None:
    rate = shown.card.observation.rate
    assert abs(len(shown.action) - SECONDS * rate) <= 1
    assert shown.card.observation.ages == tuple(sorted({*AGES, *OnnxPolicy(POLICY).card.observation.ages}))
    assert shown.observation.shape == (len(shown.action), shown.card.observation.size)


def test_the_policy_does_at_the_rebuilt_observations_what_it_did(shown: Demonstrations) -> None:
    """The whole history, command and leg relief included. Targets are logged in double precision; what remains is
    float32's rounding in the network, of a batch here and of one row there: actions near 1, sums of 256 products."""
    policy = OnnxPolicy(POLICY)
    seen = shown.observation[:, columns(shown.card.observation, policy.card.observation.ages)]
    action = policy.infer(seen.numpy()).action
    assert np.ptp(action, axis=0).max() > 1.0, "it moved, so that equality says something"
    np.testing.assert_allclose(shown.action.numpy(), action, atol=2e-5)


def test_a_frame_grows_old_and_the_first_fills_the_history(shown: Demonstrations) -> None:
    spec = shown.card.observation
    frames = shown.observation[:, : -len(spec.command)].unflatten(1, (len(spec.ages), spec.frame_size)).numpy()
    for place, age in enumerate(spec.ages):
        then = np.maximum(np.arange(len(frames)) - age, 0)
        np.testing.assert_array_equal(frames[:, place], frames[then, 0])
    assert not frames[0, 0, -12:].any(), "nothing was done before"
    np.testing.assert_allclose(frames[1:, 0, -12:], shown.action.numpy()[:-1], atol=1e-6)


def test_lunar_distill_learns_from_a_log(recorded: Path, shown: Demonstrations, tmp_path: Path) -> None:
    out = tmp_path / "student"
    lunar([
        "distill", "--teacher", str(recorded), "--method", "soda", "--quick", "--student.ages", "[0, 1, 2, 5]",
        "--student.hidden", "[16]", "--out", str(out),
    ])  # fmt: skip
    card = load_actor(out)[1]
    assert card.observation.ages == (0, 1, 2, 5)
    assert card.training["steps"] == len(shown.action) and card.training["method"] == "soda"


def changed(monkeypatch: pytest.MonkeyPatch, recorded: Path, topics: dict[str, Series | None], **files: bytes | None):
    """What ``from_log`` makes of the log with other topics and attachments; None leaves one out."""
    log = read_log(recorded)
    series = {name: topics.get(name, log.series[name]) for name in log.series}
    attachments = log.attachments | {name.replace("_", "."): data for name, data in files.items()}
    kept = {name: value for name, value in series.items() if value is not None}
    held = {name: value for name, value in attachments.items() if value is not None}
    monkeypatch.setattr(demonstrations, "read_log", lambda _: replace(log, series=kept, attachments=held))
    return from_log(recorded)


def with_modes(recorded: Path, modes: Callable[[np.ndarray], np.ndarray]) -> dict[str, Series | None]:
    """Robot commands in other modes, given the present ones."""
    sent = read_log(recorded)["/robot/command"]
    return {"/robot/command": Series(sent.log_time, sent.columns | {"mode": modes(sent.mode)})}


def test_after_an_interruption_the_history_begins_anew(monkeypatch, recorded: Path, shown: Demonstrations) -> None:
    def interrupted(mode: np.ndarray) -> np.ndarray:
        first = int(np.argmax(mode == "run"))
        return np.where(np.arange(len(mode)) // 4 == first // 4 + 20, "stand", mode)

    again = changed(monkeypatch, recorded, with_modes(recorded, interrupted))
    spec = shown.card.observation
    frames = again.observation[:, : -len(spec.command)].unflatten(1, (len(spec.ages), spec.frame_size))
    whole = (frames == frames[:, :1]).flatten(1).all(1).nonzero().flatten().tolist()
    assert len(whole) == 2 and whole[0] == 0 and 18 <= whole[1] <= 21
    assert not frames[whole[1], 0, -12:].any()


@pytest.mark.parametrize("topic", ["/sync/input", "/robot/command", "/hop_command"])
def test_a_missing_channel_is_named(monkeypatch, recorded: Path, topic: str) -> None:
    with pytest.raises(LunarError, match=f"no messages on {topic}"):
        changed(monkeypatch, recorded, {topic: None})


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (None, "holds no card.json"),
        (b"{", "card.json of .* cannot be read"),
        (b"\xff", "card.json of .* cannot be read"),
        (b"[]", "card.json of .* cannot be read"),
        (CARD.replace(b"rad/s, base frame", b"deg/s, base frame"), "does not fit this robot"),
    ],
)
def test_a_log_needs_the_card_of_its_policy(monkeypatch, recorded: Path, card: bytes | None, message: str) -> None:
    with pytest.raises(LunarError, match=message) as caught:
        changed(monkeypatch, recorded, {}, card_json=card)
    assert "\n" not in str(caught.value)


def test_a_log_in_which_no_policy_drove_teaches_nothing(monkeypatch, recorded: Path, capsys) -> None:
    with pytest.raises(LunarError, match="no moment in which a policy drove"):
        changed(monkeypatch, recorded, with_modes(recorded, lambda mode: np.full(len(mode), "stand")))
    with pytest.raises(SystemExit) as left:
        lunar(["distill", "--teacher", str(recorded), "--method", "bc"])
    assert left.value.code == 2 and capsys.readouterr().err.startswith("lunar distill: log ")
