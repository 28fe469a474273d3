"""Results as data: every reporting command writes one JSON file of the same shape."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

from sim.files import ROOT
from sim.output import write_whole


def revision() -> str:
    """Git revision of this checkout, with ``+`` when it has uncommitted changes; ``unknown`` outside a clone."""
    if not (ROOT / ".git").exists():  # a folder above may be somebody else's repository
        return "unknown"
    try:
        head = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
            cwd=ROOT, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head.stdout.strip()


def write_results(path: str | Path, command: str, seed: int, results: dict[str, Any]) -> None:
    """Write ``{"command", "revision", "seed", "results"}``. NaN and infinity become null, as JSON has neither."""
    document = {"command": command, "revision": revision(), "seed": seed, "results": _finite(results)}
    write_whole({Path(path): json.dumps(document, indent=2) + "\n"})


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
