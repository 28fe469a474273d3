"""Configuration: dataclasses filled from YAML files and dotted command-line overrides, unknown keys refused.

A config is a frozen dataclass whose fields carry their unit in the docstring below them; ``--help`` prints it.
A nested dataclass may be given in YAML as the path of another file, relative to the file that names it.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import os
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import jsonargparse
import yaml
from jsonargparse._loaders_dumpers import yaml_load

from sim.errors import LunarError
from sim.files import CONFIGS, ROOT, find

__all__ = ["CONFIGS", "ROOT", "load", "parse"]

# A config holds values: no module is imported because a file names it, but the project's own and those whose configs
# are parsed.
_OWN = ["sim", "policy", "matrix_hil", "benchmarks"]
jsonargparse.set_parsing_settings(
    docstring_parse_attribute_docstrings=True, import_path_denylist=["*"], import_path_allowlist=_OWN
)
_LONGEST = 1_000_000  # letters of a config file
_POLICIES, _OF_POLICIES = "policy/zoo", ("policy", "teacher")
_SHELVES = {"terrain": "configs/terrain", "world": "configs/env"}
"""Where the files for a part of a config lie, by the part's name."""

_RANGES = {"seed": (0, 2**32 - 1), "port": (0, 65535), "live_port": (0, 65535)}
"""Of whole numbers that mean the same in every config, by the option's last name."""

T = TypeVar("T")


def _load_yaml(text: str) -> Any:
    """Plain YAML without aliases: a dozen lines of those can stand for gigabytes, and a config may be a stranger's."""
    if len(text) > _LONGEST:
        raise yaml.YAMLError(f"{len(text)} letters are too many for a config")
    if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
        raise yaml.YAMLError("aliases (*name) are not read; write the value out")
    return _as_paths(yaml_load(text))


def _as_paths(value: Any) -> Any:
    """``belt.yaml`` as ``./belt.yaml``: without a slash jsonargparse takes it for a class in a module ``belt``."""
    if isinstance(value, dict):
        return {k: _as_paths(v) for k, v in value.items()}
    return f"./{value}" if isinstance(value, str) and re.fullmatch(r"\w+\.ya?ml", value) else value


jsonargparse.set_loader("yaml", _load_yaml, exceptions=(yaml.YAMLError,))


def parse(
    config_class: type[T],
    argv: Sequence[str],
    prog: str,
    default: str | None = None,
    first: Sequence[str] = (),
    unless: Mapping[str, Any] | None = None,
) -> T:
    """Build ``config_class`` from its defaults, then ``--config`` YAML files, then ``--dotted.key value`` overrides.

    Args:
        config_class: a dataclass.
        argv: arguments after the program's name.
        prog: name that usage messages show, e.g. ``lunar train``.
        default: YAML file below ``configs/`` used when ``--config`` is absent.
        first: options that may also stand first, in this order, without their names.
        unless: values of options that neither a file nor ``argv`` gives, in place of the class's defaults.

    Raises:
        LunarError: unknown key (the nearest valid one is named), wrong type, or unreadable file.
    """
    helps = bool({"-h", "--help"} & set(argv))
    # one that helps, or has defaults of its own, is nobody else's
    make: Callable[..., jsonargparse.ArgumentParser] = _parser.__wrapped__ if helps or unless else _parser
    parser = make(config_class, prog, tuple(first))
    parser.set_defaults(dict(unless or {}))
    configs = f"configs/{Path(default).parent}" if default else ""
    argv = [_as_paths(a) for a in _explicit_flags(config_class, with_names(argv, first))]
    argv = [word for option, value in _options(argv) for word in _found(config_class, option, value, configs)]
    files = [str(a).removeprefix("--config=") for i, a in enumerate(argv)
             if a.startswith("--config=") or (i and argv[i - 1] == "--config")]  # fmt: skip
    if default and not files:
        files = [str(CONFIGS / default)]
        argv = ["--config", files[0], *argv]
    try:
        if helps:
            _show_true_defaults(parser, files)
        parsed = parser.parse_args(argv)
        for key, value in list(parsed.items()):
            if isinstance(value, str):
                parsed[key] = find(value, _POLICIES if key in _OF_POLICIES else "")
            low, high = _RANGES.get(key.rpartition(".")[2], (-math.inf, math.inf))
            if isinstance(value, int) and not low <= value <= high:
                raise ValueError(f"{key} is {value}; it must lie between {low} and {high}")
            if not all(map(math.isfinite, _floats(value))):  # it would limit nothing, or never end
                raise ValueError(f"{key} is {value}; it must be finite")
        values = parser.instantiate(parsed)
    except (argparse.ArgumentError, jsonargparse.ArgumentError, TypeError, ValueError) as error:
        raise LunarError(_explain(str(error), parser, files, argv)) from None
    return config_class(**{k: v for k, v in values.as_dict().items() if k != "config"})


@cache
def _parser(config_class: type, prog: str, first: tuple[str, ...]) -> jsonargparse.ArgumentParser:
    """Of all options of a config; to make one takes longer than to use it."""
    jsonargparse.set_parsing_settings(import_path_allowlist=[config_class.__module__.partition(".")[0]])
    parser = jsonargparse.ArgumentParser(
        prog=prog, description=config_class.__doc__, exit_on_error=False, allow_abbrev=False,
        usage=" ".join([prog, *(f"[{name.upper()}]" for name in first), "[--key value ...]"]), formatter_class=_Help,
    )  # fmt: skip
    parser.add_argument("--config", action="config", help="YAML file with values for the options below")
    parser.add_class_arguments(config_class, sub_configs=True)
    _say_once(parser)
    return parser


def load(config_class: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """``parse`` for library use: one YAML file and optional ``--dotted.key value`` overrides."""
    return parse(config_class, ["--config", str(path), *overrides], prog=Path(sys.argv[0]).name)


def with_names(argv: Sequence[str], first: Sequence[str]) -> list[str]:
    """``argv`` with the options' names before the words that stand ``first`` without them."""
    words, named = list(argv), []
    for option in first:
        if words and not words[0].startswith("-"):
            named += [f"--{option}", words.pop(0)]
    return [*named, *words]


def _show_true_defaults(parser: jsonargparse.ArgumentParser, files: Sequence[str]) -> None:
    """Let ``--help`` tell what an option is without being given: what the config files say, not the classes."""
    required = [action for action in parser._actions if action.required]
    for action in required:
        action.required = False  # help needs none of them
    values = parser.parse_args([f"--config={file}" for file in files])
    for action in required:
        action.required = True
    for action in set(parser._actions).difference(required):
        value = values.get(action.dest)
        if action.dest == "config" or action.dest not in values or isinstance(value, jsonargparse.Namespace):
            continue
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        nested = any(isinstance(item, jsonargparse.Namespace) for item in items)
        action.default = f"the {len(value)} of {files[-1]}" if nested else value


class _Help(jsonargparse.DefaultHelpFormatter):
    """What options are, without the marks and the unit 1 of docstrings, empty defaults and choices said twice."""

    def _expand_help(self, action: argparse.Action) -> str:
        if "--print_config" in action.option_strings:
            return "Print all values as they would be used, as YAML, and exit"
        text = re.sub(r"^1\. ", "", super()._expand_help(action)).replace("``", "'")
        return re.sub(r"type: Literal\[[^]]*\], ", "", text).replace(", default: )", ")")


def _say_once(parser: jsonargparse.ArgumentParser) -> None:
    """The description is no title of the options as well."""
    about = " ".join((parser.description or "").split())
    for group in parser._action_groups:
        if group.title and about.startswith(group.title):
            group.title = "values"


def _explicit_flags(config_class: type, argv: Sequence[str]) -> list[str]:
    """``--quick`` alone means ``--quick true`` for boolean options."""
    flags = {f"--{f.name}" for f in dataclasses.fields(config_class) if f.type in (bool, "bool")}
    out: list[str] = []
    for i, item in enumerate(argv):
        out.append(item)
        if item in flags and (argv[i + 1 : i + 2] or ["--"])[0].lower() not in ("true", "false"):
            out.append("true")
    return out


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """``--key value`` and ``--key=value`` as pairs; a word that belongs to no other has None for a value."""
    words = list(argv)
    while words:
        word = words.pop(0)
        key, equals, value = word.partition("=")
        if not word.startswith("--"):
            yield word, None
        elif equals:
            yield key, value
        elif words and not words[0].startswith("--"):
            yield word, words.pop(0)
        else:
            yield word, None


def _found(config_class: type, option: str, value: str | None, configs: str) -> list[str]:
    """The words of an option with shipped things in place of their names and whole numbers written out."""
    if value is None:
        return [find(option)]
    kind, name = _type(config_class, option[2:].split(".")), option.rpartition(".")[2].removeprefix("--")
    if option == "--config":
        value = find(value, configs)
    elif dataclasses.is_dataclass(kind):
        value = find(value, _SHELVES.get(name, ""))
    elif kind in (int, int | None) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE]\+?\d{1,2}", value):
        value = str(int(float(value))) if float(value).is_integer() else value  # 1e6
    else:
        value = find(value)
    return [f"{option}={value}"] if value.startswith("-") else [option, value]  # argparse takes -1e1 for an option


def _type(config_class: Any, names: Sequence[str]) -> Any:
    """Of the option with this dotted name; None where there is none or it has no dataclass around it."""
    for name in names:
        if not dataclasses.is_dataclass(config_class):
            return None
        config_class = typing.get_type_hints(config_class).get(name)
    return config_class


def _floats(value: Any) -> Iterator[float]:
    """Those in a value and in what it holds."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _floats(item)


def _explain(message: str, parser: jsonargparse.ArgumentParser, files: Sequence[str], argv: Sequence[str]) -> str:
    known = [a.dest for a in parser._actions if a.dest not in ("help", "config", "print_config")]
    message = " ".join(message.split())
    key = ""
    missing = re.search(r"Parser key \"([\w.]+)\": Unable to load config '([^']+)'", message)
    if missing and not os.path.exists(missing[2]):
        return f"{missing[1]}: the file '{missing[2]}' does not exist ({_source(missing[1], files, argv)})"
    if match := re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message):
        key = f"{match[1]}.{match[2]}"
    elif match := re.search(r"(?:Option '|unrecognized arguments: --)([\w.]+)", message):
        key = match[1]
    elif match := re.search(r'Parser key "([\w.]+)"|^([\w.]+) is [^;]+; it must', message):
        return f"{message} ({_source(match[1] or match[2], files, argv)})"
    if not key and message.startswith("unrecognized arguments"):
        return f"{message} (on the command line)"
    if not key:
        return f"{message} ({_source(key, files, argv)})"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.3)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown key '{key}' ({_source(key, files, argv)}){hint}"


def _source(key: str, files: Sequence[str], argv: Sequence[str]) -> str:
    if not files or any(a.split("=")[0] == f"--{key}" for a in argv):
        return "on the command line"
    return f"in {', '.join(files)}"
