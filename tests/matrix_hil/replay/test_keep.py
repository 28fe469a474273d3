"""lunar log keep: a folder of logs, data and a page that agree with each other, of any logs with hops in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter

from matrix_hil.log import TOPICS, read_log
from matrix_hil.log.scan import Scan
from matrix_hil.log.topics import typestore
from matrix_hil.replay.keep_page import by_turns
from matrix_hil.replay.look.measure import measure
from tests.browser import needs_chromium, open_tab, until
from tests.matrix_hil.made_bags import STRING, said, text
from tests.matrix_hil.synthetic_log import FLIGHT, MASS, PERIOD, STANCE, START, write_log

SECONDS = 9.0
JERK = START + 2 * PERIOD + STANCE + 0.3  # in the third flight


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("day")
    plain = [write_log(folder / name, SECONDS, seed=seed) for seed, name in enumerate(("one", "two"))]
    return [*plain, write_log(folder / "jerk", SECONDS, seed=2, jerk=JERK, trip_at=8.0)]


@pytest.fixture(scope="module")
def kept(logs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from matrix_hil import cli

    out = tmp_path_factory.mktemp("out") / "kept"
    cli.main(["log", "keep", *map(str, logs), "--hops", "4", "--out", str(out)])
    return out


def results(out: Path) -> dict[str, Any]:
    document = json.loads((out / "keep.json").read_text())
    assert document["command"] == "log keep"
    return document["results"]


def test_the_odd_hop_and_the_trip_are_kept_with_their_reasons(kept: Path, logs: list[Path]) -> None:
    found = results(kept)
    assert len(found["kept"]) == 4 and found["hops"] == sum(row["hops"] for row in found["logs"])
    first = found["kept"][0]
    assert first["half"] == "differs" and first["log"] == str(logs[2])
    assert first["time_s"] == pytest.approx(JERK - 0.3, abs=0.02)
    assert first["why"][0]["feature"].startswith("rope_") and first["why"][0]["unit"] == "N"
    assert sum(hop["weight"] for hop in found["kept"]) == pytest.approx(1.0)
    assert [(trip["kept_log"], trip["time_s"]) for trip in found["trips"]] == [("jerk", pytest.approx(8.0, abs=0.01))]
    assert found["dropped"]["doubt"] == "not known" and found["megabytes"] < found["megabytes_before"]


def test_kept_hops_are_in_the_kept_logs_where_it_says(kept: Path) -> None:
    for hop in results(kept)["kept"]:
        table = measure(read_log(kept / hop["kept_log"]), MASS).hops
        assert table is not None
        at = int(np.argmin(np.abs(table.liftoff_time - hop["kept_time_s"])))
        assert table.liftoff_time[at] == pytest.approx(hop["kept_time_s"], abs=0.02)
        assert table.flight_time[at] == pytest.approx(FLIGHT, abs=0.02)


def test_the_page_leads_to_reports(kept: Path) -> None:
    page = (kept / "keep.html").read_text()
    links = re.findall(r'href="([^"#]+)#t=([0-9.]+)"', page)
    assert len(links) == 5 and len(page) < 5e6, "four hops and a trip"
    assert all((kept / unquote(path)).is_file() for path, _ in links)
    assert page.count("<svg") == 8 and "https://" not in page and "rope" in page


@needs_chromium
def test_a_click_opens_the_report_at_that_second(kept: Path, tmp_path: Path) -> None:
    page = (kept / "keep.html").read_text()
    path, second = re.findall(r'href="([^"#]+)#t=([0-9.]+)"', page)[0]
    with open_tab(f"{(kept / path).as_uri()}#t={second}", tmp_path) as tab:
        until(lambda: tab.evaluate(f"Math.abs((document.body?.dataset.time ?? -9) - {second}) < 0.3"))


@pytest.mark.parametrize(("option", "value"), [("share", "0.2"), ("megabytes", "1.2"), ("hops", "3")])
def test_each_way_to_say_how_much(option: str, value: str, logs: list[Path], tmp_path: Path, capsys) -> None:
    out = tmp_path / "kept"
    code, _ = said(["log", "keep", *map(str, logs[:2]), f"--{option}", value, "--out", str(out)], capsys)
    found = results(out)
    assert code == 0 and not found["trips"]
    size = sum(file.stat().st_size for file in out.glob("*/*.mcap"))
    assert found["megabytes"] == pytest.approx(1e-6 * size)
    if option == "share":
        assert len(found["kept"]) == round(0.2 * found["hops"])
    elif option == "hops":
        assert len(found["kept"]) == 3
    else:
        assert len(found["kept"]) >= 1 and 0.5e6 * float(value) < size <= 1e6 * float(value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--hops", "0"], "hops is 0"),
        (["--share", "1.5"], "at most 1"),
        (["--megabytes", "nan"], "megabytes"),
        (["--hops", "3", "--share", "0.5"], "one of them"),
        (["--megabytes", "0.001"], "one hop takes"),
    ],
)
def test_nonsense_is_refused(options: list[str], says: str, logs: list[Path], tmp_path: Path, capsys) -> None:
    code, words = said(["log", "keep", str(logs[0]), *options, "--out", str(tmp_path / "kept")], capsys)
    assert code == 2 and says in words and not (tmp_path / "kept").exists()
    code, words = said(["log", "keep", "--hops", "3"], capsys)
    assert code == 2 and "no log is named" in words


def test_a_folder_that_is_in_use_is_left_alone(kept: Path, logs: list[Path], capsys) -> None:
    before = (kept / "keep.json").read_bytes()
    code, words = said(["log", "keep", str(logs[0]), "--out", str(kept)], capsys)
    assert code == 2 and "is there already" in words and (kept / "keep.json").read_bytes() == before


def test_fewer_hops_than_asked_for_are_all_kept(logs: list[Path], tmp_path: Path, capsys) -> None:
    code, words = said(["log", "keep", str(logs[0]), "--hops", "50", "--out", str(tmp_path / "kept")], capsys)
    found = results(tmp_path / "kept")
    assert code == 0 and len(found["kept"]) == found["hops"] and "all are kept" in words


def test_logs_of_two_robots_are_not_mixed_unasked(tmp_path: Path, capsys) -> None:
    logs = [str(write_log(tmp_path / k, 6.0, card=json.dumps({"robot_digest": k}).encode())) for k in ("a", "b")]
    out = ["--hops", "2", "--out", str(tmp_path / "kept")]
    code, words = said(["log", "keep", *logs, *out], capsys)
    assert code == 2 and "different robots" in words
    assert said(["log", "keep", *logs, *out, "--mixed"], capsys)[0] == 0


def test_a_bag_of_ros_in_a_namespace_is_the_same_day(logs: list[Path], tmp_path: Path, capsys) -> None:
    """As ``ros2 bag record`` writes it: other names, no epoch, no attachments, no /sync/input."""
    scan = Scan(next(logs[2].glob("*.mcap")))
    store, connections = typestore(), {}
    latched = Qos(
        QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, QosTime(0, 0), QosTime(0, 0),
        QosLiveliness.AUTOMATIC, QosTime(0, 0), False,
    )  # fmt: skip
    with BagWriter(tmp_path / "field", version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        robot = bag.add_connection("/robot_description", STRING, typestore=store, offered_qos_profiles=[latched])
        bag.write(robot, next(scan.chunks())[0][2] - 10**9, text("a robot"))
        for number, _, stamp, _, data in (row for chunk in scan.chunks() for row in chunk):
            topic = scan.channels[number].topic
            if topic not in connections:
                name = f"/matrix{topic}"
                connections[topic] = bag.add_connection(name, TOPICS[topic].ros_type, typestore=store)
            bag.write(connections[topic], stamp, data)
    out = tmp_path / "kept"
    code, words = said(["log", "keep", str(tmp_path / "field"), "--hops", "2", "--out", str(out)], capsys)
    assert code == 0 and "namespace /matrix" in words
    found = results(out)
    assert found["kept"][0]["time_s"] == pytest.approx(JERK + 0.7, abs=0.02) and len(found["trips"]) == 1
    assert found["logs"][0]["duration_s"] > SECONDS + 0.9, "from the first message of any topic"
    part = read_log(out / "field", every=True)
    assert set(part.origin.values()) <= {"/robot_description", *(f"/matrix{topic}" for topic in TOPICS)}
    assert part["/robot_description"].data.tolist() == ["a robot"], "what is latched goes with it"
    table = measure(read_log(out / "field"), MASS).hops
    assert table is not None and np.abs(table.liftoff_time - found["kept"][0]["kept_time_s"]).min() < 0.02


def test_a_cut_log_is_used_as_far_as_it_goes(logs: list[Path], tmp_path: Path, capsys) -> None:
    whole = next(logs[0].glob("*.mcap")).read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    code, words = said(["log", "keep", str(cut), "--hops", "2", "--out", str(tmp_path / "kept")], capsys)
    assert code == 0 and "cut off" in words and len(results(tmp_path / "kept")["kept"]) == 2


def test_logs_without_a_hop_say_so(tmp_path: Path, capsys) -> None:
    standing = write_log(tmp_path / "standing", seconds=1.0)
    code, words = said(["log", "keep", str(standing), "--out", str(tmp_path / "kept")], capsys)
    assert code == 2 and "no hop in 1 logs" in words


def test_every_log_is_shown_once_before_any_is_shown_again() -> None:
    assert by_turns(["mon", "mon", "tue", "mon", "wed", "tue"]) == [0, 2, 4, 1, 5, 3]
    assert by_turns([]) == []
