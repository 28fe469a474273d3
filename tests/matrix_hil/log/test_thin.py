"""A recording that is thinned out while it goes on ends as a small log of its oddest hops and all its trips."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from matrix_hil.log import read_log
from matrix_hil.log.keep import DayLog, read_day, write_excerpts
from matrix_hil.log.thin import _KEPT, WHOLE, Thinner, Thinning
from sim.errors import LunarError
from tests.browser import until
from tests.matrix_hil.synthetic_log import MASS, PERIOD, STANCE, START, write_log

JERK = START + 6 * PERIOD + STANCE + 0.2  # in the seventh flight
TRIP = 18.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> DayLog:
    folder = tmp_path_factory.mktemp("logs") / "run"
    return read_day(write_log(folder, seconds=20.0, jerk=JERK, trip_at=TRIP), "", MASS)


def parts(run: DayLog, folder: Path, length: float = 4.0) -> list[Path]:
    """The run in files of ``length`` s, as the recorder splits it."""
    (folder / WHOLE).mkdir(parents=True)
    edges = np.arange(run.begin, run.begin + run.duration + length, length)
    files = []
    for k, edge in enumerate(edges[:-1]):
        part = folder / f"part{k}"
        write_excerpts(run, {part: [(edge + 1e-6 * (k > 0), edges[k + 1])]})
        files.append(folder / WHOLE / f"whole_{k}.mcap")
        (part / f"part{k}.mcap").rename(files[-1])
        shutil.rmtree(part)
    return files


def test_the_oddest_hops_and_the_trip_are_what_remains(
    run: DayLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matrix_hil.log.thin._USUAL", 5)
    files = parts(run, tmp_path / "log")
    thinner = Thinner(tmp_path / "log", 3, MASS)
    for k, file in enumerate(files):
        thinner.take(file, last=k == len(files) - 1)
        assert len(list((tmp_path / "log" / WHOLE).glob("*.mcap"))) == len(files) - k, "only the newest is needed"
    thinner.finish()
    assert {path.name for path in (tmp_path / "log").iterdir()} == {"log.mcap", "metadata.yaml", "keep.json"}
    found = json.loads((tmp_path / "log" / "keep.json").read_text())["results"]
    assert found["hops"] == len(run.hops) and len(found["kept"]) == 3
    assert [trip["time_s"] for trip in found["trips"]] == [pytest.approx(TRIP, abs=0.01)]
    whole, log = read_log(run.path), read_log(tmp_path / "log")
    times = [hop["time_s"] for hop in found["kept"]]
    assert any(time == pytest.approx(JERK - 0.2, abs=0.02) for time in times)
    imu = log["/robot/imu"].log_time
    assert (np.diff(imu) > 0.0).all() and log.epoch == whole.epoch and log.attachments == whole.attachments
    for time in times:
        k = int(np.argmin(np.abs(run.hops.liftoff - time)))
        for topic in ("/robot/imu", "/counterweight/state"):
            there = whole[topic].log_time
            inside = there[(there >= run.hops.start[k] + 1e-6) & (there <= run.hops.end[k] - 1e-6)]
            assert np.isin(np.round(inside, 6), np.round(log[topic].log_time, 6)).all(), topic
    assert imu[-1] > TRIP + 1.9 and len(imu) < 0.5 * len(whole["/robot/imu"])


def test_it_is_done_in_a_process_of_its_own(run: DayLog, tmp_path: Path) -> None:
    """Fewer hops than tell what is usual: the choice is made at the end."""
    files = parts(run, tmp_path / "log", length=11.0)
    with Thinning(tmp_path / "log", 4, MASS) as thinning:
        for file in files:
            thinning.closed(file)
    assert thinning.failure == "" and not (tmp_path / "log" / WHOLE).exists()
    found = json.loads((tmp_path / "log" / "keep.json").read_text())["results"]
    assert len(found["kept"]) == 4 and len(read_day(tmp_path / "log", "", MASS).hops) >= 4


@pytest.mark.wall_clock
def test_what_ends_the_recording_leaves_the_thinner_its_work(run: DayLog, tmp_path: Path) -> None:
    """Signals reach a whole group of processes."""
    with Thinning(tmp_path / "log", 4, MASS) as thinning:
        for file in parts(run, tmp_path / "log"):
            thinning.closed(file)
        until((tmp_path / "log" / _KEPT).exists)  # it is at work
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(thinning._process.pid, number)
    assert thinning.failure == "" and (tmp_path / "log" / "keep.json").exists()


def test_what_cannot_be_thinned_out_stays_whole(tmp_path: Path) -> None:
    standing = write_log(tmp_path / "log" / WHOLE, seconds=1.0)
    with Thinning(tmp_path / "log", 4, MASS) as thinning:
        thinning.closed(standing / f"{WHOLE}.mcap")
    assert "not one hop" in thinning.failure and str(standing) in thinning.failure
    assert read_log(standing).messages
    with pytest.raises(LunarError, match="nothing was recorded"):
        Thinner(tmp_path / "none", 4, MASS).finish()
