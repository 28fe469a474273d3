"""Docs say what is there: commands parse, paths, config keys, links and anchors resolve. Python is in ``test_python``.

Commands are not run: each is parsed by its own parser, with its options and config files, and stopped there.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from pathlib import Path

import jsonargparse
import pytest
import yaml

from benchmarks.cli import BENCHES
from matrix_hil.bringup.tables import TABLES, arguments_of
from matrix_hil.cli import COMMANDS, main
from matrix_hil.config import HilConfig
from matrix_hil.log import TOPICS
from matrix_hil.virtual.unreal.server import Misbehaviour
from policy.evaluation.suites import SuiteConfig
from sim.config import ROOT, parse

TOP_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PAGES = [*(ROOT / name for name in TOP_PAGES), *sorted((ROOT / "docs").rglob("*.md"))]
TOPS = ("sim", "policy", "matrix_hil", "ros2_ws", "configs", "docs", "tests", "benchmarks", "examples")
PACKAGES = ("sim", "policy", "matrix_hil", "benchmarks")
FILES = r"\.(py|md|yaml|json|onnx|safetensors|h|pt|csv|png|html|mcap|msg|xml|cfg|toml|urdf|bin|glb)$"
READERS = ("runs/", "my-rig", "my_", "lab.yaml", "site.yaml", "LOG", "FOLDER")
"""Beginnings of what a reader of the docs has and a checkout has not."""


class Parsed(BaseException):
    """A command's options were read without complaint."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of a page's fenced blocks."""
    return re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", page.read_text(), re.S | re.M)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)


def spans(page: Path) -> list[str]:
    """The `code` of a page's prose."""
    return [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose(page))]


def commands(page: Path) -> list[str]:
    """Shell commands of a page's blocks, without prompts, comments and what is said beside them."""
    return _commands(line for language, text in blocks(page) if language in ("", "sh") for line in text.splitlines())


def mentions(page: Path) -> list[str]:
    """Commands that its prose names, perhaps without what they need."""
    return _commands(re.sub(r"[\[\]]", "", span) for span in spans(page))


def _commands(lines: Iterable[str]) -> list[str]:
    lines = [re.split(r"\s#|\s{3,}|\s…", line.removeprefix("$ "))[0].strip() for line in lines]
    return [line for line in lines if re.match(r"(lunar|make|ros2 launch|python|torchrun) [\w./-]", line)]


def each(function) -> list:
    """Parameters of a test: every finding of ``function`` once, with the first page that it is on."""
    found = {text: page.name for page in reversed(PAGES) for text in function(page)}
    return [pytest.param(text, id=f"{page}: {text[:60]}") for text, page in found.items()]


@pytest.fixture
def _only_parse(monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise Parsed

    monkeypatch.setattr(jsonargparse.ArgumentParser, "instantiate", stop)


def _check_lunar(argv: list[str], capsys: pytest.CaptureFixture[str], whole: bool = True) -> None:
    """Let the command read its options; unless it is ``whole``, some may be missing."""
    if argv == ["up"]:
        return
    if argv[0] == "up":
        assert set(argv[1:2]) <= set(TABLES) | {"TABLE"}
        options = {a.removeprefix("--") for a in argv[2:] if a.startswith("--")}
        assert options <= {"help", *(arguments_of(argv[1]) if argv[1:2] != ["TABLE"] else [])}
        return
    for at in [k for k, a in enumerate(argv[:-1]) if a == "--config" and argv[k + 1].startswith(READERS)][::-1]:
        del argv[at : at + 2]
    with pytest.raises((Parsed, SystemExit)) as end:
        if argv[:2] == ["replay", "rerun"]:  # it reads the log before the options, which are those of 'lunar hil'
            named = re.sub(r"--(out|json)( \S+)?", "", shlex.join(argv[3:]))
            parse(HilConfig, shlex.split(named), "lunar hil", default="hil/virtual.yaml")
        main(argv)
    if isinstance(end.value, SystemExit) and end.value.code:
        said = capsys.readouterr().err
        missing = any(a in said for a in argv if a.startswith(READERS)) and "does not exist" in said
        partial = re.search("are required|expected one argument|no log is named|name a benchmark:", said)
        assert missing or (partial and not whole), said


@pytest.mark.parametrize("line", each(mentions))
@pytest.mark.usefixtures("_only_parse")
def test_a_command_that_is_mentioned_exists(line, capsys):
    words = shlex.split(line)
    if words[0] == "lunar":
        _check_lunar(words[1:], capsys, whole=False)


@pytest.mark.parametrize("line", each(commands))
@pytest.mark.usefixtures("_only_parse")
def test_a_command_is_understood(line, capsys, monkeypatch, tmp_path):
    words = shlex.split(line)
    if words[0] == "torchrun":
        words = words[words.index("lunar") :]
    for word in words:
        assert not word.startswith(tuple(f"{top}/" for top in TOPS)) or (ROOT / word).exists(), word
    if words[0] == "lunar":
        monkeypatch.chdir(tmp_path)
        _check_lunar(words[1:], capsys)
    elif words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert words[1] in targets or "=" in words[1]
    elif words[0] == "ros2":
        assert (ROOT / "ros2_ws/src" / words[2] / "launch" / words[3]).is_file()
        names = {word.partition(":=")[0] for word in words[4:]}
        assert names <= set(arguments_of(words[3].partition(".")[0]))
    elif len(words) > 2 and words[1] == "-m":
        assert importlib.util.find_spec(words[2])


def paths(page: Path) -> list[str]:
    """What looks like a path in this repository, and is no topic."""
    return [s for s in spans(page) if re.fullmatch(rf"({'|'.join(TOPS)})/[\w./*-]*", s) and f"/{s}" not in TOPICS]


@pytest.mark.parametrize("path", each(paths))
def test_a_path_exists(path):
    assert list(ROOT.glob(path.rstrip("/"))), path


@cache
def keys() -> frozenset[str]:
    """All config keys of all commands, and the groups that they are in."""
    found: set[str] = set()

    def note(parser: jsonargparse.ArgumentParser, *_: object, **__: object) -> None:
        for action in parser._actions:
            parts = action.dest.split(".")
            found.update(".".join(parts[:k]) for k in range(1, len(parts) + 1))
        raise Parsed

    tools = [
        [name]
        for name in COMMANDS
        if name not in ("bench", "up", "log", "terrain", "twin", "replay", "monitor", "traverse")
    ]
    tools += [["log", tool, "x"] for tool in ("info", "recover", "export", "keep")] + [["log", "diff", "a", "b"]]
    tools += [["terrain", "preview", "mare"], ["terrain", "export", "mare"], ["twin", "serve"], ["replay", "x"]]
    tools += [["traverse", tool] for tool in ("table", "plan", "run")]
    tools += [["replay", "resim", "x"], ["hil", "calibrate"], ["monitor", "fit"], ["monitor", "eval"]] + [
        ["bench", b] for b in BENCHES
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonargparse.ArgumentParser, "parse_args", note)
        for argv in tools:
            with pytest.raises(Parsed):
                main(argv)
        with pytest.raises(Parsed):
            parse(SuiteConfig, [], "suite")
    found.update(f"fault.{field.name}" for field in fields(Misbehaviour))  # optional, so that no parser lists them
    return frozenset(found)


def dotted(page: Path) -> list[str]:
    """What looks like a config key: it begins with a group of keys."""
    groups = {key.partition(".")[0] for key in keys() if "." in key}
    found = [s.removeprefix("--").split(" ")[0] for s in spans(page)]
    return [
        s for s in found if re.fullmatch(r"[a-z]\w*(\.\w+)+", s) and s.split(".")[0] in groups - set(PACKAGES)
        and not re.search(FILES, s)
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_config_keys_exist(page):
    assert not [s for s in dotted(page) if s not in keys()]


def links(page: Path) -> list[str]:
    """Relative links and images, as ``page: target``."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [f"{page.relative_to(ROOT)}: {target}" for target in found if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("link", each(links))
def test_a_link_leads_somewhere(link):
    page, target = link.split(": ")
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    assert file.exists(), target
    assert not anchor or anchor in anchors(file), target


@pytest.mark.usefixtures("_only_parse")
@pytest.mark.parametrize(
    "line", ["train --ppo.lerning_rate 1", "hil --config configs/hil/nothing.yaml", "eval --suit mare", "up nothing",
             "replay runs/a --oot x", "replay rerun runs/a --safty.x 1", "log info runs/a --x", "bench sims"]
)  # fmt: skip
def test_a_wrong_command_is_found(line, capsys):
    with pytest.raises((AssertionError, Exception)):
        _check_lunar(line.split(), capsys)
    assert "world.history" not in keys() and "world.ages" in keys()


def test_all_say_the_same_version():
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    said = [yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]]
    said += re.findall(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[:1]
    for package in (ROOT / "ros2_ws/src").glob("*/package.xml"):
        said += re.findall(r"<version>(.+)</version>", package.read_text())
    for package in (ROOT / "ros2_ws/src").glob("*/setup.py"):
        said += re.findall(r'version="(.+)"', package.read_text())
    assert set(said) == {version} and len(said) > 8
