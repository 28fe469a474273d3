"""Single keys from a terminal."""

from __future__ import annotations

import os
import pty
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from matrix_hil.operate.keyboard import Keyboard
from tests.browser import until


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    try:
        yield master, slave
    finally:
        os.close(master)
        os.close(slave)


def test_keys_come_one_by_one_and_the_terminal_is_left_as_it_was(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    before = termios.tcgetattr(slave)
    with Keyboard(slave) as keyboard:
        assert keyboard.present and keyboard.pressed() == ""
        os.write(master, b"ae")
        keys: list[str] = []
        until(lambda: keys.append(keyboard.pressed()) or "".join(keys) == "ae", 5.0)
        local = termios.tcgetattr(slave)[tty.LFLAG]
        assert local & termios.ISIG and not local & termios.ICANON, "Ctrl-C stays Ctrl-C; no Enter is needed"
    assert termios.tcgetattr(slave) == before
    assert keyboard.pressed() == ""


def test_a_terminal_that_goes_away_is_no_error_before_during_and_after() -> None:
    master, slave = pty.openpty()
    with Keyboard(slave) as keyboard:
        assert keyboard.present
        os.close(master)
        assert keyboard.pressed() == "" and not keyboard.present
        assert keyboard.pressed() == ""
    with Keyboard(slave) as late:
        assert not late.present and late.pressed() == ""
    os.close(slave)
    master, slave = pty.openpty()
    with Keyboard(slave):
        os.close(master)
    os.close(slave)


def test_without_a_terminal_there_are_no_keys(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+") as file, Keyboard(file.fileno()) as keyboard:
        assert not keyboard.present and keyboard.pressed() == ""
