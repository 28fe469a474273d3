"""A driver obeys the one publisher that belongs to the supervisor, and nobody beside or after it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sim.config import ROOT

LEASE = 0.06  # s
OURS, SECOND, STRANGER = b"ours", b"second", b"stranger"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Of a graph in which the supervisor's node has two publishers."""
    monkeypatch.syspath_prepend(str(ROOT / "ros2_ws/src/matrix_bridge"))
    from matrix_bridge.session import Gate

    yield Gate(lambda publisher: publisher in (OURS, SECOND), LEASE)
    for name in [n for n in sys.modules if n.startswith("matrix_bridge")]:
        del sys.modules[name]


def test_without_a_session_nobody_is_obeyed(gate: Any) -> None:
    assert not gate.admits("key", OURS, 1, 0.0)
    assert not gate.admits("", OURS, 2, 0.0)
    gate.announce("key", STRANGER)
    assert not gate.admits("key", OURS, 3, 0.1)
    assert gate.refused == {"other session": 3}


def test_many_who_announce_sessions_displace_nobody(gate: Any) -> None:
    gate.announce("key", OURS)
    for n in range(1000):
        gate.announce("key", f"stranger {n}".encode())
    assert gate.admits("key", OURS, 1, 0.0)


def test_a_node_that_the_graph_shows_late_is_known_then(monkeypatch: pytest.MonkeyPatch, gate: Any) -> None:
    known: set[bytes] = set()
    gate._is_supervisor = known.__contains__
    gate.announce("key", OURS)
    assert not gate.admits("key", OURS, 1, 0.0)
    known.add(OURS)
    assert gate.admits("key", OURS, 2, 0.005)


def test_the_supervisor_is(gate: Any) -> None:
    gate.announce("key", OURS)
    assert [gate.admits("key", OURS, n, 0.005 * n) for n in range(1, 5)] == [True] * 4
    assert gate.sender == OURS and not gate.refused


@pytest.mark.parametrize(
    ("key", "sender", "number", "why"),
    [
        ("key", STRANGER, 9, "second publisher"),
        ("key", SECOND, 9, "second publisher"),  # a second supervisor that has read the key
        ("other", OURS, 9, "other session"),
        ("", OURS, 9, "other session"),
        ("key", OURS, 5, "repeated"),
        ("key", OURS, 4, "repeated"),
    ],
)
def test_beside_it_nobody_is(gate: Any, key: str, sender: bytes, number: int, why: str) -> None:
    gate.announce("key", OURS)
    assert gate.admits("key", OURS, 5, 0.0)
    assert not gate.admits(key, sender, number, 0.01) and gate.refused == {why: 1}
    assert gate.admits("key", OURS, 6, 0.01), "which it does not suffer from"


def test_the_key_alone_does_not_make_a_supervisor(gate: Any) -> None:
    gate.announce("key", OURS)
    assert not gate.admits("key", STRANGER, 1, 0.0) and gate.refused == {"not the supervisor": 1}
    assert gate.admits("key", OURS, 1, 0.0)


@pytest.mark.parametrize(("silence", "taken"), [(LEASE, False), (LEASE + 1e-6, True)])
def test_another_session_begins_once_the_present_one_is_silent(gate: Any, silence: float, taken: bool) -> None:
    gate.announce("key", OURS)
    assert gate.admits("key", OURS, 5, 0.0)
    gate.announce("next", SECOND)
    assert gate.admits("next", SECOND, 1, silence) == taken
    assert gate.admits("key", OURS, 6, silence) != taken
