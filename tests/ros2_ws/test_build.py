"""What ``ros2_ws/build.py`` promises to a Makefile: it says what is absent, patches the wheels once, and skips."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from sim.config import ROOT

BUILD = ROOT / "ros2_ws/build.py"
CLEAN = {k: v for k, v in os.environ.items() if k not in ("AMENT_PREFIX_PATH", "PYTHONPATH")}


def run(python: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, str(BUILD)], cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def test_without_ros_it_says_so_in_one_line(tmp_path: Path) -> None:
    env = {k: v for k, v in CLEAN.items() if k not in ("LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")}
    python = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    result = run(str(python), tmp_path, env)
    assert result.returncode == 3
    assert "ROS 2 is absent" in result.stderr and result.stderr.count("\n") == 1


def test_without_build_tools_it_says_so_in_one_line(ros_env: dict[str, str], tmp_path: Path) -> None:
    result = run(sys.executable, tmp_path, CLEAN | {"PATH": str(tmp_path)})
    assert result.returncode == 3
    assert "absent" in result.stderr and "install" in result.stderr and result.stderr.count("\n") == 1


def test_a_second_build_has_nothing_to_do(ros_env: dict[str, str], tmp_path: Path) -> None:
    result = run(sys.executable, tmp_path, CLEAN)
    assert (result.returncode, result.stdout) == (0, "ros2_ws: up to date\n")


def test_the_wheels_are_patched_once(tmp_path: Path) -> None:
    file = tmp_path / "share/std_msgs/cmake/export.cmake"
    file.parent.mkdir(parents=True)
    python, numpy = "/opt/python/cp312-cp312/include/python3.12", "/opt/python/cp312-cp312/lib/python3.12/site-packages"
    file.write_text(f'INCLUDES "{python};{numpy}/numpy/_core/include"\n')
    patch = runpy.run_path(str(BUILD))["patch_wheels"]
    assert patch(tmp_path) == 1
    assert file.read_text() == f'INCLUDES "{sysconfig.get_path("include")};{np.get_include()}"\n'
    assert patch(tmp_path) == 0


def test_a_changed_source_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = runpy.run_path(str(BUILD))
    module["source_id"].__globals__["SOURCE"] = tmp_path
    (tmp_path / "a.msg").write_text("float64 x\n")
    before = module["source_id"]()
    (tmp_path / "a.msg").write_text("float64 y\n")
    assert module["source_id"]() != before
    (tmp_path / "a.msg").write_text("float64 x\n")
    assert module["source_id"]() == before


def test_the_makers_own_messages_take_the_place_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = runpy.run_path(str(BUILD))
    commands: list[list[str]] = []

    def run(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    before = module["environment_id"]([tmp_path])
    module["build"]([tmp_path])
    (tmp_path / "share/unitree_go").mkdir(parents=True)
    module["build"]([tmp_path])
    assert "--packages-ignore" not in commands[0]
    assert commands[1][commands[1].index("--packages-ignore") + 1] == "unitree_go"
    assert module["environment_id"]([tmp_path]) != before  # so that what was built from ours is thrown away
