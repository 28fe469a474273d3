"""Bags of others: read, or refused in one true sentence that names the remedy; what is left out is said."""

from __future__ import annotations

import csv
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from mcap.records import Chunk
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionMode, Reader, StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from matrix_hil.log import JointSample, Recorder, WireBytes, read_log
from matrix_hil.log.cdr import walk
from matrix_hil.log.diff import diff
from matrix_hil.log.export import export
from matrix_hil.log.info import info
from matrix_hil.log.recover import recover
from matrix_hil.log.scan import Scan
from matrix_hil.log.topics import definition, typestore
from matrix_hil.messages import TreadmillState
from sim.errors import LunarError
from sim.spec.joints import JOINT_NAMES
from tests.matrix_hil.hostile import mutations, thrifty
from tests.matrix_hil.made_bags import ROS, STRING, chatter, rosbag, said, text, write
from tests.matrix_hil.synthetic_log import write_log

# ---- what is read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", CompressionType)
def test_each_compression_of_mcap_is_read(tmp_path: Path, compression: CompressionType) -> None:
    path = chatter(tmp_path / "log.mcap", compression=compression)
    log = read_log(path, every=True)
    assert log["/chatter"].data.tolist() == [f"word {k}" for k in range(20)] and log.lost is None
    assert info(path)["messages"] == 20 and recover(path, tmp_path / "new")["messages"] == 20


def test_a_damaged_lz4_chunk_is_left_out(tmp_path: Path) -> None:
    path = chatter(tmp_path / "log.mcap", compression=CompressionType.LZ4)
    with open(path, "rb") as stream:
        second = [r for r in StreamReader(stream, emit_chunks=True).records if isinstance(r, Chunk)][1].data
    data = path.read_bytes()
    at = data.index(second) + len(second) // 2
    path.write_bytes(data[:at] + bytes(b ^ 0x55 for b in data[at : at + 8]) + data[at + 8 :])
    log = read_log(path, every=True)
    assert 0 < log.messages < 20 and log.lost is not None and "damaged" in log.lost.text
    assert info(path)["messages"] == log.messages and info(path)["lost"] == log.lost.text


def test_bags_of_rosbag2_are_read(tmp_path: Path) -> None:
    for mode in (None, CompressionMode.STORAGE):
        bag = rosbag(tmp_path / f"bag_{mode}", StoragePlugin.MCAP, mode)
        log = read_log(bag, every=True)
        assert log["/chatter"].data.tolist() == [f"word {k}" for k in range(5)]
        assert log.lost is None and not log.notes


def test_joints_in_any_order_and_among_others(tmp_path: Path) -> None:
    kind = "sensor_msgs/msg/JointState"
    logs = []
    for name, names in (("a", [*JOINT_NAMES]), ("b", ["arm_joint", *sorted(JOINT_NAMES)]), ("c", [*JOINT_NAMES[:11]])):
        values = np.array([float(JOINT_NAMES.index(n)) if n in JOINT_NAMES else 99.0 for n in names])
        header = ROS.types["std_msgs/msg/Header"](
            stamp=ROS.types["builtin_interfaces/msg/Time"](sec=10**9, nanosec=0), frame_id=""
        )
        state = ROS.types[kind](header=header, name=names, position=values, velocity=-values, effort=np.zeros(0))
        data = bytes(ROS.serialize_cdr(state, kind))
        logs.append(read_log(write(tmp_path / f"{name}.mcap", [("/robot/joint_states", kind, data)] * 3)))
    for log in logs[:2]:
        assert log["/robot/joint_states"].position.tolist() == [list(range(12))] * 3
        assert log["/robot/joint_states"].velocity[0, 5] == -5.0
    assert diff(logs[0], logs[1])["same"]
    assert "RR_calf_joint is not among its names" in logs[2].skipped["/robot/joint_states"]


def test_a_rigs_topic_that_is_read_field_by_field_is_said_so_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = "sensor_msgs/msg/JointState"
    header = ROS.types["std_msgs/msg/Header"](
        stamp=ROS.types["builtin_interfaces/msg/Time"](sec=10**9, nanosec=0), frame_id=""
    )
    names = [f"go2/{name}" for name in JOINT_NAMES]
    state = ROS.types[kind](header=header, name=names, position=np.zeros(12), velocity=np.zeros(12), effort=np.zeros(0))
    data = bytes(ROS.serialize_cdr(state, kind))
    path = write(tmp_path / "a.mcap", [("/robot/joint_states", kind, data)] * 3)
    for command in (["export", str(path), "--out", str(tmp_path / "out")], ["diff", str(path), str(path)]):
        code, words = said(["log", *command], capsys)
        assert code == 0 and re.search("/robot/joint_states is read field by field.*FL_hip_joint is not among", words)


def test_definitions_with_other_line_ends_or_none_are_those_of_ros(tmp_path: Path) -> None:
    log = read_log(chatter(tmp_path / "a.mcap"), every=True)
    expected = log["/chatter"].data.tolist()
    state = ROS.types["std_msgs/msg/UInt8"](data=3)
    for name, change in (("b", lambda text: text.replace(b"\n", b"\r\n")), ("c", lambda text: b"")):
        path = tmp_path / f"{name}.mcap"
        with open(path, "wb") as stream:
            writer = Writer(stream)
            writer.start("ros2")
            for topic, kind, rows in (
                ("/chatter", STRING, [text(words) for words in expected]),
                ("/robot/fault", "std_msgs/msg/UInt8", [bytes(ROS.serialize_cdr(state, "std_msgs/msg/UInt8"))]),
                ("/platform/command", "matrix_msgs/msg/PlatformCommand", [b"\0\1\0\0"]),
            ):
                schema = writer.register_schema(kind, "ros2msg", change(definition(kind)))
                channel = writer.register_channel(topic, "cdr", schema)
                for row in rows:
                    writer.add_message(channel, 10**18, row, 10**18)
            writer.finish()
        log = read_log(path, every=True)
        assert log["/chatter"].data.tolist() == expected
        assert log["/robot/fault"].fault.tolist() == [3]
    assert "no definition of matrix_msgs/msg/PlatformCommand" in read_log(path).skipped["/platform/command"]


def test_any_topic_is_exported_by_the_files_definition(tmp_path: Path) -> None:
    types = get_types_from_msg(
        "string name\ngeometry_msgs/Point[] path\nuint8[] image\nint32[3] triple\nbool[] flags\nstring[2] two\n",
        "lab_msgs/msg/Plan",
    )
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(types)
    with BagWriter(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        connection = bag.add_connection("/plan", "lab_msgs/msg/Plan", typestore=store)
        point = store.types["geometry_msgs/msg/Point"]
        for k in range(3):
            plan = store.types["lab_msgs/msg/Plan"](
                name=f"plan {k}", path=[point(x=1.0 * i, y=0.5, z=0.0) for i in range(k)],
                image=np.arange(k + 4, dtype=np.uint8), triple=np.array([k, -k, 7], np.int32),
                flags=np.array([True] * k, bool), two=["a", ""],
            )  # fmt: skip
            bag.write(connection, 10**18 + k * 10**9, bytes(store.serialize_cdr(plan, "lab_msgs/msg/Plan")))
    (file,) = export(tmp_path / "bag", tmp_path / "csv", "csv")
    with open(file, newline="") as stream:
        row = list(csv.DictReader(stream))[2]
    assert row["name"] == "plan 2" and row["image"] == "000102030405" and row["triple_1"] == "-2"
    assert json.loads(row["path"]) == [{"x": 0.0, "y": 0.5, "z": 0.0}, {"x": 1.0, "y": 0.5, "z": 0.0}]
    assert json.loads(row["flags"]) == [True, True] and json.loads(row["two"]) == ["a", ""]
    (table,) = export(tmp_path / "bag", tmp_path / "parquet")
    assert pyarrow.parquet.read_table(table)["name"].to_pylist() == ["plan 0", "plan 1", "plan 2"]
    assert diff(read_log(tmp_path / "bag", every=True), read_log(tmp_path / "bag", every=True))["same"]


def test_damage_in_bags_of_others_is_harmless(tmp_path: Path) -> None:
    points = [("/p", "trajectory_msgs/msg/JointTrajectory", bytes([0, 1, 0, 0]) + bytes(24))] * 4
    path = write(tmp_path / "a.mcap", [*points, ("/chatter", STRING, text("x"))], compression=CompressionType.NONE)
    data = path.read_bytes()
    read = 0
    for damaged in mutations(data, 11, 60):
        path.write_bytes(damaged)
        read += not thrifty(lambda: read_log(path, every=True))
        thrifty(lambda: info(path))
    assert read > 10


def test_messages_of_any_type_are_walked_and_cut_ones_refused() -> None:
    types: Any = ROS.types
    stamp = types["builtin_interfaces/msg/Time"](sec=3, nanosec=4)
    transform = types["geometry_msgs/msg/Transform"](
        translation=types["geometry_msgs/msg/Vector3"](x=1.0, y=2.0, z=3.0),
        rotation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
    )
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="map")
    link = types["geometry_msgs/msg/TransformStamped"](header=header, child_frame_id="base", transform=transform)
    kinds = {
        "tf2_msgs/msg/TFMessage": types["tf2_msgs/msg/TFMessage"](transforms=[link, link]),
        "geometry_msgs/msg/TransformStamped": link,
        "std_msgs/msg/Empty": types["std_msgs/msg/Empty"](),
        STRING: types[STRING](data="moon"),
    }
    for kind, message in kinds.items():
        data = bytes(ROS.serialize_cdr(message, kind))
        walk(typestore().fielddefs, kind, data + bytes(3))
        with pytest.raises(ValueError, match="longer than its definition"):
            walk(typestore().fielddefs, kind, data + bytes(4))
        for length in range(len(data)):
            with pytest.raises(ValueError):
                walk(typestore().fielddefs, kind, data[:length])
    values = walk(
        typestore().fielddefs, "tf2_msgs/msg/TFMessage",
        bytes(ROS.serialize_cdr(kinds["tf2_msgs/msg/TFMessage"], "tf2_msgs/msg/TFMessage")),
    )["transforms"]  # fmt: skip
    assert [(v["child_frame_id"], v["header.stamp.sec"], v["transform.translation.y"]) for v in values] == [
        ("base", 3, 2.0)
    ] * 2


# ---- what is said ---------------------------------------------------------------------------------------------------


def test_files_that_are_missing_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Recorder(tmp_path / "run", {}, 50.0, split_mb=0.02) as log:
        rng = np.random.default_rng(0)
        for k in range(2000):
            log.write("/treadmill/state", TreadmillState(k / 200, rng.random(), rng.random()), k / 200)
    files = sorted((tmp_path / "run").glob("*.mcap"))
    assert len(files) > 3 and read_log(tmp_path / "run").lost is None
    count = info(tmp_path / "run/run_2.mcap")["messages"]
    (tmp_path / "run/run_2.mcap").unlink()
    for command in (["log", "info"], ["log", "recover"], ["log", "export"], ["replay", "look"]):
        code, words = said([*command, str(tmp_path / "run")], capsys)
        assert code == 0 and f"lost: run_2.mcap is missing, {count} messages" in words, command
    (tmp_path / "run/metadata.yaml").unlink()
    assert "run_2.mcap is missing" in info(tmp_path / "run")["lost"]
    (tmp_path / "run/run_1.mcap").write_bytes(b"")
    assert "run_1.mcap is empty" in info(tmp_path / "run")["lost"]
    (tmp_path / "run/metadata.yaml").write_text("rosbag2_bagfile_information: [")
    assert "metadata.yaml cannot be read" in info(tmp_path / "run")["notes"][0]


@pytest.mark.parametrize("encoding", ["json", "protobuf", "cbor", "ros1"])
def test_other_encodings_are_named_and_not_called_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str
) -> None:
    path = write(tmp_path / "a.mcap", [("/x", "X", b"{}")] * 3, encoding=encoding)
    assert info(path)["messages"] == 3 and info(path)["lost"] == ""
    for command in (["log", "export"], ["replay"], ["log", "diff", str(path)]):
        code, words = said([*command, str(path)], capsys)
        assert code == 2 and repr(encoding) in words and "/x" in words and "damaged" not in words


def test_a_compression_that_is_not_read_is_not_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = chatter(tmp_path / "a.mcap", compression=CompressionType.LZ4).read_bytes()
    (tmp_path / "a.mcap").write_bytes(data.replace(b"\x03\x00\x00\x00lz4", b"\x03\x00\x00\x00bz2"))
    for tool in ("info", "recover", "export"):
        code, words = said(["log", tool, str(tmp_path / "a.mcap")], capsys)
        assert code == 2 and "'bz2'" in words and "damaged" not in words and "whole" not in words


def test_records_of_unknown_kinds_are_passed_over_and_said(tmp_path: Path) -> None:
    data = chatter(tmp_path / "a.mcap").read_bytes()
    header = 8 + 9 + struct.unpack("<Q", data[9:17])[0]
    (tmp_path / "a.mcap").write_bytes(data[:header] + struct.pack("<BQ", 0x93, 5) + b"hello" + data[header:])
    log = read_log(tmp_path / "a.mcap", every=True)
    assert log.messages == 20 and log.lost is None and "0x93" in log.notes[0]
    (tmp_path / "a.mcap").write_bytes(data[: len(data) // 2] + bytes(4000))
    with_hole = info(tmp_path / "a.mcap")["lost"]
    assert "a.mcap" in with_hole and "lost" not in with_hole


def test_bags_in_other_forms_are_named_with_their_remedy(tmp_path: Path) -> None:
    cases = {
        rosbag(tmp_path / "db", StoragePlugin.SQLITE3): "rosbags-convert --src .*db --dst",
        tmp_path / "db/db.db3": "sqlite3",
        rosbag(tmp_path / "packed", StoragePlugin.MCAP, CompressionMode.FILE): "zstd -d .*packed.mcap.zstd",
        tmp_path / "packed/packed.mcap.zstd": "zstd -d",
        rosbag(tmp_path / "each", StoragePlugin.MCAP, CompressionMode.MESSAGE): "one by one.*rosbags-convert",
        tmp_path: "name one of them: db, each, packed",
    }
    for path, words in cases.items():
        for read in (read_log, info, recover):
            with pytest.raises(LunarError, match=words) as refused:
                read(path)
            assert "damaged" not in str(refused.value)
    (tmp_path / "db/metadata.yaml").unlink()
    with pytest.raises(LunarError, match=r"ros2 bag reindex .*db, .*and then rosbags-convert"):
        read_log(tmp_path / "db")
    alone = tmp_path / "each/alone.mcap"
    (tmp_path / "each/each.mcap").rename(alone)
    assert "one by one" in read_log(alone).skipped["/chatter"]


def test_several_bags_in_a_folder_are_refused_with_their_names(tmp_path: Path) -> None:
    for name in ("walk_0", "walk_1", "hop_0"):
        chatter(tmp_path / f"bags/{name}.mcap")
    with pytest.raises(LunarError, match=r"2 bags; name one of them: hop_0.mcap, walk_0.mcap"):
        read_log(tmp_path / "bags")
    (tmp_path / "bags/hop_0.mcap").unlink()
    assert read_log(tmp_path / "bags", every=True).messages == 40


# ---- recover and diff -----------------------------------------------------------------------------------------------


def test_recovery_keeps_attachments_and_metadata_as_they_are(tmp_path: Path) -> None:
    def more(writer: Writer) -> None:
        writer.add_attachment(11, 22, "a.txt", "text/plain", b"one")
        writer.add_attachment(12, 23, "a.txt", "text/plain", b"two")
        writer.add_metadata("lab", {"rig": "north"})

    path = chatter(tmp_path / "a.mcap", more=more)
    path.write_bytes(path.read_bytes()[:-30])
    recover(path, tmp_path / "new")
    kept = []
    for file in (path, tmp_path / "new/new.mcap"):
        kept.append(Scan(file).kept)
    assert kept[0] == kept[1] and len(kept[0]) == 3


def test_a_recovery_or_an_export_that_finds_no_space_leaves_no_half_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = chatter(tmp_path / "a.mcap")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matrix_hil.log.recover.Writer.add_message", full)
    monkeypatch.setattr("matrix_hil.log.export.csv.writer", full)
    for write_out in (lambda out: recover(path, out), lambda out: export(path, out, "csv")):
        with pytest.raises(LunarError, match="cannot be written: No space left"):
            write_out(tmp_path / "out")
        assert not [f for f in (tmp_path / "out").iterdir()]


def test_recovery_keeps_quality_of_service(tmp_path: Path) -> None:
    latched = Qos(
        QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, QosTime(0, 0), QosTime(0, 0),
        QosLiveliness.AUTOMATIC, QosTime(0, 0), False,
    )  # fmt: skip
    for version in (8, 9):  # in numbers and in words
        with BagWriter(tmp_path / f"v{version}", version=version, storage_plugin=StoragePlugin.MCAP) as bag:
            connection = bag.add_connection("/tf_static", STRING, typestore=ROS, offered_qos_profiles=[latched])
            bag.write(connection, 10**18, text("x"))
        recover(tmp_path / f"v{version}", tmp_path / f"new{version}")
        with Reader(tmp_path / f"new{version}") as bag:
            (connection,) = bag.connections
            assert connection.ext.offered_qos_profiles == [latched]


def test_a_diff_of_nothing_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = chatter(tmp_path / "a.mcap"), write(tmp_path / "b.mcap", [("/other", STRING, text("x"))])
    for argv in ([str(a), str(b)], [str(a), str(a), "--topics", "/chater"], [str(a), str(a), "--ignore", "/"]):
        code, words = said(["log", "diff", *argv], capsys)
        assert code == 2 and "no topic compared" in words
    assert said(["log", "diff", str(a), str(a)], capsys) == (0, "1 topics compared: the same\n")


def test_what_only_one_log_holds_readably_is_not_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [("/chatter", STRING, text("x"))]
    a = write(tmp_path / "a.mcap", [*words, ("/more", STRING, text("y"))])
    b = write(tmp_path / "b.mcap", [*words, ("/more", STRING, b"\x00\x01\x00\x00\xff")])
    code, printed = said(["log", "diff", str(a), str(b)], capsys)
    assert code == 1 and "left out: /more" in printed and "only in A" not in printed


def test_pieces_of_a_serial_line_are_no_difference(tmp_path: Path) -> None:
    logs = []
    for name, pieces in (("a", (b"hello", b" moon")), ("b", (b"hel", b"lo m", b"oon")), ("c", (b"hello", b" mood"))):
        with Recorder(tmp_path / name, {}, 0.0) as log:
            for k, piece in enumerate(pieces):
                log.write("/wire/robot/rx", WireBytes(0.1 * k, piece), 0.1 * k)
        logs.append(read_log(tmp_path / name))
    assert diff(logs[0], logs[1])["same"] and diff(logs[1], logs[0])["same"]
    row = diff(logs[0], logs[2])["topics"]["/wire/robot/rx"]["fields"]["data"]
    assert row["differing"] == 1 and row["first_s"] == pytest.approx(0.1)


def test_a_full_disk_is_told_with_what_is_missing(tmp_path: Path) -> None:
    log = Recorder(tmp_path / "run", {}, 0.0)
    zeros = np.zeros(12)
    log.write("/robot/joint_states", JointSample(0.0, zeros, zeros), 0.0)
    assert log.missing == ""
    log.stop("No space left on device")
    for k in range(50):
        log.write("/robot/joint_states", JointSample(0.1 * k, zeros, zeros), 0.1 * k)
    log.close()
    assert "No space left on device" in log.missing and "the last 4.9 s of the run is not in the log" in log.missing


def test_a_rigs_log_is_the_same_as_its_bag_under_another_name(tmp_path: Path) -> None:
    run = write_log(tmp_path / "run", seconds=0.3)
    log = read_log(run)
    messages = []
    scan = Scan(run / "run.mcap")
    for chunk in scan.chunks():
        for number, _, _, _, data in chunk:
            channel = scan.channels[number]
            messages.append((f"/rig2{channel.topic}", scan.schemas[channel.schema_id].name, data))
    other = read_log(write(tmp_path / "rig2.mcap", messages))
    assert set(other.series) == set(log.series) and "/rig2" in other.notes[0]
    assert other["/robot/imu"].projected_gravity.tolist() == log["/robot/imu"].projected_gravity.tolist()
