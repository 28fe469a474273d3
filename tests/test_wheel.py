"""An installed wheel, away from the checkout: what lies beside the packages is in it, and commands find it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from sim.config import ROOT

pytestmark = pytest.mark.timeout(600)
SOURCES = ("sim", "policy", "matrix_hil", "benchmarks", "configs", "ros2_ws/src/matrix_msgs/msg")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "ros2_ws/src/lunar_bringup/tables.yaml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that the checkout gets no build folder and lends none."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(out)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", str(source), *options], check=True, timeout=300)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def lunar(wheel, tmp_path_factory):
    """``lunar`` of an environment that has the wheel, and this one's dependencies but not its editable checkout."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "-q"]
    subprocess.run([*install, str(wheel)], check=True, timeout=300)
    site = next(home.glob("lib/python3*/site-packages"))
    # .pth files in a folder that a .pth file names are not read: the checkout's finder stays out
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    away = tmp_path_factory.mktemp("away")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"OMP_NUM_THREADS": "1"}

    def run(*argv: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [str(home / "bin" / "lunar"), *argv], cwd=away, env=environment, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == code, result.stderr
        return result

    code = "import sim, policy, matrix_hil; print(sim.__file__, policy.__file__, matrix_hil.__file__)"
    where = subprocess.run(
        [str(python), "-c", code], cwd=away, env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert all(Path(path).is_relative_to(site) for path in where), where
    run.folder = away  # type: ignore[attr-defined]
    return run


def test_all_files_that_are_not_python_are_in_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in tracked.stdout.split():
        if not (ROOT / name).is_file() or name.startswith("benchmarks/"):
            continue
        inside = f"sim/data/{name}" if name.startswith(("configs/", "ros2_ws/")) else name
        assert inside in names, f"{name} is not in the wheel"
    assert not [name for name in names if name.startswith(("benchmarks/", "tests/", "configs/", "ros2_ws/"))]


def test_train_and_evaluate(lunar):
    lunar("train", "--steps", "40000", "--world.num_envs", "128", "--out", "mine", "--json", "train.json")
    lunar("eval", "--quick", "--policy", "mine", "--suite", "mare", "--json", "eval.json")
    for name in ("train", "eval"):
        assert json.loads((lunar.folder / f"{name}.json").read_text())["revision"] == "unknown"
    lunar("eval", "--quick", "--policy", "policy/zoo/pronk")


def test_hil_and_replay(lunar):
    lunar("hil", "--plan.duration", "2", "--log", "log", "--json", "hil.json")
    lunar("replay", "log", "--out", "report.html")
    assert (lunar.folder / "report.html").stat().st_size > 100_000
    assert "/robot/joint_states" in lunar("log", "info", "log").stdout
    rerun = lunar("replay", "rerun", "log", "--json", "rerun.json")
    assert json.loads((lunar.folder / "rerun.json").read_text())["results"]["identical"], rerun.stdout


def test_terrain_presets_are_found(lunar):
    lunar("terrain", "preview", "mare", "--out", "mare.png")


def test_benchmarks_need_a_checkout(lunar):
    told = lunar("bench", "sim", "--quick", code=2).stderr
    assert "benchmarks are run from a checkout" in told and len(told.splitlines()) == 1


def _needs(extra: str) -> set[str]:
    """Distributions, by canonical name, of the base and of an extra with all that it includes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    for line in [*project["dependencies"], *project["optional-dependencies"][extra]]:
        name, *extras = re.findall(r"[\w-]+", line)
        found |= {name.lower().replace("_", "-")} if name != "lunar" else set().union(*map(_needs, extras))
    return found


@pytest.mark.parametrize(
    ("package", "extras"),
    [
        ("sim", ("sim", "gpu", "robots")), ("policy", ("train", "rsl")), ("matrix_hil", ("go2",)),
        ("benchmarks", ("train", "hil", "dev")),
        ("sim/spec", ("deploy",)), ("policy/runtime", ("deploy",)), ("examples", ("train",)),
        ("ros2_ws/src", ("hil", "ros", "dev")), ("tests", ("train", "hil", "gpu", "ros", "dev")),
    ],
)  # fmt: skip
def test_every_import_is_declared(package, extras):
    declared = set().union(*map(_needs, extras))
    ours = {"sim", "policy", "matrix_hil", "benchmarks", "tests"} | {p.name for p in ROOT.glob("ros2_ws/src/*")}
    ours |= {
        "ament_index_python",
        "launch",
        "launch_ros",
    }  # of a ROS 2 installation, which launch files run in: there are no wheels of them
    ours |= {"atheris"}  # of a test that is run by hand and says so
    distributions = packages_distributions()
    missing = set()
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in {name.partition(".")[0] for name in names} - ours - sys.stdlib_module_names:
                found = {name.lower().replace("_", "-") for name in distributions.get(top, [top])}
                if not found & declared:
                    missing.add(f"{top} in {path.relative_to(ROOT)}")
    assert not missing
