"""Results as data: every reporting command writes one JSON file of the same shape."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sim.files import ROOT, find_policy
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


def machine() -> str:
    """Cores that this process may use, and what they are."""
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        names = []
    cores = len(os.sched_getaffinity(0))
    return f"{cores} core{'s' if cores > 1 else ''}, {names[0] if names else platform.machine()}"


def policy_digests(policies: Sequence[str]) -> dict[str, str]:
    """Digest of the weights of each policy by its folder, a shipped one's from the checkout's root on; '' when its
    card has none."""
    found = {}
    for policy in policies:
        folder = Path(find_policy(policy)).resolve()
        name = str(folder.relative_to(ROOT)) if folder.is_relative_to(ROOT) else folder.name
        found[name] = str(json.loads((folder / "card.json").read_text(encoding="utf-8")).get("weights", ""))
    return found


def write_results(
    path: str | Path,
    command: str,
    seed: int,
    results: dict[str, Any],
    policies: Sequence[str] = (),
    version: int = 1,
) -> None:
    """Write ``{"command", "version", "revision", "date", "machine", "policies", "seed", "results"}``.

    Args:
        path: of the JSON file; missing folders are made.
        command: that measured.
        seed: of its random numbers.
        results: NaN and infinity become null, as JSON has neither.
        policies: that were measured, by folder or name; their digests are written.
        version: of the measurement; another one gives figures that cannot be compared.
    """
    document = {
        "command": command, "version": version, "revision": revision(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine(),
        "policies": policy_digests(policies), "seed": seed, "results": _finite(results),
    }  # fmt: skip
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
