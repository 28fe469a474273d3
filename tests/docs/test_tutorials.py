"""Tutorials do what they say: files that they name are written, commands in their ``sh`` blocks run as printed, and C
compiles against the headers that these made."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from matrix_hil.cli import main
from policy.export.c import FLAGS
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
    for code in re.findall(r"^```c\n(.*?)^```", text, re.S | re.M):
        compile_firmware(code, next(tmp_path.rglob("policy.h")).parent)


def compile_firmware(code: str, headers: Path) -> None:
    """A snippet as the body of a program, with the names that it takes for granted; without a compiler nothing."""
    if not (compiler := shutil.which("cc")):
        return
    first, _, rest = code.partition("\n")
    sensors = "float gyro[3] = {0}, gravity[3] = {0, 0, -1}, q[12] = {0}, qd[12] = {0}, command[5] = {0}, targets[12];"
    firmware = headers / "firmware.c"
    firmware.write_text(f"{first}\nvoid send(const float *);\nint main(void)\n{{\n{sensors}\n{rest}return 0;\n}}\n")
    subprocess.run([compiler, *FLAGS, "-c", "-o", firmware.with_suffix(".o"), firmware], check=True)


def test_there_are_tutorials_that_are_tried():
    assert {"own_robot", "own_terrain", "microcontroller"} <= set(TRIED)
