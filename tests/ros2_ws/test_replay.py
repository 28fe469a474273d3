"""``lunar replay drive``: /clock and the log's messages at the rate asked for, with the log's values."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from matrix_hil.log import read_log
from tests.matrix_hil.synthetic_log import write_log

pytestmark = pytest.mark.wall_clock

DRIVE = [sys.executable, "-c", "import sys; from matrix_hil.replay.redrive import main; main(sys.argv[1:])"]
LISTEN = [sys.executable, str(Path(__file__).with_name("listener.py"))]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("run") / "log", seconds=6.0)


def listen(env: dict[str, str], *how: str) -> subprocess.Popen:
    """A listener that listens already."""
    listener = subprocess.Popen([*LISTEN, *how], env=env, stdout=subprocess.PIPE, text=True)
    assert listener.stdout is not None and listener.stdout.readline() == "ready\n"
    return listener


def test_a_log_is_driven_in_its_range_at_its_rate(ros: dict[str, str], log: Path, tmp_path: Path) -> None:
    result = tmp_path / "seen.json"
    with listen(ros, "silence", "2", str(result)) as listener:
        command = [*DRIVE, str(log), "--rate", "2", "--start", "1", "--end", "5"]
        drive = subprocess.run(command, env=ros, capture_output=True, text=True, timeout=120)
        assert listener.wait(timeout=120) == 0
    assert drive.returncode == 0, drive.stdout + drive.stderr  # the end of the log is no failure
    seen = json.loads(result.read_text())

    recorded = read_log(log)
    series = recorded["/robot/joint_states"]
    wanted = {
        round((recorded.start_wall_time + t) * 1e3): q
        for t, lt, q in zip(series.time, series.log_time, series.position[:, 0], strict=True)
        if 1.0 <= lt - series.log_time[0] <= 5.0
    }
    joints = np.array(seen["joints"])
    assert len(joints) > 0.9 * len(wanted)
    for _, sec, nanosec, q in seen["joints"]:
        assert wanted[round(sec * 1e3 + nanosec * 1e-6)] == q  # bit for bit
    # twice the log's pace, by the stamps of the messages and by /clock
    stamps = joints[:, 1] + 1e-9 * joints[:, 2]
    assert (stamps[-1] - stamps[0]) / (joints[-1, 0] - joints[0, 0]) == pytest.approx(2.0, rel=0.2)
    clock = np.array(seen["clock"])
    assert (np.diff(clock[:, 1]) >= 0.0).all() and len(clock) > 50
    assert np.polyfit(clock[:, 0] - clock[0, 0], clock[:, 1] - clock[0, 1], 1)[0] == pytest.approx(2.0, rel=0.2)
    assert "run" in seen["state"]
    # whoever asks as a driver does is not served, whoever looks is
    assert seen["commands"] and not seen["driver"]


def test_a_loop_goes_on_until_ctrl_c(ros: dict[str, str], log: Path, tmp_path: Path) -> None:
    result = tmp_path / "seen.json"
    command = [*DRIVE, str(log), "--rate", "10", "--end", "5", "--loop"]
    with (
        listen(ros, "rounds", "2", str(result)) as listener,
        subprocess.Popen(command, env=ros, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as drive,
    ):
        assert listener.wait(timeout=120) == 0
        drive.send_signal(signal.SIGINT)
        output = drive.communicate(timeout=120)[0]
    assert drive.returncode == 0, output
    clock = [t for _, t in json.loads(result.read_text())["clock"]]
    assert sum(b < a for a, b in itertools.pairwise(clock)) >= 2  # /clock jumps back at each round
