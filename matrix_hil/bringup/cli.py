"""``lunar up``: start a table of ROS 2 processes by our own runner."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matrix_hil.bringup.runner import Runner, find_executable, secured
from matrix_hil.bringup.tables import ARGUMENTS, NAMESPACES, SECURE, TABLES, arguments_of, namespace_of
from sim.errors import LunarError
from sim.files import find_policy


def main(argv: Sequence[str]) -> None:
    """``lunar up TABLE --key value ...``."""
    known = ", ".join(TABLES)
    if argv and argv[0] in ("-h", "--help"):
        print(
            f"usage: lunar up TABLE [--key value ...]\n\nTABLE is one of: {known}; 'lunar up TABLE --help' lists keys"
        )
        return
    if not argv or argv[0] not in TABLES:
        raise LunarError(f"name the table to start, one of: {known}")
    if {"-h", "--help"} & set(argv[1:]):
        print(usage(argv[0]))
        return
    if status := up(argv[0], pairs(argv[1:])):
        sys.exit(status)


def up(table: str, arguments: Mapping[str, str]) -> int:
    """Start the processes of ``table`` that ``arguments`` ask for and wait for their end; returns the exit status.

    Raises:
        LunarError: an argument is missing, unknown or has a value that it may not have, or nothing has been built.
    """
    known, values = arguments_of(table), {}
    if unknown := sorted(set(arguments) - set(known)):
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.3)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise LunarError(f"unknown key '{unknown[0]}' for '{table}'{hint}")
    for name in known:
        argument = ARGUMENTS[name]
        value = arguments.get(name, argument.default)
        if value is None:
            raise LunarError(f"'{table}' needs --{name}: {argument.help}")
        if why := argument.why_not(value):
            raise LunarError(f"{name} {why}")
        values[name] = value
    values["namespace"] = namespace_of(table, values["namespace"])
    if "policy" in values:
        values["policy"] = find_policy(values["policy"])
    if "policy" in values and not (file := Path(values["policy"], "policy.onnx")).is_file():
        raise LunarError(f"{file} does not exist; give an exported policy with --policy FOLDER")
    for name in ("policy", "config", "log", "bag"):  # nodes have no working folder of their own to start from
        if values.get(name):
            values[name] = str(Path(values[name]).resolve())
    chosen = [p for p in TABLES[table] if p.chosen(values)]
    absent = [p for p in chosen if p.urdf and not find_executable(p)]
    for process in absent:
        say(f"{process.name} is not installed: nobody publishes the robot's tf")
    processes = [p for p in chosen if p not in absent]
    base = None
    if values.get(SECURE) == "true":
        if values["namespace"] != namespace_of(table, ""):
            raise LunarError(f"secure and namespace: the shipped policy is for {namespace_of(table, '')} alone")
        base = secured(processes)
    return Runner(processes, values, float(values["ready_timeout"]), log=say, base=base).run()


def say(line: str) -> None:
    """Print a line, unless the terminal has gone: robots must be stopped all the same."""
    with contextlib.suppress(OSError):
        print(f"lunar up: {line}", flush=True)


def usage(table: str) -> str:
    """What ``lunar up TABLE --help`` prints."""
    lines = [f"usage: lunar up {table} [--key value ...]\n"]
    for name in arguments_of(table):
        argument = ARGUMENTS[name]
        value = NAMESPACES[table] if name == "namespace" else argument.default
        default = "" if value is None else f" (default: {value or 'empty'})"
        choices = f" One of: {', '.join(argument.choices)}." if argument.choices else ""
        lines.append(f"  --{name:14} {argument.help}{choices}{default}")
    return "\n".join(lines)


def pairs(argv: Sequence[str]) -> dict[str, str]:
    """``--key value`` and ``--key=value`` as a dictionary; ``--secure`` alone is ``--secure true``.

    Raises:
        LunarError: something that is neither.
    """
    found: dict[str, str] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not key:
            raise LunarError(f"'{word}' is not understood; options are --key value")
        if not equals and key == SECURE and (not words or words[0].startswith("--")):
            value = "true"
        elif not equals and not words:
            raise LunarError(f"--{key} needs a value")
        elif not equals:
            value = words.pop(0)
        found[key] = value
    return found
