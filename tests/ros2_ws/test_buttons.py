"""No pressing of an e-stop is lost, and none is let go by an old message."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sim.config import ROOT

A, B = b"a", b"b"


@pytest.fixture
def buttons(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "ros2_ws/src/matrix_bridge"))
    from matrix_bridge.buttons import Buttons

    yield Buttons()
    for name in [n for n in sys.modules if n.startswith("matrix_bridge")]:
        del sys.modules[name]


def test_a_pressing_counts_whatever_its_number(buttons: Any) -> None:
    """Before ROS 2 Kilted a number is the panel's time, which may be set back between two messages."""
    assert buttons.counts(False, A, 1_700_000_000)
    assert buttons.counts(True, A, 1_600_000_000)
    assert buttons.counts(True, A, 0) and buttons.counts(True, A, 0), "nor need a middleware number at all"
    assert buttons.counts(False, A, 1), "and what is said after it counts again"


def test_an_old_message_lets_nothing_go(buttons: Any) -> None:
    assert buttons.counts(False, A, 3) and buttons.counts(True, A, 4)
    assert not buttons.counts(False, A, 3), "the other subscription is behind"
    assert buttons.counts(False, A, 5)


def test_what_is_heard_twice_ends_as_it_was_meant(buttons: Any) -> None:
    held = False
    for pressed, number in [(True, 1), (False, 2), (True, 1), (False, 2)]:
        held = pressed if buttons.counts(pressed, A, number) else held
    assert not held


def test_buttons_are_told_apart(buttons: Any) -> None:
    assert buttons.counts(True, A, 9) and buttons.counts(False, B, 1)
