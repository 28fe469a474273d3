"""Where the files lie that come with the packages: configs, message definitions, process tables, trained policies."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the packages: a checkout, or an environment's site-packages."""
_IN_WHEEL = ROOT / "sim" / "data"
DATA = _IN_WHEEL if _IN_WHEEL.is_dir() else ROOT
"""The folder that holds ``configs/`` and ``ros2_ws/``: the checkout, or the copy that setup.py puts into a wheel."""
CONFIGS = DATA / "configs"
MESSAGES = DATA / "ros2_ws" / "src" / "matrix_msgs" / "msg"
TABLES_FILE = DATA / "ros2_ws" / "src" / "lunar_bringup" / "tables.yaml"
_SHIPPED = {"configs": DATA, "policy": ROOT}


def find(path: str, shelf: str = "") -> str:
    """``path`` where the working folder has it; else the shipped file or folder of that name, if there is one.

    So ``policy/zoo/pronk`` and ``configs/hil/virtual.yaml`` mean the same in every folder.

    Args:
        path: what the user wrote.
        shelf: folder of shipped things, such as ``policy/zoo``, of which ``path`` may be the bare name; that of a YAML
            file without its ending.
    """
    if not path or os.path.exists(path):  # also of what no path can be: a long mapping
        return path
    names = [path]
    if shelf and "/" not in path and not path.startswith("."):
        names += [f"{shelf}/{path}", f"{shelf}/{path}.yaml"]
    for name in names:
        top, slash, _ = name.partition("/")
        folder = _SHIPPED.get(top) if slash else None
        if folder is not None and os.path.exists(folder / name):
            return str(folder / name)
    return path


def find_policy(policy: str | Path) -> str:
    """Folder of a policy, given that or the name of a shipped one: ``dual`` is ``policy/zoo/dual``."""
    return find(str(policy), "policy/zoo")
