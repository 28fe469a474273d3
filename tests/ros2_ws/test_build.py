"""What ``ros2_ws/build.py`` promises to a Makefile: it says what is absent, patches the wheels once, and skips."""

from __future__ import annotations

import os
import runpy
import shutil
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


def test_who_sources_the_workspace_finds_the_wheels_too(tmp_path: Path) -> None:
    wheels, install = tmp_path / "the environment", tmp_path / "install"
    install.mkdir()
    for shell in ("sh", "bash", "zsh"):
        (install / f"setup.{shell}").write_text(f'AMENT_PREFIX_PATH="{install}"; export AMENT_PREFIX_PATH\n')
    for _ in range(2):
        runpy.run_path(str(BUILD))["name_wheels"](wheels, install)
    for shell in filter(shutil.which, ("sh", "bash", "zsh")):
        setup = f'. "{install}/setup.{shell}"; . "{install}/setup.{shell}"; echo "$AMENT_PREFIX_PATH"'
        said = subprocess.run([shell, "-c", setup], env=CLEAN, capture_output=True, text=True, check=True)
        assert said.stdout == f"{install}:{wheels}\n" and not said.stderr


def test_only_packages_with_changed_sources_are_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = runpy.run_path(str(BUILD))
    scope, built = module["main"].__globals__, []
    (tmp_path / "src").mkdir()
    for name in ("SOURCE", "BUILD", "INSTALL", "LOG"):
        monkeypatch.setitem(scope, name, tmp_path / {"SOURCE": "src"}.get(name, name.lower()))
    monkeypatch.setitem(scope, "find_ros", lambda: [tmp_path])
    monkeypatch.setitem(scope, "missing", lambda prefixes: "")

    def pretend(prefixes: list[Path], packages: list[str]) -> int:
        (tmp_path / "install").mkdir(exist_ok=True)
        built.append((packages, (tmp_path / "install/old").exists()))
        (tmp_path / "install/old").touch()
        return 0

    monkeypatch.setitem(scope, "build", pretend)
    monkeypatch.setattr(sys, "argv", ["build.py"])

    def write(package: str, text: str) -> None:
        (tmp_path / "src" / package).mkdir(exist_ok=True)
        (tmp_path / "src" / package / "a.msg").write_text(text)

    write("messages", "float64 x\n")
    write("nodes", "1\n")
    assert module["main"]() == 0 and module["main"]() == 0
    write("nodes", "2\n")
    module["main"]()
    shutil.rmtree(tmp_path / "src/nodes")
    module["main"]()
    monkeypatch.setitem(scope, "environment_id", lambda prefixes: "another")
    module["main"]()
    everything = ["messages", "nodes"]
    assert built == [(everything, False), (["nodes"], True), (["messages"], False), (["messages"], False)]


def test_the_makers_own_messages_are_not_hidden(tmp_path: Path) -> None:
    """Whoever builds, ours is left out where the maker's is found; the one that a former build installed is not his."""
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if cmake is None:
        pytest.skip("cmake is absent: pip install cmake")
    package = tmp_path / "maker/share/unitree_go/package.xml"
    package.parent.mkdir(parents=True)
    package.touch()

    def configure(install: Path) -> subprocess.CompletedProcess[str]:
        line = [cmake, "-S", str(ROOT / "ros2_ws/src/unitree_go"), "-B", str(tmp_path / install.name / "build")]
        line += [f"-DCMAKE_INSTALL_PREFIX={install}", "-DCMAKE_DISABLE_FIND_PACKAGE_ament_cmake=ON"]
        env = CLEAN | {"CMAKE_PREFIX_PATH": "/absent", "AMENT_PREFIX_PATH": f"/opt/none:{tmp_path / 'maker'}"}
        return subprocess.run(line, capture_output=True, text=True, env=env, timeout=120)

    maker = configure(tmp_path / "ours")
    assert maker.returncode == 0 and f"the one in {tmp_path / 'maker'} is used" in maker.stdout, maker.stderr
    own = configure(tmp_path / "maker")
    assert own.returncode != 0 and "ament_cmake" in own.stderr  # it goes on to build


def test_messages_of_the_maker_that_come_later_make_a_new_build(tmp_path: Path) -> None:
    module = runpy.run_path(str(BUILD))
    before = module["environment_id"]([tmp_path])
    (tmp_path / "share/unitree_go").mkdir(parents=True)
    assert module["environment_id"]([tmp_path]) != before  # so that what was built from ours is thrown away
