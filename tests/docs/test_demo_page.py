"""The page that ``make demo`` ends with: all that its commands made, each below its own command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from sim.files import ROOT

PAGE = ROOT / "examples" / "demo_page.py"
RESULTS = {
    "train": {"steps": 1000, "minutes": 0.5, "hops_per_20s": 11.0},
    "eval": {"flat": {"robots": 4, "seconds": 1.0, "survival": 0.75, "apex_gain": None}},
    "hil": {"run_seconds": 20.0, "hops": 13, "pronks": 12, "trips": 0, "stale_commands": 0},
    "replay": {},
}


def demo(policy: str) -> list[str]:
    """Commands that ``make demo`` runs, as make prints them."""
    printed = subprocess.run(
        ["make", "-n", "demo", "OUT=runs/demo", f"POLICY={policy}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return printed.stdout.splitlines()


def made(folder: Path, policy: str) -> str:
    """The page of such a demo."""
    for name, results in RESULTS.items():
        (folder / f"{name}.json").write_text(json.dumps({"results": results}))
    (folder / "hop.png").touch()
    (last,) = (line for line in demo(policy) if "demo_page.py" in line)
    commands = re.findall(r'"([^"]+)"', last)
    done = subprocess.run(
        [sys.executable, PAGE, folder, *commands], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(folder / "index.html")
    return (folder / "index.html").read_text()


def test_the_page_names_every_command_that_was_run(tmp_path):
    text = made(tmp_path, "")
    run = [f"lunar {line.split('/lunar ')[1]}" for line in demo("") if "/bin/lunar " in line]
    assert [words.split()[1] for words in run] == list(RESULTS)
    assert re.findall("<pre>(.*?)</pre>", text) == run
    for shown in ("1,000", "0.750", "hop.png", "13", "report.html"):
        assert shown in text
    assert "curve.png" not in text and "apex_gain" not in text  # neither was made


def test_what_was_not_run_is_not_shown(tmp_path):
    """Also where an earlier demo has left it."""
    text = made(tmp_path, "zoo")
    assert "lunar train" not in text and "1,000" not in text and "lunar eval policy/zoo/pronk --picture" in text
