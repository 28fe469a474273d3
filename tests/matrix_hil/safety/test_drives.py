"""Recorded drives, healthy and faulty, through the supervisor again: it decides as it did, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults.drives import DRIVES, decide, load
from matrix_hil.safety.limits import SafetyConfig

FOLDER = Path(__file__).with_name("drives")
REASONS = {
    "healthy": "", "platform-wrong-sequence": "S05", "treadmill-delayed": "S05", "tracker-stuck": "S18",
    "tracker-jump": "S27", "action-nan": "S15", "ground-jump": "S29", "clock-back": "S02", "estop-in-flight": "S01",
    "runaway-rope": "S30",
}  # fmt: skip


@pytest.mark.parametrize("name", DRIVES)
def test_a_drive_is_decided_as_it_was(name: str) -> None:
    drive = load(FOLDER / f"{name}.jsonl.gz")
    states = [d["state"] for d in drive.decided]
    assert "run" in states, "the rig was driven"
    assert next((d["reason"][:3] for d in drive.decided if d["reason"]), "") == REASONS[name]
    for k, (again, before) in enumerate(zip(decide(drive.given, SafetyConfig()), drive.decided, strict=True)):
        assert again == before, f"cycle {k}"


def test_a_tighter_limit_is_seen() -> None:
    drive = load(FOLDER / "healthy.jsonl.gz")
    again = list(decide(drive.given, SafetyConfig(joint_rate=2.0)))
    assert again != drive.decided
