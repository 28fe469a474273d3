"""What the rig's nodes take from a rig's file, and what they refuse."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sim.config import ROOT
from sim.errors import LunarError


def test_a_plan_that_cannot_be_followed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "ros2_ws/src/matrix_bridge"))
    from matrix_bridge.places import rig_config

    rig = tmp_path / "lab.yaml"
    rig.write_text("plan: {duration: 3.0}\n")
    assert rig_config(str(rig)).plan.duration == 3.0
    rig.write_text(f"plan: {{traverse: {tmp_path / 'plan.yaml'}}}\n")
    with pytest.raises(LunarError, match=r"plan.yaml"):
        rig_config(str(rig))
    (tmp_path / "plan.yaml").write_text("segments: 3\n")
    with pytest.raises(LunarError, match=r"plan.yaml"):
        rig_config(str(rig))
    for name in [n for n in sys.modules if n.startswith("matrix_bridge")]:
        del sys.modules[name]
