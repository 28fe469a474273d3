"""The process tables of ``lunar_bringup/tables.yaml``, which the launch files read too."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from sim.errors import LunarError
from sim.files import TABLES_FILE


@dataclass(frozen=True)
class Process:
    """One ROS 2 node in its own process; the file's first lines say what each key means."""

    name: str
    package: str
    executable: str
    parameters: str = ""
    arguments: tuple[str, ...] = ()
    only: Mapping[str, tuple[str, ...]] | None = None
    remap: Mapping[str, str] | None = None
    lifecycle: bool = False
    order: int = 0
    required: bool = True
    finite: bool = False
    urdf: str = ""
    enclave: str = ""
    """SROS 2 enclave in the shipped policy; empty where it has none. Without security it means nothing."""

    def chosen(self, values: Mapping[str, str]) -> bool:
        """Whether it is started with these values of the launch arguments."""
        return all(values[argument] in allowed for argument, allowed in (self.only or {}).items())


SECURE = "secure"
"""The launch argument of tables whose nodes have enclaves."""


@dataclass(frozen=True)
class Argument:
    """A launch argument."""

    help: str
    kind: str = "text"
    """``text``, ``number`` or ``switch``."""
    default: str | None = None
    """None when it must be given."""
    choices: tuple[str, ...] = ()
    """Any value when empty."""

    def why_not(self, value: str) -> str:
        """What is wrong with a value, to follow its name; empty when it may be used."""
        if self.choices and value not in (*self.choices, *(("",) if self.default == "" else ())):
            return f"is '{value}'; it must be one of: {', '.join(self.choices)}"
        if self.kind == "number":
            try:
                if math.isfinite(float(value)):
                    return ""
            except ValueError:
                pass
            return f"is '{value}'; it must be a number"
        return ""


def _process(namespace: str, secured: bool, **row: Any) -> Process:
    row["arguments"] = tuple(row["arguments"])
    row["only"] = {name: tuple(values) for name, values in row["only"].items()}
    return Process(**row, enclave=f"/{namespace}/{row['name']}" if secured else "")


_CONTENT = yaml.safe_load(TABLES_FILE.read_text(encoding="utf-8"))
TABLES: dict[str, tuple[Process, ...]] = {
    table: tuple(_process(content["namespace"], **row) for row in content["processes"])
    for table, content in _CONTENT["tables"].items()
}
"""Processes by table."""
NAMESPACES: dict[str, str] = {table: content["namespace"] for table, content in _CONTENT["tables"].items()}
"""Where a table's nodes live unless the argument ``namespace`` says otherwise."""
SECURITY: dict[str, str] = _CONTENT["security"]
"""What the argument ``secure`` sets in the environment."""
ARGUMENTS = {
    name: Argument(**row | {"choices": tuple(row.get("choices", ()))}) for name, row in _CONTENT["arguments"].items()
}
EVERYWHERE = ("namespace", "ready_timeout")
"""Arguments of every table."""
_NAMESPACE = re.compile(r"/?([A-Za-z_]\w*(/[A-Za-z_]\w*)*)?")


def arguments_of(table: str) -> list[str]:
    """Names of the launch arguments of a table, sorted."""
    names = {name for p in TABLES[table] for name in (*p.arguments, *(p.only or {}))}
    return sorted(names | set(EVERYWHERE))


def namespace_of(table: str, value: str) -> str:
    """The absolute namespace of a table's nodes for a value of the argument ``namespace``.

    Raises:
        LunarError: it is no ROS namespace.
    """
    if not _NAMESPACE.fullmatch(value):
        raise LunarError(
            f"namespace is '{value}'; it must be names of letters, digits and '_', each of which begins with a letter, "
            "joined by '/'"
        )
    return "/" + (value or NAMESPACES[table]).strip("/")
