"""Reading a log raw, and when its messages are due."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcap.writer import Writer

from matrix_hil.log import Recorder
from matrix_hil.log.topics import Codec
from matrix_hil.messages import TreadmillState
from matrix_hil.replay import redrive
from matrix_hil.replay.redrive import RawLog, Schedule
from sim.errors import LunarError

EPOCH = 1_790_000_000.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    with Recorder(tmp_path / "log", {}, EPOCH) as recorder:
        for k in range(100):
            recorder.write("/treadmill/state", TreadmillState(k * 0.01, k / 100, k / 10), k * 0.01)
    return tmp_path / "log"


def test_messages_come_as_they_were_written(log: Path) -> None:
    messages = list(RawLog(log))
    codec = Codec("/treadmill/state", round(EPOCH * 1e9))
    assert [m.topic for m in messages] == ["/treadmill/state"] * 100
    assert {m.type for m in messages} == {"matrix_msgs/msg/TreadmillState"}
    assert [codec.decode(m.data)["speed"] for m in messages] == [k / 100 for k in range(100)]
    assert [round(m.time * 1e-9 - EPOCH, 4) for m in messages] == [round(k * 0.01, 4) for k in range(100)]


def test_a_cut_log_is_read_up_to_its_last_whole_chunk(log: Path) -> None:
    file = next(log.glob("*.mcap"))
    whole = file.read_bytes()
    counts = []
    for share in (0.9, 0.5, 0.3, 0.2, 0.1):
        file.write_bytes(whole[: int(len(whole) * share)])
        cut = list(RawLog(file))
        assert [m.time for m in cut] == sorted(m.time for m in cut)
        counts.append(len(cut))
    assert counts == sorted(counts, reverse=True) and counts[-1] < counts[0] == 100


def test_an_absent_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(LunarError, match="absent does not exist"):
        list(RawLog(tmp_path / "absent"))


def test_topics_are_published_by_the_names_that_a_map_gives(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {m.topic for m in RawLog(log, "/treadmill:=/rig2/belt")} == {"/rig2/belt/state"}
    seen: dict[str, str] = {}
    monkeypatch.setattr(redrive, "up", lambda table, arguments: seen.update(arguments))
    redrive.main([str(log), "--map", "/treadmill:=/belt"])
    assert seen["map"] == "/treadmill:=/belt"
    with pytest.raises(LunarError, match="no topic becomes /b or lies in it; there are /treadmill/state"):
        redrive.main([str(log), "--map", "/tredmill:=/b"])


def test_what_cannot_be_published_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with open(path, "wb") as stream:
        writer = Writer(stream)
        writer.start()
        channel = writer.register_channel("/status", "json", writer.register_schema("Status", "jsonschema", b"{}"))
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    with pytest.raises(LunarError, match=r"nothing that can be published; left out: /status .*'json'"):
        redrive.main([str(path)])


@given(st.floats(0.01, 100.0), st.floats(0.0, 5.0), st.floats(0.0, 100.0))
def test_the_clock_says_a_messages_time_when_it_is_due(rate: float, start: float, since: float) -> None:
    schedule = Schedule(rate, start, 0.0)
    first = 1_790_000_000_000_000_000
    schedule.begin(first, 50.0)
    time = first + round(since * 1e9)
    assert abs(schedule.log_time(schedule.due(time)) - time) < 1e5 * rate  # ns; floats of the host's clock
    assert schedule.place(time) == ("before" if (time - first) * 1e-9 < start else "in")


def test_the_range_has_two_ends() -> None:
    schedule = Schedule(2.0, 1.0, 3.0)
    schedule.begin(0, 100.0)
    assert [schedule.place(round(s * 1e9)) for s in (0.9, 1.0, 3.0, 3.1)] == ["before", "in", "in", "after"]
    assert schedule.due(3_000_000_000) == pytest.approx(101.0)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "no log is named"),
        (["/nowhere"], "does not exist"),
        (["LOG", "--rate", "0"], "rate is 0.0"),
        (["LOG", "--rate", "fast"], "are numbers"),
        (["LOG", "--start", "3", "--end", "2"], "0 <= start < end"),
        (["LOG", "--rat", "2"], "unknown key 'rat' for 'replay'; did you mean 'rate'"),
    ],
)
def test_bad_orders_are_refused_in_a_sentence(argv: list[str], sentence: str, log: Path) -> None:
    with pytest.raises(LunarError, match=sentence):
        redrive.main([str(log) if word == "LOG" else word for word in argv])


def test_options_reach_the_table(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr(redrive, "up", lambda table, arguments: seen.update({table: arguments}))
    redrive.main([str(log), "--loop", "--rate", "4"])
    assert seen == {"replay": {"bag": str(log), "loop": "true", "rate": "4"}}
