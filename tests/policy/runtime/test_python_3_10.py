"""A robot's own computer has Python 3.10: what it runs uses nothing newer, neither in syntax nor in the library."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from sim.config import ROOT

# Everything that `lunar up deploy` and the nodes that it starts import of this project.
CLOSURE = """
import importlib, pkgutil, sys
import matrix_hil.bringup.cli, matrix_hil.cli, policy.runtime, sim.spec
for package in (policy.runtime, sim.spec):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
print(*(m for m in sys.modules if m.partition(".")[0] in ("sim", "policy", "matrix_hil")))
"""
# mypy's copy of the library says which version brought each name; other packages are what pip finds for that version.
CONFIG = """
[mypy]
python_version = 3.10
check_untyped_defs = true
follow_imports = silent
disable_error_code = import-untyped
[mypy-onnxruntime.*,jsonargparse.*,yaml.*,mujoco_menagerie.*]
ignore_missing_imports = true
"""
# The nodes themselves, and what ROS's own Python reads to launch them.
NODES = ("lunar_policy.node", "lunar_policy.policy_node", "lunar_policy.unitree_adapter", "lunar_bringup.table")
WHERE = [ROOT, *sorted({ROOT / "ros2_ws/src" / name.partition(".")[0] for name in NODES})]
# Whatever else it says of them: mypy does not know rclpy's classes well enough to judge how they are used.
NEWER = re.compile(r'Module( "[\w.]+")? has no attribute|\[(syntax|name-defined|import-not-found)\]|requires Python')


def mypy(folder: Path, *arguments: str, absent: Iterable[str] = ()) -> str:
    """What mypy reports for Python 3.10; what is ``absent`` need not be here."""
    more = "".join(f"[mypy-{name}.*]\nignore_missing_imports = true\nfollow_imports = skip\n" for name in absent)
    (folder / "mypy.ini").write_text(CONFIG + more)
    line = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", str(folder / "cache"), *arguments]
    env = {"MYPYPATH": os.pathsep.join(map(str, WHERE)), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=200)
    return result.stdout + result.stderr


def test_what_a_robot_runs_needs_no_newer_python(tmp_path: Path) -> None:
    modules = subprocess.run([sys.executable, "-c", CLOSURE], cwd=ROOT, check=True, capture_output=True, text=True)
    names = modules.stdout.split()
    assert {"policy.runtime.controller", "sim.spec.joints", "sim.errors", "matrix_hil.bringup.runner"} <= set(names)
    assert f"no issues found in {len(names)} source files" in mypy(tmp_path, *(f"-m{name}" for name in names))


def test_the_nodes_and_their_launch_need_no_newer_python(tmp_path: Path) -> None:
    files = [ROOT / "ros2_ws/src" / name.partition(".")[0] / f"{name.replace('.', '/')}.py" for name in NODES]
    trees = [ast.walk(ast.parse(f.read_text())) for f in files]
    ros = {n.module.partition(".")[0] for tree in trees for n in tree if isinstance(n, ast.ImportFrom) and n.module}
    ros -= {"sim", "policy", "lunar_policy", *sys.stdlib_module_names}
    assert {"rclpy", "launch_ros", "unitree_go"} <= ros
    found = mypy(tmp_path, *(f"-m{name}" for name in NODES), absent=sorted(ros))
    assert f"checked {len(NODES)} source files" in found
    assert [line for line in found.splitlines() if NEWER.search(line)] == []


def test_what_is_newer_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "names.py").write_text(
        "import asyncio, datetime, enum, tomllib\nfrom typing import Never, Self\n\n\ndef f():\n"
        "    return asyncio.TaskGroup, datetime.UTC, enum.StrEnum, ExceptionGroup\n"
    )
    found = mypy(tmp_path, "names.py")
    newer = ("TaskGroup", "UTC", "StrEnum", "ExceptionGroup", "tomllib", "Never", "Self")
    assert [name for name in newer if not any(name in line and NEWER.search(line) for line in found.splitlines())] == []
    (tmp_path / "syntax.py").write_text("try:\n    pass\nexcept* ValueError:\n    pass\n")
    assert NEWER.search(mypy(tmp_path, "syntax.py"))
