"""What the ROS packages declare and install, and what a sourced ROS does to this project's own tests."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from sim.config import ROOT

SRC = ROOT / "ros2_ws/src"
PACKAGES = sorted(f.parent for f in SRC.glob("*/package.xml"))
PYTHON = [p for p in PACKAGES if (p / "setup.py").is_file()]
KEYS = {"numpy": "python3-numpy", "yaml": "python3-yaml", "onnxruntime": "python3-onnxruntime-pip"}
"""rosdep's names of what is no ROS package."""
OURS = {"sim", "policy", "matrix_hil"}
"""The Python package ``lunar``, which rosdep does not know; the packages' descriptions say so."""
PLUGINS = ("launch_testing", "launch_testing_ros_pytest_entrypoint", "launch_ros", "launch_pytest", "ament_lint")


def imports(file: Path) -> set[str]:
    """Top-level modules that a file imports, wherever in it."""
    tree = ast.parse(file.read_text(), feature_version=(3, 10))
    found = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    found |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    return {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names)


def declared(package: Path) -> set[str]:
    root = ET.parse(package / "package.xml").getroot()
    return {e.text or "" for e in root if e.tag in ("depend", "exec_depend")}


@pytest.mark.parametrize("package", PYTHON, ids=lambda p: p.name)
def test_what_a_package_imports_is_declared(package: Path) -> None:
    used = {n for f in (package / package.name).glob("*.py") for n in imports(f)} - {package.name}
    wanted = {KEYS.get(name, name) for name in used - OURS}
    assert wanted <= declared(package), wanted - declared(package)
    if used & OURS:
        assert "lunar[" in (ET.parse(package / "package.xml").getroot().findtext("description") or "")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)
def test_what_is_named_in_source_is_installed_and_no_circle_of_packages(package: Path) -> None:
    names = {p.name for p in PACKAGES}
    seen, waiting = set(), [package.name]
    while waiting:
        for name in declared(SRC / waiting.pop()) & names - seen:
            seen.add(name)
            waiting.append(name)
    assert package.name not in seen
    for message in package.glob("msg/*.msg"):
        used = set(re.findall(r"^([a-z_]+)/[A-Z]", message.read_text(), re.M)) - {package.name}
        assert used <= declared(package)


def test_nodes_start_with_the_environments_python_whoever_runs_colcon(tmp_path: Path) -> None:
    """The scripts' first line is the ``python3`` of the build's PATH, not the interpreter that runs setup.py."""
    active = tmp_path / "environment/bin/python3"
    active.parent.mkdir(parents=True)
    active.symlink_to(sys.executable)
    for package in ("lunar_policy", "matrix_bridge"):
        out = tmp_path / package
        line = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
        line += ["install_scripts", "--install-dir", str(out), "--build-dir", str(tmp_path / "build")]
        env = os.environ | {"PATH": f"{active.parent}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(line, cwd=SRC / package, env=env, check=True, capture_output=True, timeout=120)
        scripts = list(out.iterdir())
        assert scripts and {f.read_text().splitlines()[0] for f in scripts} == {f"#!{active}"}


def test_a_sourced_ros_does_not_end_this_projects_tests(tmp_path: Path) -> None:
    """Its pytest plugins are on the path, and what they import is not."""
    info = tmp_path / "ros_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ros-plugins\nVersion: 1.0\n")
    lines = [f"{name} = broken_plugin_of_ros" for name in PLUGINS]
    (info / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    (tmp_path / "broken_plugin_of_ros.py").write_text("raise ImportError('lark is absent')\n")
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    line = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", __file__]
    result = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    bare = subprocess.run([*line, "-c", os.devnull], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert "lark is absent" in bare.stdout + bare.stderr  # without the options in pyproject.toml


def test_the_docs_versions_are_the_projects() -> None:
    """Every part says which Python it needs where pip and the reader look."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"].startswith(">=3.10")
    assert "Python 3.10" in (ROOT / "docs/deploy.md").read_text()


def test_a_parameter_given_on_the_command_line_is_not_overruled_by_a_file():
    """rcl prefers what a file says of one node by name to ``-p``, which speaks of all: only what makes a node that
    node may stand so."""
    for file in sorted((ROOT / "ros2_ws/src/lunar_bringup/config").glob("*.yaml")):
        for name, section in yaml.safe_load(file.read_text(encoding="utf-8")).items():
            assert name == "/**" or set(section["ros__parameters"]) == {"machine"}, f"{file.name}: {name}"
