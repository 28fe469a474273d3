"""The documentation as a site: every page is in the navigation, links resolve, nothing is fetched from elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from matrix_hil.cli import COMMANDS
from sim.config import ROOT


def test_the_site_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    result = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    for page in pages:
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=[\"']?([^\"'> ]+)", page.read_text())
        loaded += re.findall(
            r"<link[^>]* rel=\"(?:stylesheet|preconnect)\"[^>]* href=[\"']?([^\"'> ]+)", page.read_text()
        )
        assert not [url for url in loaded if "//" in url], page
        assert 'class="mermaid"' not in page.read_text(), f"{page}: the theme would load a script for it"
        links = re.findall(r"<a[^>]* href=\"?([^\"#> ]+)", page.read_text())
        assert not [to for to in links if ":" not in to and not (page.parent / to.lstrip("/")).exists()], page
        unset = re.findall(r"<p>(?:(?!</p>).)*?\n(?:- |\d\. |\|).{30}", page.read_text(), re.S)
        assert not unset, f"{page}: lists and tables need an empty line before them"
    entries = json.loads((tmp_path / "search/search_index.json").read_text())["docs"]
    titles = {e["title"] for e in entries if e["location"].startswith("reference/commands.html")}
    assert {f"lunar {name}" for name in COMMANDS} <= titles
    assert any("commanded" in e["text"] for e in entries if e["location"].startswith("glossary.html"))
