"""lunar log: what info says is so, recover loses nothing that is whole, export and diff tell the truth."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer
from rosbags.rosbag2 import Reader

from matrix_hil import cli
from matrix_hil.log import Log, Pose, Recorder, WireBytes, read_log
from matrix_hil.log.diff import diff
from matrix_hil.log.export import UNITS, columns, export
from matrix_hil.log.info import info, timing
from matrix_hil.log.recover import recover
from matrix_hil.log.scan import Scan
from matrix_hil.log.topics import TOPICS
from matrix_hil.messages import TreadmillState
from matrix_hil.safety.supervisor import SupervisorState
from sim.errors import LunarError
from sim.spec.joints import JOINT_NAMES
from tests.matrix_hil.synthetic_log import EPOCH, RATE, write_log

SECONDS = 2.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs") / "run", seconds=SECONDS, trip_at=1.5)


@pytest.fixture(scope="module")
def whole(run: Path) -> Log:
    return read_log(run)


# ---- info -----------------------------------------------------------------------------------------------------------


def test_info_agrees_with_what_is_read(run: Path, whole: Log) -> None:
    summary = info(run)
    assert summary["messages"] == whole.messages and summary["lost"] == ""
    assert summary["duration_s"] == pytest.approx(whole.duration)
    assert summary["start_unix_s"] == pytest.approx(EPOCH)
    assert summary["attachments"] == {name: len(data) for name, data in whole.attachments.items()}
    assert set(summary["topics"]) == set(whole.series)
    scan, sizes = Scan(whole.path), Counter[str]()
    for channel, _, _, _, data in itertools.chain.from_iterable(scan.chunks()):
        sizes[scan.channels[channel].topic] += len(data)
    for topic, row in summary["topics"].items():
        series = whole[topic]
        assert row["count"] == len(series) and row["type"] == TOPICS[topic].ros_type
        assert (row["first_s"], row["last_s"]) == pytest.approx((series.log_time[0], series.log_time[-1]))
        assert row["bytes"] == sizes[topic]
    assert summary["topics"]["/platform/state"]["rate_hz"] == pytest.approx(RATE)
    assert summary["topics"]["/tracker/pose"]["rate_hz"] == pytest.approx(120.0, rel=0.01)
    (trip,) = summary["trips"]
    assert trip["time_s"] == pytest.approx(1.5) and trip["reason"].startswith("tracker_stale")


def test_info_finds_each_trip(tmp_path: Path) -> None:
    trips = [0, 0, 1, 1, 1, 3, 3, 4, 4]
    with Recorder(tmp_path / "run", {}, 0.0, split_mb=0.001) as log:
        for k, n in enumerate(trips):
            log.write("/supervisor/state", SupervisorState(float(k), "safe", f"reason {n}", n, 0), float(k))
    found = info(tmp_path / "run")
    assert len(found["files"]) > 2
    assert [(t["time_s"], t["reason"]) for t in found["trips"]] == [
        (2.0, "reason 1"),
        (5.0, "reason 3"),
        (7.0, "reason 4"),
    ]


def test_gaps_and_jitter() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(1000) * 0.005 + rng.uniform(-2e-4, 2e-4, 1000)
    row = timing(np.delete(times, slice(300, 340)))
    assert row["rate_hz"] == pytest.approx(200.0, rel=0.01)
    assert row["gaps"] == 1 and row["longest_gap_s"] == pytest.approx(41 * 0.005, abs=5e-4)
    assert 0.2 < row["jitter_ms"] < 0.4
    assert timing(np.sort(rng.uniform(0, 10, 500)))["gaps"] is None, "events have no rate that they could miss"
    assert timing(np.array([3.0]))["rate_hz"] is None


def test_info_of_a_cut_log_and_of_one_without_an_index(run: Path, whole: Log, tmp_path: Path) -> None:
    data = whole.path.read_bytes()
    for cut in np.random.default_rng(2).integers(len(data) // 3, len(data), 25):
        path = tmp_path / "cut.mcap"
        path.write_bytes(data[:cut])
        log, summary = read_log(path), info(path)
        assert summary["messages"] == log.messages
        assert (summary["lost"], summary["lost_bytes"]) == ((log.lost.text, log.lost.bytes) if log.lost else ("", 0))
    with open(tmp_path / "plain.mcap", "wb") as stream:
        writer = Writer(stream, use_chunking=False)
        writer.start()
        channel = writer.register_channel("/a", "json", 0)
        writer.add_message(channel, 5, b"{}", 5)
        writer.finish()
    assert info(tmp_path / "plain.mcap")["messages"] == 1


# ---- recover --------------------------------------------------------------------------------------------------------


def test_a_log_cut_at_any_byte_gives_every_message_of_its_whole_chunks(whole: Log, tmp_path: Path) -> None:
    """1000 cuts. What must be there is counted from the index, which the recovery of a cut file does not have."""
    small = write_log(tmp_path / "small", seconds=0.6) / "small.mcap"
    data = small.read_bytes()
    with open(small, "rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        assert summary is not None
        expected = [(m.publish_time, m.sequence, m.data) for _, _, m in reader.iter_messages(log_time_order=False)]
    chunks = [(c.chunk_start_offset + c.chunk_length, c.message_index_offsets) for c in summary.chunk_indexes]
    counts = [len(chunk) for chunk in Scan(small).chunks()]
    ends = np.array([end for end, offsets in chunks if offsets])
    held = np.concatenate([[0], np.cumsum([n for n in counts if n])])
    assert len(ends) == len(held) - 1 >= 5
    cuts = np.random.default_rng(3).integers(1, len(data), 1000)
    path = tmp_path / "cut.mcap"
    for k, cut in enumerate(cuts):
        path.write_bytes(data[:cut])
        messages = int(held[np.searchsorted(ends, cut, side="right")])
        try:
            scan = Scan(path)
        except LunarError:
            assert cut < 8
            continue
        assert [(p, s, d) for chunk in scan.chunks() for _, s, _, p, d in chunk] == expected[:messages], cut
        if k % 50 == 0 and messages:
            out = tmp_path / f"out{k}"
            assert recover(path, out)["messages"] == messages
            with Reader(out) as bag:
                assert bag.message_count == messages == len(list(bag.messages()))


def test_recovered_logs_are_whole_and_the_same(run: Path, whole: Log, tmp_path: Path) -> None:
    with pytest.raises(LunarError, match="holds a log already"):
        recover(run, run)
    cut = tmp_path / "cut"
    shutil.copytree(run, cut)
    data = whole.path.read_bytes()
    (cut / whole.path.name).write_bytes(data[: len(data) * 2 // 3])
    results = recover(cut)
    assert results["out"] == str(tmp_path / "cut_recovered") and results["lost_bytes"] > 0
    log = read_log(results["out"])
    assert log.lost is None and not log.skipped and log.messages == results["messages"]
    assert log.attachments == whole.attachments and log.start_wall_time == whole.start_wall_time
    for topic, series in log.series.items():
        for name, column in series.columns.items():
            expected = whole[topic].columns[name][: len(series)]
            np.testing.assert_array_equal(column, expected, err_msg=f"{topic} {name}")
    (cut / whole.path.name).write_bytes(data[:200])
    with pytest.raises(LunarError, match="not one whole chunk"):
        recover(cut, tmp_path / "nothing")


# ---- export ---------------------------------------------------------------------------------------------------------


def test_export_names_columns_with_units(run: Path, whole: Log, tmp_path: Path) -> None:
    files = {f.name: f for f in export(run, tmp_path / "out")}
    assert len(files) == len(whole.series) + len(whole.attachments)
    assert files["revision.txt"].read_bytes() == b"0123456789"
    joints = pyarrow.parquet.read_table(files["robot_joint_states.parquet"])
    assert joints.column_names[:3] == ["log_time_s", "time_s", f"position_{JOINT_NAMES[0]}_rad"]
    state = pyarrow.parquet.read_table(files["counterweight_state.parquet"])
    assert state.column_names == ["log_time_s", "time_s", "tension_N", "length_m", "speed_m_per_s", "fault"]
    np.testing.assert_array_equal(state["tension_N"], whole["/counterweight/state"].tension)
    patch = pyarrow.parquet.read_table(files["twin_patch.parquet"])
    assert patch["heights_rows"].to_pylist() == [65] * 10
    np.testing.assert_array_equal(patch["heights_m"][3].as_py(), whole["/twin/patch"].heights[3].ravel())


def test_export_as_csv(run: Path, whole: Log, tmp_path: Path) -> None:
    names = [f.name for f in export(run, tmp_path / "out", "csv", "/supervisor,/treadmill/state")]
    assert sorted(names) == ["config.yaml", "revision.txt", "supervisor_state.csv", "treadmill_state.csv"]
    with open(tmp_path / "out/treadmill_state.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(r["position_m"]) for r in rows] == whole["/treadmill/state"].position.tolist()
    with open(tmp_path / "out/supervisor_state.csv", newline="") as stream:
        assert [r["state"] for r in csv.DictReader(stream)] == whole["/supervisor/state"].state.tolist()
    with pytest.raises(LunarError, match="no topic that starts with /nothing"):
        export(run, tmp_path / "none", "csv", "/nothing")


def test_bytes_of_a_line_are_exported(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run", {}, 0.0) as log:
        log.write("/wire/robot/rx", WireBytes(1.0, b"\x00\xff"), 1.0)
        log.write("/wire/robot/rx", WireBytes(1.1, b"\x07"), 1.1)
    export(tmp_path / "run", tmp_path / "csv", "csv")
    assert [r[-1] for r in csv.reader(open(tmp_path / "csv/wire_robot_rx.csv"))] == ["data", "00ff", "07"]
    (table,) = export(tmp_path / "run", tmp_path / "parquet")
    assert pyarrow.parquet.read_table(table)["data"].to_pylist() == [b"\x00\xff", b"\x07"]


def test_every_unit_belongs_to_a_field() -> None:
    logged = {row.message for row in TOPICS.values()}
    for message, units in UNITS.items():
        assert message in logged
        assert set(units) <= {f.name for f in fields(message)}
    assert columns(Pose, "position", 3) == ["position_x_m", "position_y_m", "position_z_m"]


# ---- diff -----------------------------------------------------------------------------------------------------------


def changed(log: Log, topic: str, **columns: np.ndarray) -> Log:
    series = log[topic]
    return replace(log, series=log.series | {topic: type(series)(series.log_time, series.columns | columns)})


def test_a_log_is_the_same_as_itself_and_as_its_recovery(run: Path, whole: Log, tmp_path: Path) -> None:
    assert diff(whole, whole, ignore="")["same"]
    assert diff(whole, read_log(recover(run, tmp_path / "again")["out"]), ignore="")["same"]


def test_a_difference_is_measured_and_placed(whole: Log) -> None:
    tension = whole["/counterweight/state"].tension.copy()
    tension[100:] += np.where(np.arange(300) % 2, 0.5, -1.0)
    other = changed(whole, "/counterweight/state", tension=tension)
    found = diff(whole, other)
    row = found["topics"]["/counterweight/state"]["fields"]["tension"]
    assert not found["same"] and row["differing"] == 300
    assert row["largest"] == pytest.approx(1.0) and row["first_s"] == pytest.approx(0.5)
    assert row["rms"] == pytest.approx(np.sqrt(0.75 * (0.25 + 1.0) / 2))
    assert not diff(whole, other, tolerance=0.999)["same"] and diff(whole, other, tolerance=1.001)["same"]
    assert diff(whole, other, relative=1.01 / float(whole["/counterweight/state"].tension.min()))["same"]
    assert diff(whole, other, ignore="/counterweight")["same"] and diff(whole, other, topics="/robot")["same"]


def test_text_numbers_that_are_none_and_topics_that_lack(whole: Log) -> None:
    reason = whole["/supervisor/state"].reason.copy()
    reason[-1] = "another"
    assert diff(whole, changed(whole, "/supervisor/state", reason=reason))["topics"]["/supervisor/state"]["fields"][
        "reason"
    ] == {"largest": None, "rms": None, "differing": 1, "first_s": pytest.approx(SECONDS - 1 / RATE)}
    speed = whole["/treadmill/state"].speed.copy()
    speed[7] = np.nan
    broken = changed(whole, "/treadmill/state", speed=speed)
    assert diff(whole, broken, tolerance=1e9)["topics"]["/treadmill/state"]["fields"]["speed"]["differing"] == 1
    assert diff(broken, broken)["same"]
    fewer = replace(whole, series={t: s for t, s in whole.series.items() if t != "/twin/patch"})
    found = diff(whole, fewer)
    assert not found["same"] and found["only_a"] == ["/twin/patch"] and found["only_b"] == []


def test_messages_are_matched_by_time(tmp_path: Path) -> None:
    logs = []
    for name, times in (("a", np.arange(50) * 0.01), ("b", np.delete(np.arange(50) * 0.01, [20, 21]) + 0.001)):
        with Recorder(tmp_path / name, {}, 7.0) as log:
            log.write("/hop_command", Pose, 0.0)  # does not fit: left out
            for t in [0.0, *times[times > 0]]:
                log.write("/treadmill/state", TreadmillState(t, round(t, 2), 0.0), t)
        logs.append(read_log(tmp_path / name))
    row = diff(logs[0], logs[1], tolerance=0.0011)["topics"]["/treadmill/state"]
    assert row["matched"] == 48 and row["unmatched_a"] == 2 and row["unmatched_b"] in (0, 1)
    assert row["fields"]["speed"]["differing"] == 0


def test_the_command_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["log", "info", str(run), "--json", str(tmp_path / "info.json")])
    assert "/tracker/pose" in capsys.readouterr().out
    results: dict[str, Any] = json.loads((tmp_path / "info.json").read_text())
    assert results["command"] == "log info" and results["results"]["messages"] > 1000
    cli.main(["log", "diff", str(run), str(run)])
    assert "the same" in capsys.readouterr().out
    other = write_log(tmp_path / "other", seconds=SECONDS, seed=1)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["log", "diff", str(run), str(other), "--json", str(tmp_path / "diff.json")])
    assert stopped.value.code == 1
    assert not json.loads((tmp_path / "diff.json").read_text())["results"]["same"]
    cli.main(["log", "recover", str(run), "--out", str(tmp_path / "new")])
    cli.main(["log", "export", str(run), "--out", str(tmp_path / "tables"), "--format", "csv"])
    assert (tmp_path / "tables/tracker_pose.csv").is_file()
    for wrong, words in (
        (["log"], "name a tool"),
        (["log", "info"], "no log is named"),
        (["log", "diff", "x"], "two logs"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main(wrong)
        assert stopped.value.code == 2 and words in capsys.readouterr().err
