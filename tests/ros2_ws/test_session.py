"""A driver obeys the one publisher that belongs to the supervisor, and nobody beside or after it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sim.config import ROOT

LEASE = 0.06  # s
KEY, NEXT = "virtual:1", "virtual:2"
OURS, SECOND, STRANGER = b"ours", b"second", b"stranger"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Of a graph in which the supervisor's node has two publishers."""
    monkeypatch.syspath_prepend(str(ROOT / "ros2_ws/src/matrix_bridge"))
    from matrix_bridge.session import Gate

    yield Gate("virtual", lambda publisher: publisher in (OURS, SECOND), LEASE)
    for name in [n for n in sys.modules if n.startswith("matrix_bridge")]:
        del sys.modules[name]


def test_without_a_session_nobody_is_obeyed(gate: Any) -> None:
    assert not gate.admits(KEY, OURS, 1, 0.0)
    assert not gate.admits("", OURS, 2, 0.0)
    gate.announce(KEY, STRANGER)
    assert not gate.admits(KEY, OURS, 3, 0.1)
    assert gate.refused == {"other session": 3}


def test_many_who_announce_sessions_displace_nobody(gate: Any) -> None:
    gate.announce(KEY, OURS)
    for n in range(1000):
        gate.announce(KEY, f"stranger {n}".encode())
    assert gate.admits(KEY, OURS, 1, 0.0)


def test_a_node_that_the_graph_shows_late_is_known_then(monkeypatch: pytest.MonkeyPatch, gate: Any) -> None:
    known: set[bytes] = set()
    gate._is_supervisor = known.__contains__
    gate.announce(KEY, OURS)
    assert not gate.admits(KEY, OURS, 1, 0.0)
    known.add(OURS)
    assert gate.admits(KEY, OURS, 2, 0.005)


def test_the_supervisor_is(gate: Any) -> None:
    gate.announce(KEY, OURS)
    assert [gate.admits(KEY, OURS, n, 0.005 * n) for n in range(1, 5)] == [True] * 4
    assert gate.sender == OURS and not gate.refused


@pytest.mark.parametrize(
    ("key", "sender", "number", "why"),
    [
        (KEY, STRANGER, 9, "second publisher"),
        (KEY, SECOND, 9, "second publisher"),  # a second supervisor that has read the key
        ("virtual:other", OURS, 9, "other session"),
        ("serial:other", OURS, 9, "a serial rig's session"),
        ("", OURS, 9, "other session"),
        (KEY, OURS, 5, "repeated"),
        (KEY, OURS, 4, "repeated"),
    ],
)
def test_beside_it_nobody_is(gate: Any, key: str, sender: bytes, number: int, why: str) -> None:
    gate.announce(KEY, OURS)
    assert gate.admits(KEY, OURS, 5, 0.0)
    assert not gate.admits(key, sender, number, 0.01) and gate.refused == {why: 1}
    assert gate.admits(KEY, OURS, 6, 0.01), "which it does not suffer from"


@pytest.mark.parametrize("key", ["serial:1", "1", ":1", "virtual", "virtually:1", ""])
def test_a_supervisor_of_another_rig_is_not_obeyed(gate: Any, key: str) -> None:
    """It believes in other machines, and in no need of a calibration."""
    gate.announce(key, OURS)
    assert not gate.admits(key, OURS, 1, 0.0)


def test_keys_differ_and_name_their_rig(monkeypatch: pytest.MonkeyPatch, gate: Any) -> None:
    new_key = sys.modules["matrix_bridge.session"].new_key
    keys = {new_key("virtual") for _ in range(10)}
    assert len(keys) == 10
    for key in keys:
        gate.announce(key, OURS)
    assert gate.admits(key, OURS, 1, 0.0)


def test_the_key_alone_does_not_make_a_supervisor(gate: Any) -> None:
    gate.announce(KEY, OURS)
    assert not gate.admits(KEY, STRANGER, 1, 0.0) and gate.refused == {"not the supervisor": 1}
    assert gate.admits(KEY, OURS, 1, 0.0)


@pytest.mark.parametrize(("silence", "taken"), [(LEASE, False), (LEASE + 1e-6, True)])
def test_another_session_begins_once_the_present_one_is_silent(gate: Any, silence: float, taken: bool) -> None:
    gate.announce(KEY, OURS)
    assert gate.admits(KEY, OURS, 5, 0.0)
    gate.announce(NEXT, SECOND)
    assert gate.admits(NEXT, SECOND, 1, silence) == taken
    assert gate.admits(KEY, OURS, 6, silence) != taken
