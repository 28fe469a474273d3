"""What of a log's config.json is used to compute something from it again: a list, and nothing else.

A log may be a stranger's. Ports, hosts, folders, clocks and numbers of threads that it names are not read at all, and
no part of it can be the name of a file to read instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matrix_hil.config import HilConfig, Winch
from matrix_hil.control.counterweight import TrimConfig
from matrix_hil.control.stewart import PlatformLimits
from matrix_hil.control.sync import SyncConfig
from matrix_hil.log import Log
from matrix_hil.safety.limits import SafetyConfig
from policy.runtime.card import Card
from sim.config import parse
from sim.errors import LunarError
from sim.files import find_policy
from sim.rig.config import RigConfig
from sim.robots.identity import identify, robot_names

PARTS: dict[str, type] = {
    "sync": SyncConfig,
    "safety": SafetyConfig,
    "platform": PlatformLimits,
    "rig": RigConfig,
    "trim": TrimConfig,
    "counterweight": Winch,
}
"""Parts of a configuration that decide results, and the fields of each."""
_DEVICE = ("line", "port")
"""How a machine is reached: part of no result."""


def logged_config(log: Log, needed: Sequence[str], argv: Sequence[str] = (), prog: str = "lunar replay") -> HilConfig:
    """What a log's configuration says of the ``needed`` parts, with ``argv`` on top; the rest is as by default.

    Args:
        log: the log.
        needed: keys of ``PARTS``, ``monitor``, and ``policy`` for the policy whose weights the log names.
        argv: the user's own settings, as for ``lunar hil``.
        prog: name of the command.

    Raises:
        LunarError: the log holds none, it cannot be read by this version, or the policy that ran is not here.
    """
    text = log.attachments.get("config.json")
    if text is None:
        raise LunarError(
            f"log {log.path} holds no config.json, so that nobody knows how its loop was set; name --config"
        )
    source = f"config.json of {log.path.name}"
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LunarError(f"{source} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise LunarError(f"{source} is no configuration")
    kept: dict[str, Any] = {name: _part(name, data.get(name, {}), source) for name in needed if name in PARTS}
    if "monitor" in needed:  # a log of before there was one was made without
        kept["monitor"] = str(data.get("monitor", "off"))
    if "policy" in needed and not any(word.partition("=")[0] == "--policy" for word in argv):
        kept["policy"] = _policy(data.get("policy"), log, source)
    if "rig" in kept and "robot" in kept["rig"]:
        kept["rig"]["robot"] = _robot(kept["rig"]["robot"], kept.get("policy"), log, source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(kept), encoding="utf-8")
        try:
            return parse(HilConfig, ["--config", str(path), *argv], prog)
        except LunarError as error:
            raise LunarError(str(error).replace(str(path), source)) from None


def logged_robot(log: Log, named: str = "") -> str:
    """The robot to draw a log with: the one ``named``, else the one that its configuration says was on the rig, and
    the Go2 where it says nothing.

    Raises:
        LunarError: another robot was on the rig, and it is not here.
    """
    if named:
        return named
    try:
        config = json.loads(log.attachments.get("config.json", b"{}"))
        robot = config["rig"]["robot"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return "go2"
    source, policy = f"config.json of {log.path.name}", None
    with contextlib.suppress(LunarError):
        policy = _policy(config.get("policy"), log, source)
    try:
        return _robot(robot, policy, log, source)
    except LunarError as error:
        raise LunarError(f"{error}; name it with --robot") from None


def _part(name: str, values: Any, source: str) -> dict[str, Any]:
    """The fields of a part that count, and those that nobody knows, for the parser to refuse."""
    whole = typing.get_type_hints(HilConfig)[name]
    own, known = ({f.name for f in dataclasses.fields(kind)} for kind in (PARTS[name], whole))
    _refuse_names(name, values, whole, source)
    return {key: value for key, value in values.items() if (key in own or key not in known) and key not in _DEVICE}


def _refuse_names(name: str, values: Any, kind: type, source: str) -> None:
    """A group of settings must be written out: the name of a file in its place would be read."""
    if not isinstance(values, dict):
        raise LunarError(f"{source}: {name} must hold its settings, not {str(values)[:80]!r}")
    for key, inner in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(inner) and key in values:
            _refuse_names(f"{name}.{key}", values[key], typing.cast(type, inner), source)


def _policy(named: Any, log: Log, source: str) -> str:
    """The policy's folder, if what lies there is what ran."""
    ran = log.attachments.get("policy.sha256", b"").decode(errors="replace")
    why = f"{source} names no policy"
    if isinstance(named, str) and named:
        try:
            folder = find_policy(named)
            if ran and Card.load(Path(folder) / "card.json").weights == ran:
                return folder
            why = f"the policy in {named} is not the one that {log.path.name} was made with"
        except (LunarError, OSError, ValueError) as error:
            why = str(error)
    raise LunarError(f"{why}; name the policy with --policy")


def _robot(named: Any, policy: str | None, log: Log, source: str) -> str:
    """The robot that the rig held. It is a name; the path of a file counts only where that is the robot that the log's
    card is of, and so does the one that the policy keeps."""
    if isinstance(named, str) and named in robot_names():
        return named
    with contextlib.suppress(KeyError, TypeError, ValueError, RecursionError, LunarError, OSError):
        digest = json.loads(log.attachments["card.json"])["robot_digest"]
        kept = Card.load(Path(policy) / "card.json").mjcf if policy else ""
        for robot in (named, kept):
            if digest and robot and isinstance(robot, str) and _digest(robot) == digest:
                return robot
    raise LunarError(f"{source}: rig.robot is {str(named)[:80]!r}, which is no robot here that the log's policy is of")


def _digest(robot: str) -> str:
    """Empty where there is no such robot."""
    with contextlib.suppress(LunarError, OSError, ValueError):
        return identify(robot).digest
    return ""
