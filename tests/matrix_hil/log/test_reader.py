"""Reading: whole logs, logs cut anywhere, damaged ones, and files that are no logs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer

from matrix_hil.log import Log, Recorder, read_log
from sim.errors import LunarError
from tests.matrix_hil.synthetic_log import EPOCH, RATE, write_log

SECONDS = 2.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs") / "run", seconds=SECONDS) / "run.mcap"


@pytest.fixture(scope="module")
def whole(run: Path) -> Log:
    return read_log(run)


def test_a_whole_log(run: Path, whole: Log) -> None:
    assert whole.lost is None and not whole.skipped
    assert whole.start_wall_time == EPOCH
    assert whole.duration == pytest.approx(SECONDS - 1 / RATE)
    assert whole.attachments == {"config.yaml": b"rate: 200\n", "revision.txt": b"0123456789"}
    assert whole["/robot/joint_states"].position.shape == (400, 12)
    assert whole["/twin/patch"].heights.shape == (10, 65, 65)
    assert whole["/supervisor/state"].state[-1] == "run"
    tracker = whole["/tracker/pose"]
    assert len(tracker) == 240, "120 Hz"
    np.testing.assert_allclose(tracker.time, np.floor(tracker.log_time * 120 + 1e-6) / 120 - 0.01, atol=2e-9)
    assert read_log(run.parent).messages == whole.messages
    with pytest.raises(LunarError, match="no messages on /nothing"):
        whole["/nothing"]
    with pytest.raises(AttributeError, match="no field 'altitude'"):
        _ = tracker.altitude


def test_only_some_topics_may_be_read(run: Path, whole: Log) -> None:
    log = read_log(run, only={"/robot/imu", "/nothing"})
    assert set(log.series) == {"/robot/imu"} and not log.skipped
    np.testing.assert_array_equal(log["/robot/imu"].log_time, whole["/robot/imu"].log_time)
    assert (log.begin, log.duration, log.messages) == (whole.begin, whole.duration, whole.messages)
    assert whole.begin == min(series.log_time[0] for series in whole.series.values())


def test_a_log_cut_anywhere_opens_up_to_the_last_whole_chunk(run: Path, whole: Log, tmp_path: Path) -> None:
    data = run.read_bytes()
    rng = np.random.default_rng(1)
    cuts = {int(c) for c in rng.integers(1, len(data), 60)} | {8, len(data) - 1, len(data) - 8, len(data) - 40}
    held, complete_at = [], None
    for cut in sorted(cuts):
        path = tmp_path / "cut.mcap"
        path.write_bytes(data[:cut])
        try:
            log = read_log(path)
        except LunarError:
            assert not held, "what a shorter file gives, a longer one gives too"
            continue
        held.append(log.messages)
        if log.lost is None:
            complete_at = complete_at or cut
            assert log.messages == whole.messages
            continue
        assert complete_at is None and 0 <= log.lost.bytes < cut
        assert log.duration >= SECONDS * 0.99 or log.messages < whole.messages
        for topic, series in log.series.items():
            np.testing.assert_array_equal(series.log_time, whole[topic].log_time[: len(series)], err_msg=topic)
        if log.lost.seconds is not None:
            assert 0.0 < log.lost.seconds <= 0.11
    assert held == sorted(held) and len(held) > 30 and complete_at is not None


def test_one_damaged_chunk_is_left_out(run: Path, whole: Log, tmp_path: Path) -> None:
    with open(run, "rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    index = summary.chunk_indexes[10]
    data = bytearray(run.read_bytes())
    middle = index.chunk_start_offset + index.chunk_length // 2
    data[middle : middle + 4] = b"\xff\x00\xff\x00"
    path = tmp_path / "damaged.mcap"
    path.write_bytes(data)
    log = read_log(path)
    assert log.lost is not None and log.lost.bytes > 100 and "damaged" in log.lost.text
    lost = whole.messages - log.messages
    assert lost == pytest.approx(0.1 * RATE * 15.7, abs=10), "one chunk and no more"
    assert log.duration == pytest.approx(whole.duration)


@pytest.mark.parametrize("seed", range(20))
def test_noise_never_escapes_as_another_exception(run: Path, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = np.frombuffer(run.read_bytes(), np.uint8).copy()
    where = rng.integers(8, len(data), 40)
    data[where] = rng.integers(0, 256, 40)
    path = tmp_path / "noise.mcap"
    path.write_bytes(data.tobytes())
    try:
        log = read_log(path)
    except LunarError:
        return
    assert log.messages > 0


def test_what_is_no_log_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LunarError, match="does not exist"):
        read_log(tmp_path / "missing")
    with pytest.raises(LunarError, match=r"holds no \.mcap files"):
        read_log(tmp_path)
    (tmp_path / "empty.mcap").touch()
    with pytest.raises(LunarError, match="is empty"):
        read_log(tmp_path / "empty.mcap")
    (tmp_path / "text.mcap").write_text("# a letter, not a log")
    with pytest.raises(LunarError, match="not a log"):
        read_log(tmp_path / "text.mcap")
    Recorder(tmp_path / "run", {}, 0.0).close()
    with pytest.raises(LunarError, match="no message"):
        read_log(tmp_path / "run")


def test_topics_of_others_are_skipped_and_named(tmp_path: Path) -> None:
    path = tmp_path / "foreign.mcap"
    with open(path, "wb") as stream:
        writer = Writer(stream)
        writer.start("ros2")
        for i, topic in enumerate(["/chatter", "/tracker/pose"]):
            schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
            channel = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channel, 10 + i, b"\x00\x01\x00\x00\x01\x00\x00\x00\x00", 10 + i)
        writer.finish()
    log = read_log(path)
    assert not log.series and log.messages == 2
    assert "does not know" in log.skipped["/chatter"]
    assert "geometry_msgs/msg/PoseStamped" in log.skipped["/tracker/pose"]
    with pytest.raises(LunarError, match="holds /tracker/pose, but its messages are not geometry_msgs/msg/PoseStamped"):
        log["/tracker/pose"]
