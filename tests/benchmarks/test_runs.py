"""Runs of a benchmark: all are run, a failure or an end stops the others, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.runs import Work, run_all
from sim.errors import LunarError


def work(folder: Path, name: str, code: str) -> Work:
    return Work(name, lambda: subprocess.Popen([sys.executable, "-c", code], cwd=folder), folder / f"{name}.log")


def test_all_are_run(tmp_path):
    works = [work(tmp_path, name, f"open('{name}', 'w')") for name in "abc"]
    run_all(works, 2, 3, lambda: len(list(tmp_path.iterdir())))
    assert {path.name for path in tmp_path.iterdir()} == set("abc")


@pytest.mark.parametrize("way", ["failure", "SIGTERM"])
def test_others_are_stopped(tmp_path, way):
    started: list[subprocess.Popen] = []

    def start() -> subprocess.Popen:
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return started[-1]

    works = [Work("long", start, tmp_path / "long.log")]
    if way == "failure":
        with pytest.raises(LunarError, match=r"run bad failed; see .*bad\.log"):
            run_all([*works, work(tmp_path, "bad", "raise SystemExit(1)")], 2, 2, lambda: 0)
    else:
        before = signal.getsignal(signal.SIGTERM)
        threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(KeyboardInterrupt):
            run_all(works, 1, 1, lambda: 0)
        assert signal.getsignal(signal.SIGTERM) is before
    assert started[0].poll() is not None
