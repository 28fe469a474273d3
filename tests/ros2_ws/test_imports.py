"""Nodes import no more than they need: torch takes two seconds and a quarter of a gigabyte of every process."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sim.files import ROOT

SOURCE = ROOT / "ros2_ws" / "src"
ROOTS = {
    **{name: ROOT for name in ("sim", "policy", "matrix_hil")},
    **{path.name: path.parent for path in SOURCE.glob("*/*") if (path / "__init__.py").is_file()},
}
NODES = sorted(
    f"{path.parent.name}.{path.stem}" for path in SOURCE.glob("*/*/*.py") if "def main(" in path.read_text("utf-8")
)
HEAVY = {"torch", "stable_baselines3", "gymnasium", "matplotlib", "plotly", "viser", "scipy", "onnxruntime"}
PHYSICS = {f"matrix_bridge.{n}_node" for n in ("sync", "virtual_rig")} | {
    f"lunar_policy.sim_{n}" for n in ("go2", "robot")
}
"""Nodes that need MuJoCo, half a second of a process."""


def files(module: str) -> list[Path]:
    """Those that run when ``module`` of this project is imported: its own and those of the packages around it."""
    parts = module.split(".")
    if parts[0] not in ROOTS:
        return []
    paths = [ROOTS[parts[0]].joinpath(*parts[:k]) for k in range(1, len(parts) + 1)]
    return [file for path in paths for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()]


def at_import(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements that run when a module is imported; not those in functions or for the type checker alone."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.ClassDef) and "TYPE_CHECKING" not in ast.dump(node)[:200]:
            yield from at_import([n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)])


@cache
def imports(file: Path) -> frozenset[str]:
    """Modules, by their full names, that a file names at its import."""
    names: set[str] = set()
    for node in at_import(ast.parse(file.read_text("utf-8")).body):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def reached(module: str) -> dict[str, str]:
    """Packages of others that importing ``module`` imports, each with the file that asks for it first."""
    found: dict[str, str] = {}
    waiting, seen = [module], set()
    while waiting:
        for file in files(waiting.pop()):
            if file in seen:
                continue
            seen.add(file)
            for name in imports(file):
                waiting.append(name)
                found.setdefault(name.partition(".")[0], str(file.relative_to(ROOT)))
    return found


@pytest.mark.parametrize("node", NODES)
def test_a_node_imports_nothing_heavy(node):
    heavy = HEAVY if node in PHYSICS else {*HEAVY, "mujoco"}
    assert {name: by for name, by in reached(node).items() if name in heavy} == {}


def test_what_is_imported_is_seen_through_other_files():
    assert all("mujoco" in reached(node) for node in PHYSICS)
    assert "torch" in reached("policy.training.train") and "torch" not in reached("policy.training.cli")
