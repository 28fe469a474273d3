#!/usr/bin/env python3
"""Build the ROS 2 workspace with colcon against a sourced ROS 2 installation or the PyPI wheels of ``lunar[ros]``.

Usage: ``python ros2_ws/build.py [--force]``, from any folder, with the Python that shall run the nodes. Results are in
``ros2_ws/build`` and ``ros2_ws/install``; a later call builds the packages whose sources have changed, all of them when
the environment has, and returns at once when nothing has.
Exit status: 0 built or up to date, 1 the build failed, 3 ROS 2, cmake or a compiler is absent (one line says which).

Needs the standard library alone, so that it also runs with the Python of a robot's ROS 2 installation.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

WORKSPACE = Path(__file__).resolve().parent
SOURCE, BUILD, INSTALL, LOG = (WORKSPACE / name for name in ("src", "build", "install", "log"))
ABSENT = 3
MAKERS = ("unitree_go",)
# Include directories of the machine that built the wheels, written into their exported CMake targets.
_WHEEL_PYTHON = re.compile(r"/opt/python/cp\d+-cp\d+/include/python3\.\d+")
# What the workspace's setup files get beside colcon's lines, for the wheels have none that could be sourced first.
_WHEEL_SETUP = """
case ":$AMENT_PREFIX_PATH:" in
  *":{0}:"*) ;;
  *) export AMENT_PREFIX_PATH="${{AMENT_PREFIX_PATH:+$AMENT_PREFIX_PATH:}}{0}" ;;
esac
"""
_WHEEL_NUMPY = re.compile(r"/opt/python/cp\d+-cp\d+/lib/python3\.\d+/site-packages/numpy/_core/include")


def find_ros() -> list[Path]:
    """Prefixes of the ROS 2 to build against, newest overlay first; empty when there is none.

    A sourced installation (AMENT_PREFIX_PATH) goes before the wheels of this interpreter's environment.
    """
    sourced = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    sourced = [p for p in sourced if p != INSTALL]
    for prefixes in (sourced, [Path(sys.prefix)]):
        if any((p / "share" / "rosidl_default_generators").is_dir() for p in prefixes):
            return prefixes
    return []


def missing(prefixes: list[Path]) -> str:
    """One sentence that names what the build lacks and how to get it; empty when nothing is lacking."""
    if not prefixes:
        return (
            "ROS 2 is absent: source an installation (source /opt/ros/jazzy/setup.bash), "
            "or on x86-64 Linux install its wheels with pip install -e '.[ros]'"
        )
    if importlib.util.find_spec("colcon_core") is None or importlib.util.find_spec("colcon_ros") is None:
        return f"colcon is absent from {sys.executable}: pip install colcon-common-extensions"
    if shutil.which("cmake", path=_path()) is None:
        return "cmake is absent: pip install cmake, or sudo apt install cmake"
    if not any(shutil.which(os.environ.get("CXX", name)) for name in ("c++", "g++", "clang++")):
        return "a C++ compiler is absent: sudo apt install g++"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return f"Python.h is absent: sudo apt install python{platform.python_version().rpartition('.')[0]}-dev"
    return ""


def patch_wheels(prefix: Path) -> int:
    """Point the wheels' exported CMake targets at this environment's Python and NumPy headers.

    Returns the number of files changed: 0 when called again.
    """
    numpy = importlib.util.find_spec("numpy")
    if numpy is None or numpy.origin is None:
        raise SystemExit("numpy is absent: pip install -e .")
    headers = Path(numpy.origin).parent / "_core" / "include"
    changed = 0
    for file in sorted(prefix.glob("share/*/cmake/*.cmake")):
        text = file.read_text(encoding="utf-8")
        # The NumPy path is the longer one, but neither contains the other.
        new = _WHEEL_NUMPY.sub(str(headers), text)
        new = _WHEEL_PYTHON.sub(sysconfig.get_path("include"), new)
        if new != text:
            file.write_text(new, encoding="utf-8")
            changed += 1
    return changed


def name_wheels(prefix: Path, install: Path) -> None:
    """Let the setup files in ``install`` name the wheels' prefix too. Called again it changes nothing."""
    lines = _WHEEL_SETUP.format(prefix)
    for file in (install / f"setup.{shell}" for shell in ("sh", "bash", "zsh")):
        text = file.read_text(encoding="utf-8")
        if lines not in text:
            file.write_text(text + lines, encoding="utf-8")


def environment_id(prefixes: list[Path]) -> str:
    """Changes when the interpreter, the place of ROS 2 or the version of its message generators changes."""
    versions = [
        file.read_text(encoding="utf-8")
        for p in prefixes
        for file in sorted(p.glob("share/rosidl_*/package.xml")) + sorted(p.glob("share/rclpy/package.xml"))
    ]
    return _digest([sys.prefix, sys.version, str(WORKSPACE), *map(str, prefixes), *provided(prefixes), *versions])


def source_ids() -> dict[str, str]:
    """Of each package, by its folder's name: changes when any of its files changes."""
    found = {}
    for folder in sorted(path for path in SOURCE.iterdir() if path.is_dir()):
        files = [p for p in sorted(folder.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
        found[folder.name] = _digest([part for p in files for part in (str(p.relative_to(folder)), p.read_bytes())])
    return found


def provided(prefixes: list[Path]) -> list[str]:
    """Message packages of the robot's maker that an installation brings itself: their CMakeLists then build nothing."""
    return [name for name in MAKERS if any((p / "share" / name).is_dir() for p in prefixes)]


def build(prefixes: list[Path], packages: list[str]) -> int:
    """Run colcon on ``packages``; returns its exit status."""
    paths = os.pathsep.join(map(str, prefixes))
    more = os.environ.get("CMAKE_PREFIX_PATH")
    env = os.environ | {
        "PATH": _path(),
        "AMENT_PREFIX_PATH": paths,
        "CMAKE_PREFIX_PATH": f"{paths}{os.pathsep}{more}" if more else paths,
    }
    command = [
        *(sys.executable, "-m", "colcon", "--log-base", str(LOG), "build", "--merge-install"),
        *(
            "--packages-select",
            *packages,
            "--base-paths",
            str(SOURCE),
            "--build-base",
            str(BUILD),
            "--install-base",
            str(INSTALL),
        ),
        *("--event-handlers", "console_cohesion-", "console_direct-", "desktop_notification-"),
        *("--cmake-args", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={sys.executable}"),
    ]
    return subprocess.run(command, cwd=WORKSPACE, env=env).returncode


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="build everything anew")
    options = parser.parse_args()
    prefixes = find_ros()
    if sentence := missing(prefixes):
        print(f"ros2_ws: not built. {sentence}", file=sys.stderr)
        return ABSENT
    with open(__file__, encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two callers may want the workspace at the same moment
        environment, stamp = environment_id(prefixes), INSTALL / ".built"
        wanted = [environment, *(f"{name} {digest}" for name, digest in source_ids().items())]
        built = stamp.read_text(encoding="utf-8").splitlines() if stamp.is_file() and not options.force else []
        if built == wanted:
            print("ros2_ws: up to date")
            return 0
        names = [line.partition(" ")[0] for line in wanted[1:]]
        whole = built[:1] != [environment] or any(line.partition(" ")[0] not in names for line in built[1:])
        changed = [name for name, line in zip(names, wanted[1:], strict=True) if whole or line not in built]
        if whole:
            for folder in (BUILD, INSTALL, LOG):  # CMake's cache would keep the paths of the old environment
                shutil.rmtree(folder, ignore_errors=True)
        if Path(sys.prefix) in prefixes:
            patch_wheels(Path(sys.prefix))
        stamp.unlink(missing_ok=True)
        if status := build(prefixes, changed):
            print(f"ros2_ws: the build failed (colcon's status {status}); its log is in {LOG}", file=sys.stderr)
            return 1
        if Path(sys.prefix) in prefixes:
            name_wheels(Path(sys.prefix), INSTALL)
        stamp.write_text("".join(f"{line}\n" for line in wanted), encoding="utf-8")
        print(f"ros2_ws: built into {INSTALL}")
        return 0


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _digest(parts: list[str | bytes] | list[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
