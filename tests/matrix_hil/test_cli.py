"""The ``lunar`` command itself: its version, and one sentence where the system refuses a file."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from matrix_hil.cli import main


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out.startswith(f"lunar {version('lunar')}, revision ")


@pytest.mark.parametrize(
    "argv",
    [
        ["eval", "--policy", "pronk", "--quick", "--robots", "1", "--json", "/proc/nowhere/r.json"],
        ["terrain", "preview", "flat", "--out", "/proc/nowhere/t.png"],
        ["terrain", "export", "flat", "--out", "/proc/nowhere/t"],
    ],
)
def test_a_place_that_cannot_be_written_is_one_sentence(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(argv)
    said = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert end.value.code == 2 and said[-1].startswith(f"lunar {argv[0]}: ") and "/proc/nowhere" in said[-1]
