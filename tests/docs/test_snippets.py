"""Every fenced block of the docs is run, or checked for what it is.

Shell lines of this project are parsed (``test_docs``), those of the tutorials' ``sh`` blocks run (``test_tutorials``),
and Python runs (``test_python``). Here YAML is read by what it is for, and a diff applies to lines that are there. What
no test can run is known by its first word, with the reason, in ``ELSEWHERE``.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from matrix_hil.config import HilConfig
from policy.training.config import TrainConfig
from sim.config import ROOT, parse
from sim.terrain.generators import TerrainConfig, load_terrain
from tests.docs.test_docs import PACKAGES, PAGES, blocks

KINDS = {
    "": "shell",
    "sh": "shell",
    "python": "run by test_python",
    "yaml": "read here",
    "diff": "compared with the code here",
    "xml": "a file of examples/, which a tutorial uses",
    "c": "compiled by test_tutorials",
    "text": "a drawing, or what is printed: no snippet",
}
CHECKED = {"lunar", "make", "python", "torchrun"}
"""Commands that ``test_docs`` hands to their own parsers."""
ELSEWHERE = {
    "apt": "changes the computer",
    "pip": "changes the environment; here: the extras exist",
    "python3": "makes an environment",
    "source": "changes the reader's shell",
    "export": "changes the reader's shell",
    "ros2": "needs an installed ROS 2; here: messages have these fields; test_docs reads arguments of launch files",
    "rviz2": "needs an installed ROS 2 and a screen",
    "docker": "needs a daemon and images of ROS; a workflow builds and runs it",
    "git": "clones for mutmut",
    "mutmut": "takes hours",
    "echo": "writes a file; here: as YAML",
    "cp": "test_tutorials copies",
}


def shell(page: Path) -> list[str]:
    """Lines of a page's shell blocks; of a session, which begins with a prompt, the lines that have one."""
    found = []
    for text in (text for language, text in blocks(page) if KINDS[language] == "shell"):
        lines = [line for line in text.splitlines() if line.strip()]
        found += [line[2:] for line in lines if line.startswith("$ ")] if lines[0].startswith("$ ") else lines
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_kind_that_is_checked(page: Path) -> None:
    assert {language for language, _ in blocks(page)} <= set(KINDS)
    assert all(text.startswith("--8<--") for language, text in blocks(page) if language == "xml")
    assert page.parent.name == "tutorials" or not [text for language, text in blocks(page) if language == "c"]
    assert not [line for line in shell(page) if line.split()[0] not in CHECKED | set(ELSEWHERE)]


def test_nothing_is_excused_that_no_page_has() -> None:
    assert set(ELSEWHERE) <= {line.split()[0] for page in PAGES for line in shell(page)}


def test_extras_that_pip_is_asked_for_exist() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    asked = [
        name
        for page in PAGES
        for text in re.findall(r"-e '\.\[([\w,]+)\]'", page.read_text())
        for name in text.split(",")
    ]
    assert set(asked) <= extras and {"sim", "ros", "deploy"} <= set(asked)


def test_messages_that_ros2_is_asked_to_send_have_these_fields() -> None:
    words = [shlex.split(line, comments=True) for page in PAGES for line in shell(page) if line.startswith("ros2 ")]
    sent = [
        (a, b) for line in words for a, b in zip(line, [*line[1:], ""], strict=True) if a.startswith("matrix_msgs/")
    ]
    assert sent
    for name, values in sent:
        definition = (ROOT / "ros2_ws/src" / f"{name}.{name.split('/')[1]}").read_text()
        assert set(yaml.safe_load(values) or {}) <= set(re.findall(r"^\S+ (\w+)", definition, re.M))


READERS: dict[type, Callable[[str], Any]] = {
    TerrainConfig: load_terrain,
    HilConfig: lambda file: parse(HilConfig, ["--config", file], "lunar hil", default="hil/virtual.yaml"),
    TrainConfig: lambda file: parse(TrainConfig, ["--config", file], "lunar train", default="train/pronk.yaml"),
}


def yamls() -> list[Any]:
    """YAML blocks, and what ``echo`` writes."""
    found = [(page, text) for page in PAGES for language, text in blocks(page) if language == "yaml"]
    found += [(page, shlex.split(line)[1]) for page in PAGES for line in shell(page) if line.startswith("echo ")]
    return [pytest.param(text, id=f"{page.name}: {text.split()[0]}") for page, text in found]


@pytest.mark.parametrize("text", yamls())
def test_yaml_is_read_by_what_it_is_for(text: str, tmp_path: Path) -> None:
    keys = set(yaml.safe_load(text))
    (tmp_path / "my_robot.xml").write_text((ROOT / "examples/own_robot.xml").read_text())
    (tmp_path / "file.yaml").write_text(text)
    read = next(read for kind, read in READERS.items() if keys <= {field.name for field in fields(kind)})
    read(str(tmp_path / "file.yaml"))


def test_diffs_are_of_todays_code() -> None:
    """Lines that a diff removes or shows are somewhere in the code; whole functions that it adds are Python."""
    diffs = [text.splitlines() for page in PAGES for language, text in blocks(page) if language == "diff"]
    shown = {line[1:] for lines in diffs for line in lines if line[0] in " -"}
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    code = {line for file in files for line in file.read_text().splitlines()}
    assert diffs and shown <= code
    for lines in diffs:
        added = "\n".join(line[1:] for line in lines if line[0] == "+" and not line.startswith("+    Rule("))
        if "def " in added:
            compile(added, "diff", "exec")
