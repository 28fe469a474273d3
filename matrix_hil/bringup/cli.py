"""``lunar up``: start a table of ROS 2 processes by our own runner."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matrix_hil.bringup.runner import Runner, secured
from matrix_hil.bringup.tables import ARGUMENTS, SECURE, TABLES, arguments_of
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
    arguments = pairs(argv[1:])
    timeout = arguments.pop("ready_timeout", "30")
    try:
        seconds = float(timeout)
    except ValueError:
        raise LunarError(f"ready_timeout is '{timeout}'; it is a number of seconds") from None
    if status := up(argv[0], arguments, seconds):
        sys.exit(status)


def up(table: str, arguments: Mapping[str, str], ready_timeout: float = 30.0) -> int:
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
        if argument.choices and value not in argument.choices:
            raise LunarError(f"{name} is '{value}'; it must be one of: {', '.join(argument.choices)}")
        values[name] = value
    if "policy" in values:
        values["policy"] = find_policy(values["policy"])
    if "policy" in values and not (file := Path(values["policy"], "policy.onnx")).is_file():
        raise LunarError(f"{file} does not exist; give an exported policy with --policy FOLDER")
    for name in ("policy", "config", "log", "bag"):  # nodes have no working folder of their own to start from
        if values.get(name):
            values[name] = str(Path(values[name]).resolve())
    processes = [p for p in TABLES[table] if p.only is None or values[p.only[0]] == p.only[1]]
    base = secured(processes) if values.get(SECURE) == "true" else None
    return Runner(
        processes, values, ready_timeout, log=lambda line: print(f"lunar up: {line}", flush=True), base=base
    ).run()


def usage(table: str) -> str:
    """What ``lunar up TABLE --help`` prints."""
    lines = [f"usage: lunar up {table} [--key value ...]\n"]
    for name in arguments_of(table):
        argument = ARGUMENTS[name]
        default = "" if argument.default is None else f" (default: {argument.default or 'empty'})"
        choices = f" One of: {', '.join(argument.choices)}." if argument.choices else ""
        lines.append(f"  --{name:14} {argument.help}{choices}{default}")
    lines.append("  --ready_timeout  s until a lifecycle node must be active. (default: 30)")
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
