"""The report: its figures are the run's, its page draws in a browser and reaches outside for nothing."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from matrix_hil.log import Pose, Recorder, SyncStamp, read_log
from matrix_hil.replay import cli as replay
from matrix_hil.replay.look import cli as look
from matrix_hil.replay.look.about import made_with
from matrix_hil.replay.look.measure import Run, measure, rotations
from matrix_hil.replay.look.page import table_page
from matrix_hil.replay.look.plots import MAX_POINTS, curves, plots, thin, trips
from sim.errors import LunarError
from sim.files import ROOT
from tests.browser import needs_chromium, open_tab, until
from tests.matrix_hil.synthetic_log import APEX, FLIGHT, LIFTOFF, MASS, PERIOD, STANCE, START, ground, write_log

SECONDS = 6.3
HOPS = 3  # begun and followed for 200 ms after landing within SECONDS


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs") / "pronks", seconds=SECONDS, trip_at=6.0)


@pytest.fixture(scope="module")
def run(log_folder: Path) -> Run:
    return measure(read_log(log_folder), MASS)


@pytest.fixture(scope="module")
def made(log_folder: Path) -> tuple[Path, dict]:
    """The report's page and its JSON document."""
    out, data = log_folder.parent / "report.html", log_folder.parent / "replay.json"
    replay.main([str(log_folder), "--out", str(out), "--json", str(data), "--quick"])
    return out, json.loads(data.read_text())


def test_key_figures_are_those_of_the_run(made: tuple[Path, dict], run: Run) -> None:
    results = made[1]["results"]
    assert made[1]["command"] == "replay"
    assert results["hops"] == results["pronks"] == HOPS
    assert results["apex_gain"] == pytest.approx(APEX, abs=0.015)
    assert results["trips"] == 1 and results["stale_commands"] == 3
    assert results["duration_s"] == pytest.approx(SECONDS - 0.005)
    assert results["lost_s"] == 0.0 and results["messages"] == run.log.messages
    late = 1e6 * run.log["/sync/stamp"].lateness
    assert results["lateness_us"]["p99"] == pytest.approx(np.percentile(late, 99))
    assert results["lateness_us"]["p50"] < results["lateness_us"]["p99"] < results["lateness_us"]["p999"]


def test_hops_are_where_physics_puts_them(run: Run) -> None:
    assert run.hops is not None
    expected = START + STANCE + PERIOD * np.arange(HOPS)
    np.testing.assert_allclose(run.hops.liftoff_time, expected, atol=0.011)
    np.testing.assert_allclose(run.hops.flight_time, FLIGHT, atol=0.02)
    np.testing.assert_allclose(run.hops.touchdown_speed, LIFTOFF, rtol=0.15)
    assert (run.hops.liftoff_spread < 0.011).all() and run.hops.pronk.all()
    at = run.log["/world/base_pose"].position[:, 0]
    np.testing.assert_allclose(run.ground, ground(at), atol=2e-3)


def test_a_simulated_clock_is_late_by_what_it_computed_too_long(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run", {}, 0.0) as log:
        for k in range(200):
            log.write("/sync/stamp", SyncStamp(0.005 * k, k, 0.0, 0.007 if k < 100 else 0.001, np.zeros(5)), 0.005 * k)
    run = measure(read_log(tmp_path / "run"), MASS)
    late, kind = run.lateness()
    np.testing.assert_allclose(late, [2000.0] * 100 + [0.0] * 100, atol=1e-3)
    assert "clock waits" in kind


def test_a_truth_that_is_missing_is_replaced_by_the_tracker(run: Run) -> None:
    bare = dataclasses.replace(run.log, series={t: s for t, s in run.log.series.items() if t != "/rig/base_pose"})
    hops = measure(bare, MASS).hops
    assert hops is not None and len(hops) == HOPS
    np.testing.assert_allclose(hops.apex_gain, APEX, atol=0.03)


def test_a_trip_is_shown_where_it_happened(run: Run) -> None:
    assert trips(run) == [(pytest.approx(6.0), "tracker_stale: the pose tracker is older than 50 ms")]
    for plot in plots(run):
        lines = [s for s in plot.figure.layout.shapes if s.type == "line" and s.x0 == pytest.approx(6.0)]
        assert len(lines) == plot.timed, plot.title


def test_a_log_with_one_topic_still_makes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Recorder(tmp_path / "<b>odd", {}, 0.0) as log:
        for k in range(100):
            log.write("/tracker/pose", Pose(k / 100, np.zeros(3), np.array([1.0, 0, 0, 0])), k / 100)
    results = look.run(look.ReplayConfig(log=str(tmp_path / "<b>odd"), quick=True))
    page = tmp_path / "<b>odd" / "report.html"
    assert capsys.readouterr().out.strip() == str(page)
    text = page.read_text()
    assert "no 3-D replay" in text and "Base height" in text and "Treadmill" not in text
    assert "<b>odd" not in text, "what comes from a log is text, never markup"
    assert results["hops"] is None and results["lateness_us"]["p50"] is None


def test_a_cut_log_is_reported_as_cut(log_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (log_folder / "pronks.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: len(data) // 2])
    results = look.run(look.ReplayConfig(log=str(tmp_path / "cut.mcap"), out=str(tmp_path / "r.html"), quick=True))
    assert "was cut off" in capsys.readouterr().out and "was cut off" in (tmp_path / "r.html").read_text()
    assert results["lost_bytes"] > 0 and results["hops"] < HOPS


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LunarError, match="no log is named"):
        replay.main([])
    with pytest.raises(LunarError, match="does not exist"):
        replay.main([str(tmp_path / "none")])
    with pytest.raises(LunarError, match="did you mean 'frame_rate'"):
        replay.main(["--fram_rate", "3"])
    with pytest.raises(LunarError, match="frame_rate"):
        look.run(look.ReplayConfig(log="x", frame_rate=0.0))


def test_thinning_keeps_the_extremes() -> None:
    time, values = np.linspace(0.0, 1.0, 100_000), np.sin(np.arange(100_000.0))
    values[54_321] = 40.0
    values[54_399] = -40.0
    x, y = thin(time, values)
    assert len(x) <= MAX_POINTS and y.max() == 40.0 and y.min() == -40.0
    assert (np.diff(x) >= 0.0).all()


def test_rotations_take_the_short_way() -> None:
    turn = np.array([[1.0, 0.0, 0.0, 0.0], [-np.cos(0.1), 0.0, 0.0, -np.sin(0.1)]])  # second one is 0.2 rad of yaw
    between = rotations(np.array([0.5]), np.array([0.0, 1.0]), turn)[0]
    assert abs(between @ [np.cos(0.05), 0.0, 0.0, np.sin(0.05)]) == pytest.approx(1.0, abs=1e-6)


def test_the_page_is_small_and_self_contained(made: tuple[Path, dict]) -> None:
    text = made[0].read_text()
    assert made[0].stat().st_size < 3.5e6, "plotly and the player are most of it; a minute's run stays below 5 MB"
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", markup)
    assert not re.search(r"""<(script|link|img)[^>]*(src|href)=["']?https?:""", text)


# Runs in the page: waits until the replay stands at 4.5 s and shows the platform's golden deck, zooms the first plot to
# 2 to 5 s, clicks another at a quarter of its width, waits until the replay has gone there, and tells the test.
PROBE = """<script>
const report = document.body.dataset;
const replay = document.getElementById("replay");
const copy = new OffscreenCanvas(160, 120).getContext("2d", { willReadFrequently: true });

function gold() {
  const shown = [...replay.contentDocument.querySelectorAll("canvas")].find((canvas) => canvas.width > 100);
  if (!shown) return 0;
  copy.drawImage(shown, 0, 0, 160, 120);
  const colors = copy.getImageData(0, 0, 160, 120).data;
  let count = 0;
  for (let i = 0; i < colors.length; i += 4) count += colors[i] > 110 && colors[i] - colors[i + 2] > 60;
  return count;
}

const waiting = setInterval(() => {
  if (report.time !== "4.5") return;
  // asked for now, it runs after the replay's own drawing of the next frame, while the picture can still be read
  replay.contentWindow.requestAnimationFrame(() => {
    if (report.gold || gold() < 100) return;
    report.gold = "seen";
    clearInterval(waiting);
    zoom();
  });
}, 50);

function zoom() {
  const plot = document.getElementById("plot4");
  plot.on("plotly_relayout", () => {
    const { range, _offset, _length } = plot._fullLayout.xaxis;
    report.range = JSON.stringify(range);
    const clientX = plot.getBoundingClientRect().left + _offset + 0.25 * _length;
    plot.dispatchEvent(new MouseEvent("click", { clientX }));
  });
  Plotly.relayout("plot0", { "xaxis.range[0]": 2, "xaxis.range[1]": 5 });
  const waiting = setInterval(() => {
    if (report.time === "4.5") return;
    clearInterval(waiting);
    report.followed = "yes";
  }, 50);
}
</script></body>"""


@pytest.mark.wall_clock
@needs_chromium
def test_it_draws_in_a_browser_without_errors(made: tuple[Path, dict], tmp_path: Path) -> None:
    page = tmp_path / "probed.html"
    page.write_text(made[0].read_text().replace("</body>", PROBE))
    with open_tab(f"file://{page}#t=4.5", tmp_path, 600, 600) as tab:
        told = until(lambda: d if "followed" in (d := tab.evaluate("({...document.body?.dataset})") or {}) else None)
        assert not tab.errors
    assert told["drawn"] == "9"
    assert told["range"] == "[2,5]", "zooming one plot zooms all"
    assert float(told["time"]) == pytest.approx(2.75, abs=0.02), "the replay went to the clicked moment"


def test_what_a_log_says_is_text_on_a_page() -> None:
    bad = "</script><!--<script><img src=x onerror=alert(1)>"
    time = np.arange(3.0)
    page = table_page(bad, bad, [bad], [bad], [[bad]], [curves(bad, bad, time, {bad: time})])
    assert bad not in page and "<img" not in page.replace("<img>", "")
    packed = page.split('id="data">')[1].split("</script>")[0]
    assert json.loads(gzip.decompress(base64.b64decode(packed)))["figures"]


def attached(run: Run, card: str, config: str) -> str:
    """What the page says of a run with these attachments."""
    attachments = {"card.json": card.encode(), "config.json": config.encode()}
    return made_with(dataclasses.replace(run, log=dataclasses.replace(run.log, attachments=attachments)))


def test_the_page_shows_policy_command_and_evaluation(run: Run) -> None:
    text = (ROOT / "policy/zoo/pronk/card.json").read_text()
    shown = attached(
        run, text, '{"policy": "policy/zoo/pronk", "command": {"vx": 0.2, "apex_gain": 0.3, "economy": NaN}}'
    )
    card = json.loads(text)
    for part in (card["weights"][:12], card["training"]["command"], "<td>pronk</td>", "vx 0.2 m/s, apex_gain 0.3 m<"):
        assert part in shown
    assert "<th>flat</th>" in shown and f"{card['metrics']['flat']['pronks']:.3f}" in shown
    assert made_with(run) == "", "a log without a card"


def test_the_page_shows_a_hop(made: tuple[Path, dict]) -> None:
    hop = re.search(r"<h2>A hop</h2>.*?</section>", made[0].read_text(), re.DOTALL)
    assert hop and hop[0].count("<svg") == 2 and "The hop of median apex gain" in hop[0]


@pytest.mark.parametrize(
    "text", ["[1]", "{", '{"metrics": [1], "training": 3, "command": {"vx": "<b>"}, "policy": ["<b>"], "weights": 1}',
             '{"metrics": {"<b>": {"survival": 0.5, "pronks": "<b>"}}, "robot": "<b>", "training": {"command": "<b>"}}',
             '{"metrics": {"\\ud800": {"pronks": 1' + 400 * "0" + '}}, "robot": "\\ud800", "training": {"steps": NaN}}']
)  # fmt: skip
def test_a_strange_card_is_text_or_nothing(run: Run, text: str) -> None:
    shown = attached(run, text, text)
    assert "<b>" not in shown and "nan" not in shown and shown.encode()[:8] in (b"", b"<section")
