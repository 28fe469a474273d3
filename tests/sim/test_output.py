"""Files are written whole or not at all; a folder is written to by one program at a time."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from sim.errors import LunarError
from sim.output import LOCK, draft, locked, write_whole


def test_all_files_or_none(tmp_path, monkeypatch):
    first, second = tmp_path / "a", tmp_path / "deep" / "b"
    write_whole({first: "old"})

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(LunarError, match=r"a cannot be written: No space left on device"):
            write_whole({first: "new", second: b"new"})
    assert first.read_text() == "old" and not second.exists() and not list(tmp_path.rglob("*.partial"))
    write_whole({first: "new", second: b"new"})
    assert first.read_text() == second.read_text() == "new"


def test_where_nobody_can_write(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "x", "/proc/nowhere"):
        with pytest.raises(LunarError, match="cannot be written"):
            write_whole({type(tmp_path)(folder) / "a": ""})
        with pytest.raises(LunarError, match="cannot be written"), locked(type(tmp_path)(folder)):
            pass


def test_a_lock_is_for_one_and_leaves_nothing(tmp_path):
    with locked(tmp_path / "run"):
        with pytest.raises(LunarError, match="another program"), locked(tmp_path / "run"):
            pass
        (tmp_path / "run" / "kept").touch()
    with locked(tmp_path / "run"):
        pass
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["kept"]


def test_a_killed_program_holds_no_lock(tmp_path):
    code = f"import sys, pathlib, time; from sim.output import locked\nwith locked(pathlib.Path({str(tmp_path)!r})):\n"
    code += "    print('in', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        with pytest.raises(LunarError), locked(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path):
        pass


def test_a_draft_takes_its_place_at_the_end_or_leaves_nothing(tmp_path):
    path = tmp_path / "large"
    with draft(path) as partial:
        partial.write_text("one")
        assert not path.exists()
    with pytest.raises(OSError, match="full"), draft(path) as partial:
        partial.write_text("half of tw")
        raise OSError("full")
    assert [f.name for f in tmp_path.iterdir()] == ["large"] and path.read_text() == "one"
