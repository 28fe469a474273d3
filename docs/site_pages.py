"""A hook of mkdocs: pages of the reference that are made from the code, so that they cannot say anything else."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator, Sequence

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from matrix_hil.cli import COMMANDS, main, usage
from sim.config import ROOT

_TOOLS = re.compile(r"^  ([\w-]+) +\S", re.M)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    files.append(File.generated(config, "reference/configs.md", content=configs_page()))
    return files


def commands_page() -> str:
    """Every command with its tools, as ``--help`` prints them."""
    parts = ["# Commands", "What `--help` prints.", f"```text\n{usage()}\n```"]
    for words in commands():
        parts += [f"## lunar {' '.join(words)}", f"```text\n{help_of(words)}\n```"]
    return "\n\n".join(parts)


def commands() -> Iterator[tuple[str, ...]]:
    """Words of all commands; a command that has tools is followed by them."""
    for name in COMMANDS:
        yield (name,)
        text = help_of((name,))
        if listed := re.search(r"^(?:[A-Z]+ is one of|presets): (.*?);", text, re.M):
            yield from ((name, tool) for tool in listed[1].split(", "))
        elif "options:" not in text:
            tools = re.search(rf"usage: lunar {name} ([\w|]+\|\w+)", text)
            yield from ((name, tool) for tool in (tools[1].split("|") if tools else _TOOLS.findall(text)))


def help_of(words: Sequence[str]) -> str:
    """What a command prints for ``--help``."""
    out = io.StringIO()
    os.environ["COLUMNS"] = "110"
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    if not out.getvalue():
        raise RuntimeError(f"lunar {' '.join(words)} --help prints nothing")
    return out.getvalue().rstrip().replace(str(ROOT) + "/", "")


def configs_page() -> str:
    """Every shipped YAML file."""
    parts = ["# Config files", "Each value can be overridden on the command line by its dotted name."]
    for file in sorted((ROOT / "configs").rglob("*.yaml")):
        text = file.read_text(encoding="utf-8").rstrip()
        parts += [f"## {file.relative_to(ROOT)}", f"```yaml\n{text}\n```"]
    return "\n\n".join(parts)
