"""What a stranger wrote is shown on a terminal, and moves nothing there."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.progress import Progress
from rich.table import Table

from sim.config import ROOT
from sim.terminal import LastingTerminal, Terminal, plain

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x08\x7f\u202etxt [bold]not[/bold] [/] :smile: [link=http://x]y[/link]"


@pytest.mark.parametrize("terminal", [False, True])
def test_markup_and_control_characters_are_shown(terminal: bool) -> None:
    out = io.StringIO()
    console = Terminal(file=out, width=200, force_terminal=terminal, color_system="truecolor" if terminal else None)
    console.print(HOSTILE)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE, style="bold")
    console.print(table)
    text = out.getvalue()
    styles = re.sub(r"\x1b\[[0-9;]*m", "", text) if terminal else text  # rich's own
    assert not set(styles) & {chr(c) for c in (*range(9), *range(11, 32), *range(127, 160), 0x202E)}
    assert styles.count("[bold]not[/bold]") == 4 and styles.count(":smile:") == 4 and styles.count(r"\x1b]0;owned") == 4
    assert (text != styles) == terminal, "its own styles still work"


def test_lines_and_tabs_stay() -> None:
    assert plain("a\tb\nc é 月") == "a\tb\nc é 月"
    assert plain("\x1b[0m\r") == r"\x1b[0m\r"


def test_every_console_is_of_this_kind() -> None:
    """One that is made bare would obey what it prints."""
    sources = [p for room in ("sim", "policy", "matrix_hil", "benchmarks") for p in (ROOT / room).rglob("*.py")]
    bare = [p for p in sources if re.search(r"(?<!\w)Console\(", p.read_text()) and p.name != "terminal.py"]
    assert len(sources) > 100 and not bare


def test_a_terminal_that_goes_away_stops_nobody() -> None:
    master, slave = pty.openpty()
    with open(slave, "w") as file:
        console = LastingTerminal(file=file, force_terminal=True)
        with Progress(console=console, auto_refresh=False) as bar, console.status("busy"):
            task = bar.add_task("", total=2.0)
            os.close(master)
            for _ in range(2):
                bar.advance(task)
                bar.refresh()
                console.print("a warning")
        # the file can be closed: nothing waits in it


def test_a_process_whose_terminal_has_gone_ends_with_its_own_status() -> None:
    """Python itself fails at its end on what waits in its streams."""
    script = (
        "import sys; from sim.terminal import LastingTerminal, complain;"
        "LastingTerminal().print('text'); complain('interrupted'); sys.exit(130)"
    )
    master, slave = pty.openpty()
    os.close(master)
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=slave, stderr=slave, timeout=60.0)
    os.close(slave)
    assert result.returncode == 130
