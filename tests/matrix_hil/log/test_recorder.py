"""Recording: stock readers open it, a kill loses little, a full disk stops the log and not the loop."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosLiveliness, QosReliability
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from matrix_hil.log import TOPICS, Pose, Recorder, read_log
from matrix_hil.messages import MachineStates, RobotState, TrackerState, TreadmillCommand, TreadmillState
from sim.errors import LunarError
from tests.matrix_hil.synthetic_log import write_log

UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])
POSE = Pose(0.0, np.zeros(3), UPRIGHT)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs") / "run", seconds=2.0)


def test_stock_readers_open_it(run: Path) -> None:
    expected = read_log(run)
    with Reader(run) as bag:
        assert bag.message_count == expected.messages
        assert {c.topic: c.msgtype for c in bag.connections} == {t: r.ros_type for t, r in TOPICS.items()}
        for c in bag.connections:
            (qos,) = c.ext.offered_qos_profiles
            state = TOPICS[c.topic].qos == "state"
            assert (qos.reliability, qos.durability) == (
                (QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL)
                if state
                else (QosReliability.BEST_EFFORT, QosDurability.VOLATILE)
            )
            assert qos.liveliness == QosLiveliness.AUTOMATIC, "a driver must not take a replay for a live loop"
    # AnyReader knows matrix_msgs from the file's own schemas only
    with AnyReader([run], default_typestore=get_typestore(Stores.ROS2_KILTED)) as any_reader:
        wanted = [c for c in any_reader.connections if c.topic == "/platform/command"]
        heave = [any_reader.deserialize(data, c.msgtype).pose[2] for c, _, data in any_reader.messages(wanted)]
    np.testing.assert_array_equal(heave, expected["/platform/command"].pose[:, 2])
    with open(run / "run.mcap", "rb") as stream:
        summary = make_reader(stream, validate_crcs=True).get_summary()
        assert summary is not None and summary.statistics is not None
        assert summary.statistics.message_count == expected.messages
        assert sum(1 for _ in make_reader(stream).iter_messages()) == expected.messages
        spans = [c.message_end_time - c.message_start_time for c in summary.chunk_indexes]
    assert max(spans) <= 0.1e9, "a kill must lose no more than 0.1 s"


def test_metadata_is_there_before_and_after(tmp_path: Path) -> None:
    log = Recorder(tmp_path / "run", {}, 100.0)
    info = yaml.safe_load((tmp_path / "run/metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["storage_identifier"] == "mcap" and info["relative_file_paths"] == ["run.mcap"]
    log.write("/tracker/pose", POSE, 1.0)
    log.write("/tracker/pose", POSE, 1.5)
    log.close()
    log.close()
    info = yaml.safe_load((tmp_path / "run/metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["message_count"] == 2
    assert info["duration"]["nanoseconds"] == 500_000_000
    assert info["starting_time"]["nanoseconds_since_epoch"] == 101_000_000_000


def test_a_killed_run_loses_at_most_a_chunk(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, signal
        import numpy as np
        from matrix_hil.log import Pose, Recorder
        log = Recorder({str(tmp_path / "run")!r}, {{}}, 0.0)
        for k in range(1000):
            log.write("/tracker/pose", Pose(k / 200, np.zeros(3), np.array([1.0, 0, 0, 0])), k / 200)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    log = read_log(tmp_path / "run")
    assert log.lost is not None and "not closed" in log.lost.text
    assert log["/tracker/pose"].time[-1] >= 4.995 - 0.1


def test_a_full_disk_stops_the_log_and_not_the_loop(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import resource
        import numpy as np
        from matrix_hil.log import Recorder
        from matrix_hil.messages import TwinPatch
        log = Recorder({str(tmp_path / "run")!r}, {{}}, 0.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        rng = np.random.default_rng(0)
        for k in range(400):
            log.write("/twin/patch", TwinPatch(k / 200, np.zeros(2), 0.1, rng.random((20, 20))), k / 200)
        assert not log.recording and log.messages < 400
        log.close()
        print(log.warning)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stdout and "run.mcap" in done.stdout
    assert 0.3 < read_log(tmp_path / "run").duration < 2.0


@pytest.mark.parametrize(
    ("topic", "message", "time"),
    [
        ("/no/such/topic", POSE, 1.0),
        ("/tracker/pose", TreadmillCommand(0.0, 1.0), 1.0),
        ("/tracker/pose", Pose(0.0, np.zeros(2), UPRIGHT), 1.0),
        ("/treadmill/state", TreadmillState(0.0, 1.0, 0.0, fault=-1), 1.0),
        ("/tracker/pose", POSE, math.nan),
        ("/tracker/pose", POSE, math.inf),
    ],
)
def test_a_message_that_does_not_fit_is_left_out_with_a_warning(
    tmp_path: Path, topic: str, message: object, time: float
) -> None:
    with Recorder(tmp_path / "run", {}, 0.0) as log:
        log.write(topic, message, time)
        assert topic in log.warning and log.messages == 0
        log.write("/tracker/pose", POSE, 2.0)
    assert len(read_log(tmp_path / "run")["/tracker/pose"]) == 1


def test_a_clock_that_jumps_back(tmp_path: Path) -> None:
    times = [5.0, 5.1, 2.0, 2.05, 2.2, 2.2, 9.0]
    with Recorder(tmp_path / "run", {}, 50.0) as log:
        for t in times:
            log.write("/tracker/pose", Pose(t, np.full(3, t), UPRIGHT), t)
    series = read_log(tmp_path / "run")["/tracker/pose"]
    np.testing.assert_allclose(series.log_time, sorted(times))
    np.testing.assert_allclose(series.position[:, 0], sorted(times))
    with Reader(tmp_path / "run") as bag:
        assert bag.duration == 7_000_000_001  # rosbags counts the last nanosecond in
        assert len(list(bag.messages())) == len(times)


def test_a_log_split_by_size_is_one_log_and_each_file_of_it_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with Recorder(tmp_path / "run", {"card.json": b"{}"}, 50.0, split_mb=0.02) as log:
        for k in range(4400):
            log.write("/tracker/pose", Pose(k / 200, rng.random(3), UPRIGHT), k / 200)
    files = sorted(p.name for p in (tmp_path / "run").glob("*.mcap"))
    assert len(files) > 10 and "run_10.mcap" in files
    assert max((tmp_path / "run" / f).stat().st_size for f in files) < 0.1e6
    info = yaml.safe_load((tmp_path / "run/metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["relative_file_paths"] == ["run.mcap", *[f"run_{k}.mcap" for k in range(1, len(files))]]
    assert sum(f["message_count"] for f in info["files"]) == info["message_count"] == 4400
    whole = read_log(tmp_path / "run")
    np.testing.assert_allclose(whole["/tracker/pose"].time, np.arange(4400) / 200, atol=1e-9)
    assert whole.lost is None and whole.attachments == {"card.json": b"{}"}
    one = read_log(tmp_path / "run/run_3.mcap")
    assert one.attachments == whole.attachments and one.start_wall_time == 50.0
    with Reader(tmp_path / "run") as bag:
        assert bag.message_count == 4400 and len(list(bag.messages())) == 4400


def test_faults_are_logged_when_they_change(tmp_path: Path) -> None:
    zeros, down = np.zeros(12), np.array([0.0, 0.0, -1.0])
    with Recorder(tmp_path / "run", {}, 0.0) as log:
        for k, fault in enumerate([0, 0, 2, 2, 3, 0]):
            robot = RobotState(k * 0.1, zeros, zeros, np.zeros(3), down, np.zeros(4), fault)
            tracker = TrackerState(k * 0.1, np.zeros(3), UPRIGHT, 1)
            log.write_states(MachineStates(robot=robot, tracker=tracker), np.zeros(4, bool), k * 0.1)
    whole = read_log(tmp_path / "run")
    assert whole["/robot/fault"].fault.tolist() == [0, 2, 3, 0]
    assert whole["/robot/fault"].time.tolist() == pytest.approx([0.0, 0.2, 0.4, 0.5])
    assert whole["/tracker/fault"].fault.tolist() == [1]


def test_states_that_are_not_new_are_not_logged_again(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run", {}, 0.0) as log:
        for k in range(10):
            log.write_states(
                MachineStates(treadmill=TreadmillState(k // 5 * 0.01, 1.0, 0.0)), np.zeros(4, bool), k * 0.005
            )
    assert read_log(tmp_path / "run")["/treadmill/state"].time.tolist() == pytest.approx([0.0, 0.01])


def test_it_never_writes_over_a_log(tmp_path: Path) -> None:
    Recorder(tmp_path / "run", {}, 0.0).close()
    with pytest.raises(LunarError, match="holds a log already"):
        Recorder(tmp_path / "run", {}, 0.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(LunarError, match="cannot be written"):
        Recorder(tmp_path / "file", {}, 0.0)
