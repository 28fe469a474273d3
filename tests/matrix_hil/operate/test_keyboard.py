"""Single keys from a terminal."""

from __future__ import annotations

import os
import pty
import select
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


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (["\x1b[A"], ""),  # up: nobody has asked to arm
        (["\x1bOR", "\x1b[H", "\x1b[1;5A", "\x1b[15~"], ""),  # F3, home, Ctrl-up, F5
        (["\x1b", "[", "A"], ""),  # a slow line
        (["\x1b[1", ";5A", "h"], "h"),
        (["\x1br"], ""),  # Alt-r
        (["a\x1b[Ar"], "ar"),
        (["\x1b", " "], "\x1b "),  # Escape, then space: an e-stop is one whatever came before
        (["\x1be", "\x1bh", "\x1bq"], "ehq"),
        (["\x1b\x1b[A"], ""),
    ],
)
def test_a_key_with_a_name_is_not_the_letter_that_it_ends_with(
    typed: list[str], keys: str, terminal: tuple[int, int]
) -> None:
    master, slave = terminal
    with Keyboard(slave) as keyboard:
        heard = ""
        for piece in [*typed, "~"]:  # the last says that all has been read
            os.write(master, piece.encode())
            got: list[str] = []
            until(lambda: bool(select.select([slave], [], [], 0.0)[0]), 5.0)
            got.append(keyboard.pressed())
            heard += "".join(got)
        assert heard.removesuffix("~").replace("\x1b", "") == keys.replace("\x1b", "")


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
