"""Tutorials do what they say: files that they name are written, and commands in their ``sh`` blocks run as printed."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest

from matrix_hil.cli import main
from sim.config import ROOT

TUTORIALS = ROOT / "docs" / "tutorials"
TRIED = sorted(path.stem for path in TUTORIALS.glob("*.md") if "```sh\n" in path.read_text())


@pytest.mark.parametrize("name", TRIED)
def test_a_tutorial_word_for_word(name, tmp_path, monkeypatch):
    text = (TUTORIALS / f"{name}.md").read_text()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for file, content in re.findall(r'^```yaml title="([^"]+)"\n(.*?)^```', text, re.S | re.M):
        (tmp_path / file).write_text(content)
    monkeypatch.chdir(tmp_path)
    lines = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M)).splitlines()
    for command, *words in (shlex.split(line, comments=True) for line in lines):
        if command == "cp":
            shutil.copy(*words)
        else:
            assert command == "lunar"
            main(words)


def test_there_are_tutorials_that_are_tried():
    assert {"own_robot", "own_terrain", "microcontroller"} <= set(TRIED)
