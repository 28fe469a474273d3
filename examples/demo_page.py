"""The last step of ``make demo``: one page of what it made, with the command lines that made it.

    python examples/demo_page.py FOLDER "lunar train …" "lunar eval …" "lunar hil …" "lunar replay …"

Each command has left its results in ``FOLDER/COMMAND.json``; a picture that could not be drawn is left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from policy.evaluation.report import CHIEF, metric_rows
from sim.html_page import page, section, table

TITLES = {"train": "Training", "eval": "Evaluation", "hil": "Run on the virtual rig", "replay": "Report of the run"}
TRAINED = {"steps": "steps", "minutes": "minutes", "hops_per_20s": "hops per 20 s while exploring"}
RAN = {
    "run_seconds": "s with the policy", "hops": "hops", "pronks": "pronks", "trips": "trips of the supervisor",
    "stale_commands": "stale commands",
}  # fmt: skip


def write_page(folder: Path, commands: Sequence[str]) -> Path:
    """Write ``index.html`` into ``folder``, of what the ``commands`` have left there; returns its path."""
    intro = f"{len(commands)} commands made what is below. Each can be run again by itself; --help lists its options."
    path = folder / "index.html"
    sections = [part(folder, command) for command in commands]
    path.write_text(page("lunar: the demo", intro, [], sections), encoding="utf-8")
    return path


def part(folder: Path, command: str) -> str:
    """HTML of what a command made."""
    name = command.split()[1]
    results = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["results"]
    body = f"<pre>{escape(command)}</pre>"
    if name == "train":
        body += _figures(results, TRAINED) + _picture("policy/curve.png", folder, "the training's curves")
    elif name == "eval":
        body += table(["metric", *results], metric_rows(results, CHIEF))
        body += _picture("hop.png", folder, "one robot's hops")
    elif name == "hil":
        body += _figures(results, RAN)
    else:
        body += '<iframe src="report.html"></iframe><p><a href="report.html">the report by itself</a></p>'
    return section(TITLES[name], body)


def _figures(results: dict[str, Any], names: dict[str, str]) -> str:
    rows = [[text, f"{results[key]:,.1f}".removesuffix(".0")] for key, text in names.items() if key in results]
    return table(["", ""], rows)


def _picture(name: str, folder: Path, what: str) -> str:
    return f'<img src="{name}" alt="{what}">' if (folder / name).is_file() else ""


if __name__ == "__main__":
    print(write_page(Path(sys.argv[1]), sys.argv[2:]))
