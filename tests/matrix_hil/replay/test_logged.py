"""Of a stranger's config.json only what decides results is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from matrix_hil.config import HilConfig
from matrix_hil.log import Log, Recorder, read_log
from matrix_hil.replay.logged import PARTS, logged_config, logged_robot
from matrix_hil.run.run_log import attachments
from policy.networks.policy_file import ZOO
from sim.errors import LunarError
from sim.files import ROOT
from sim.robots.identity import identify
from sim.spec.command import HopCommand

EVERYTHING = ("policy", *PARTS)


@pytest.fixture
def kept() -> dict[str, bytes]:
    """What a log of the shipped policy holds."""
    return attachments(HilConfig(policy=str(ZOO / "pronk")), str(ZOO / "pronk"))


def log_of(folder: Path, kept: dict[str, bytes], **changes: Any) -> Log:
    """A log whose config.json has other values at dotted places, as ``rig__friction``."""
    config = json.loads(kept["config.json"])
    for place, value in changes.items():
        *inner, last = place.split("__")
        part = config
        for name in inner:
            part = part[name]
        part[last] = value
    with Recorder(folder / "log", kept | {"config.json": json.dumps(config).encode()}, 0.0) as recorder:
        recorder.write("/hop_command", HopCommand(), 0.0)
    return read_log(folder / "log")


def test_what_decides_results_is_the_logs(tmp_path: Path, kept: dict[str, bytes]) -> None:
    changes = {
        "sync__stand_kp": 35.0, "safety__belt_speed": 1.0, "platform__travel": 0.1, "rig__friction": 0.5,
        "counterweight__winch_force": 200.0,
    }  # fmt: skip
    cfg = logged_config(log_of(tmp_path, kept, **changes), EVERYTHING)
    assert {place: getattr(getattr(cfg, place.split("__")[0]), place.split("__")[1]) for place in changes} == changes
    assert cfg.policy == str(ZOO / "pronk")
    untouched = logged_config(log_of(tmp_path / "rig", kept, **changes), ["sync"])
    assert untouched.sync.stand_kp == 35.0 and untouched.safety == HilConfig().safety and untouched.rig.friction == 0.8


def test_nothing_else_is(tmp_path: Path, kept: dict[str, bytes]) -> None:
    ports = {f"{name}__port": "/dev/ttyUSB0" for name in ("platform", "treadmill", "counterweight", "tracker", "robot")}
    log = log_of(
        tmp_path, kept, **ports, log="/etc", json="/etc/passwd", calibration__file="/etc/passwd", clock="wall",
        pace=0.01, twin__host="evil.example", live=True, panel=True, live_port=1, platform__line__baud=1, seed=7,
        split_mb=1e9, terrain__kind="crater-rim", plan__duration=1e9, threads=1000, x={"y": 1},
    )  # fmt: skip
    assert logged_config(log, EVERYTHING) == HilConfig(policy=str(ZOO / "pronk"))


def test_the_users_own_settings_come_last(tmp_path: Path, kept: dict[str, bytes]) -> None:
    log = log_of(tmp_path, kept, sync__stand_kp=35.0, policy="/nowhere")
    own = ["--policy", str(ZOO / "mlp"), "--sync.stand_kp", "36"]
    cfg = logged_config(log, EVERYTHING, own)
    assert cfg.policy == str(ZOO / "mlp") and cfg.sync.stand_kp == 36.0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sync": "/etc/passwd"}, "sync must hold its settings"),
        ({"platform__geometry": "other.yaml"}, r"platform\.geometry must hold its settings"),
        ({"rig": ["x"]}, "rig must hold its settings"),
        ({"sync__stand_kq": 1.0}, r"sync\.stand_kq"),
        ({"policy": "/nowhere"}, "--policy"),
        ({"policy": 3}, "--policy"),
        ({"policy": str(ZOO / "mlp")}, "not the one that log.* was made with.*--policy"),
        ({"rig__robot": "/etc/passwd"}, r"rig\.robot"),
        ({"rig__robot": {}}, r"rig\.robot"),
    ],
)
def test_what_could_lead_elsewhere_is_refused(
    tmp_path: Path, kept: dict[str, bytes], changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(LunarError, match=why) as raised:
        logged_config(log_of(tmp_path, kept, **changes), EVERYTHING)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_configuration_is_refused(tmp_path: Path, kept: dict[str, bytes], text: bytes) -> None:
    with Recorder(tmp_path / "log", kept | {"config.json": text}, 0.0) as recorder:
        recorder.write("/hop_command", HopCommand(), 0.0)
    for needed in (EVERYTHING, ["sync"]):
        refused(read_log(tmp_path / "log"), needed)


def test_a_log_is_drawn_with_the_robot_that_was_on_the_rig(tmp_path: Path, kept: dict[str, bytes]) -> None:
    assert logged_robot(log_of(tmp_path / "go2", kept)) == "go2"
    mine = tmp_path / "mine.xml"
    mine.write_text((ROOT / "examples/own_robot.xml").read_text())
    card = json.loads(kept["card.json"]) | {"robot_digest": identify(str(mine)).digest}
    log = log_of(tmp_path / "mine", kept | {"card.json": json.dumps(card).encode()}, rig__robot=str(mine))
    assert logged_robot(log) == str(mine)
    mine.unlink()
    with pytest.raises(LunarError, match="name it with --robot"):
        logged_robot(log)
    assert logged_robot(log, "go2") == "go2"
    with Recorder(tmp_path / "theirs", {"config.json": b"{"}, 0.0) as recorder:
        recorder.write("/hop_command", HopCommand(), 0.0)
    assert logged_robot(read_log(tmp_path / "theirs")) == "go2"


def refused(log: Log, needed: Sequence[str]) -> None:
    with pytest.raises(LunarError, match=r"config\.json"):
        logged_config(log, needed)
