"""A robot's own computer has Python 3.10: what it runs uses nothing newer, neither in syntax nor in the library."""

from __future__ import annotations

import subprocess
import sys
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


def mypy(folder: Path, *arguments: str) -> str:
    """What mypy reports for Python 3.10."""
    (folder / "mypy.ini").write_text(CONFIG)
    line = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", str(folder / "cache"), *arguments]
    env = {"MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=200)
    return result.stdout + result.stderr


def test_what_a_robot_runs_needs_no_newer_python(tmp_path: Path) -> None:
    modules = subprocess.run([sys.executable, "-c", CLOSURE], cwd=ROOT, check=True, capture_output=True, text=True)
    names = modules.stdout.split()
    assert {"policy.runtime.controller", "sim.spec.joints", "sim.errors", "matrix_hil.bringup.runner"} <= set(names)
    assert f"no issues found in {len(names)} source files" in mypy(tmp_path, *(f"-m{name}" for name in names))


def test_what_is_newer_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "names.py").write_text(
        "import asyncio, datetime, enum, tomllib\nfrom typing import Never, Self\n\n\ndef f():\n"
        "    return asyncio.TaskGroup, datetime.UTC, enum.StrEnum, ExceptionGroup\n"
    )
    found = mypy(tmp_path, "names.py")
    newer = ("TaskGroup", "UTC", "StrEnum", "ExceptionGroup", "tomllib", "Never", "Self")
    assert [name for name in newer if name not in found] == []
    (tmp_path / "syntax.py").write_text("try:\n    pass\nexcept* ValueError:\n    pass\n")
    assert "requires Python 3.11" in mypy(tmp_path, "syntax.py")
