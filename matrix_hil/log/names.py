"""By which names a bag's topics are read: ``--map FROM:=TO``, the namespace of a rig, and the names of a robot's nodes.

``ros2 bag record`` keeps names as they were on the wire: ``/matrix/robot/imu`` of a rig in a namespace, ``/imu`` of a
robot alone. The namespace is taken in which most topics have names of ``TOPICS``; the root where it has as many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from matrix_hil.log.topics import ROS_NAMES, TOPICS
from sim.errors import LunarError

_JOINTS = "/joint_states"  # without it /imu is not a robot's
_OF_ROBOT = tuple(name for name in ROS_NAMES if not name.startswith("/sync/"))


@dataclass(frozen=True)
class Names:
    """Names of topics of one bag."""

    by_topic: dict[str, str]
    """By the name in the file, the one it is read by; empty where another topic has that name."""
    notes: tuple[str, ...] = ()
    """Sentences on what was renamed without being asked for."""


def parse_map(text: str) -> dict[str, str]:
    """``/matrix:=,/go2/imu:=/robot/imu`` as a dictionary; names begin with a slash and do not end with one.

    Raises:
        LunarError: it is not FROM:=TO, or one FROM is named twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        source, sign, target = part.partition(":=")
        if not sign:
            raise LunarError(f"map is '{part}'; it is FROM:=TO, such as /matrix:=/ or /imu:=/robot/imu")
        source = _plain(source)
        if source in found:
            raise LunarError(f"map names {source or '/'} twice")
        found[source] = _plain(target)
    return found


def resolve(types: Mapping[str, str], wanted: Mapping[str, str], every: bool = False) -> Names:
    """The names by which topics are read.

    Args:
        types: ROS type by topic of the file.
        wanted: as ``parse_map`` returns it; a name that is no topic stands for all that begin with it and a slash.
        every: topics that would be read by one name keep their own, so that none is without.

    Raises:
        LunarError: ``wanted`` names what no topic is or begins with.
    """
    for source in wanted:
        if not any(within(_plain(topic), source) for topic in types):
            raise LunarError(f"map: no topic is {source} or lies in it; there are {', '.join(sorted(types)) or 'none'}")
    renamed = {topic: mapped(_plain(topic), wanted) for topic in types}
    notes: list[str] = []
    prefix = _namespace({name: types[topic] for topic, name in renamed.items()}, notes)
    robot = f"{prefix}{_JOINTS}" in renamed.values()
    claims: dict[str, list[tuple[int, str]]] = {}
    for topic, name in renamed.items():
        inside = name.startswith(f"{prefix}/")
        short, rank = (name[len(prefix) :], 1) if inside else (name, 3)
        alias = ROS_NAMES.get(short, "") if inside and (robot or short not in _OF_ROBOT) else ""
        if _known(alias, types[topic]):
            # the robot's own topic is for want of the rig's; what the rig's sync sends is the policy's very command
            short, rank = alias, 2 if short in _OF_ROBOT else 0
        claims.setdefault(short if _known(short, types[topic]) else name, []).append((rank, topic))
    names = dict.fromkeys(types, "")
    for name, topics in claims.items():
        if every and len(topics) > 1:
            names |= {topic: topic for _, topic in topics}
        else:
            names[min(topics)[1]] = name
    notes += [
        f"{topic} is read as {name}"
        for topic, name in names.items()
        if name not in ("", renamed[topic], renamed[topic][len(prefix) :])
    ]
    return Names(names, tuple(notes))


def mapped(topic: str, wanted: Mapping[str, str]) -> str:
    """The name that ``wanted`` gives a topic: that of the longest FROM that it is or begins with; else its own."""
    source = max((source for source in wanted if within(topic, source)), key=len, default=None)
    return topic if source is None else (wanted[source] + topic[len(source) :]) or topic


def within(topic: str, source: str) -> bool:
    """Whether a topic is ``source`` or lies in it as in a namespace."""
    return f"{topic}/".startswith(f"{source}/")


def _namespace(types: Mapping[str, str], notes: list[str]) -> str:
    """The namespace whose topics are read; empty for the root."""
    votes: Counter[str] = Counter()
    for name, kind in types.items():
        for known in TOPICS:
            if name.endswith(known) and _known(known, kind):
                votes[name[: -len(known)]] += 2
        for alias, known in ROS_NAMES.items():
            if name.endswith(alias) and _known(known, kind) and f"{name[: -len(alias)]}{_JOINTS}" in types:
                votes[name[: -len(alias)]] += 1
    (first, most), *others = votes.most_common() or [("", 0)]
    if votes[""] == most:
        return ""
    rivals = sorted(prefix for prefix, count in others if count == most)
    if rivals:
        notes.append(
            f"namespaces {first}, {', '.join(rivals)} are alike; --map {first}:=/ reads the first as the rig's"
        )
        return ""
    notes.append(f"the namespace {first} is read as the rig's")
    return first


def _known(name: str, ros_type: str) -> bool:
    return name in TOPICS and TOPICS[name].ros_type == ros_type


def _plain(name: str) -> str:
    name = name.strip().strip("/")
    return f"/{name}" if name else ""
