"""Where the files lie that come with the packages: configs, message definitions, trained policies."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the packages: a checkout, or an environment's site-packages."""
_IN_WHEEL = ROOT / "sim" / "data"
DATA = _IN_WHEEL if _IN_WHEEL.is_dir() else ROOT
"""The folder that holds ``configs/`` and ``ros2_ws/``: the checkout, or the copy that setup.py puts into a wheel."""
CONFIGS = DATA / "configs"
MESSAGES = DATA / "ros2_ws" / "src" / "matrix_msgs" / "msg"
_SHIPPED = {"configs": DATA, "policy": ROOT}


def find(path: str) -> str:
    """``path`` where the working folder has it; else the shipped file or folder of that name, if there is one.

    So ``policy/zoo/pronk`` and ``configs/hil/virtual.yaml`` mean the same in every folder.
    """
    top, slash, _ = path.partition("/")
    folder = _SHIPPED.get(top) if slash else None
    if folder is None or Path(path).exists() or not (folder / path).exists():
        return path
    return str(folder / path)
