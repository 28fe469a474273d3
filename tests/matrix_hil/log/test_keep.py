"""Which hops are kept: features are physics, the odd one is found, averages stay right, excerpts hold what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from matrix_hil.log import read_log
from matrix_hil.log.hops import FEATURES, POINTS
from matrix_hil.log.keep import AROUND_TRIP, DayLog, choose, read_day, scaled, windows_of, write_excerpts
from matrix_hil.log.recover import recover
from sim.errors import LunarError
from tests.matrix_hil.made_bags import chatter
from tests.matrix_hil.synthetic_log import APEX, FLIGHT, MASS, PERIOD, SPEED, STANCE, START, write_log

NAMES = list(FEATURES)
TRIP = 11.0


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> DayLog:
    folder = tmp_path_factory.mktemp("logs") / "run"
    return read_day(write_log(folder, seconds=14.0, trip_at=TRIP, jerk=START + 3 * PERIOD + STANCE + 0.2), "", MASS)


def feature(values: np.ndarray, name: str) -> np.ndarray:
    return values[:, NAMES.index(name)]


def made(hops: int, seed: int = 0) -> np.ndarray:
    """Features of ordinary hops."""
    return np.random.default_rng(seed).normal(0.0, 1.0, (hops, len(FEATURES))) * [f[2] * 3.0 for f in FEATURES.values()]


# ---- features -------------------------------------------------------------------------------------------------------


def test_features_are_those_of_the_run(day: DayLog) -> None:
    hops, flown = day.hops, slice(1, 8)
    assert len(hops) >= 8
    np.testing.assert_allclose(hops.liftoff, START + STANCE + PERIOD * np.arange(len(hops)), atol=0.011)
    expected = {
        "apex_gain": (APEX, 0.035), "apex_error": (0.0, 0.035), "flight_time": (FLIGHT, 0.02), "vx": (SPEED, 1e-6),
        "stance": (STANCE, 0.02), "share_FL": (0.2625, 0.01), "share_FR": (0.2375, 0.01),
        "velocity_x_error": (0.0, 0.05), "spin": (0.0, 1e-6), "tracker_error": (0.003, 0.012),
        "pitch": (0.0, 1e-6), "roll": (0.0, 1e-6),
    }  # fmt: skip
    for name, (value, tolerance) in expected.items():
        np.testing.assert_allclose(feature(hops.values, name)[flown], value, atol=tolerance, err_msg=name)
    peaks = feature(hops.values, "rope_peak")
    assert int(np.argmax(peaks)) == 3 and peaks[3] > 50.0
    rising = np.delete(feature(hops.values, "rope_rising"), 3)
    assert np.abs(rising).max() < 2.0 < feature(hops.values, "rope_rising")[3]
    assert np.isnan(feature(hops.values, "doubt")).all(), "the log has no monitor"
    assert hops.curves.shape == (len(hops), POINTS, 6)
    np.testing.assert_allclose(hops.curves[flown, :, 0].max(1), APEX + 0.06, atol=0.06)


def test_a_log_that_shows_no_hops_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(LunarError, match=r"foot_contacts.*--map"):
        read_day(chatter(tmp_path / "a.mcap"), "", MASS)


# ---- choice ---------------------------------------------------------------------------------------------------------


def test_an_odd_hop_is_among_those_that_differ_and_says_why() -> None:
    values = made(400)
    values[123, NAMES.index("rope_peak")] = 80.0
    choice = choose(values, 12)
    odd = {kept.row: kept for kept in choice.kept if kept.differs}
    assert len(choice.kept) == 12 and len(odd) == 6 and choice.kept[0].row == 123
    name, value, others = odd[123].why[0]
    assert name == "rope_peak" and value == 80.0 and abs(others) < 10.0


def test_weighted_means_over_the_kept_are_near_those_over_all() -> None:
    """Of hops that vary in three ways, seldom much."""
    rng = np.random.default_rng(0)
    least = np.array([f[2] for f in FEATURES.values()])
    values = 0.3 * made(600) + rng.exponential(3.0, (600, 3)) @ rng.normal(0.0, 1.0, (3, len(FEATURES))) * least
    kept = choose(values, 24).kept
    rows, weights = [k.row for k in kept], np.array([k.weight for k in kept])
    features = scaled(values)[0]
    assert weights.sum() == pytest.approx(1.0) and (weights >= 0.0).all()
    off = np.abs(weights @ features[rows] - features.mean(0)).mean()
    plain = np.abs(features[rows].mean(0) - features.mean(0)).mean()
    chance = [features[rng.choice(600, 24, replace=False)].mean(0) - features.mean(0) for _ in range(20)]
    assert off < 0.1 * plain and off < 0.5 * np.abs(chance).mean()
    shares = np.array([k.share for k in kept])
    assert np.abs(shares @ features[rows] - features.mean(0)).mean() < plain, "which they begin from"


def test_what_says_nothing_is_dropped_and_named() -> None:
    values = made(50)
    values[:, NAMES.index("economy")] = 0.5
    values[:, NAMES.index("doubt")] = np.nan
    values[:30, NAMES.index("rise")] = np.nan
    values[0, NAMES.index("touchdown_spread")] = np.inf
    values[1, NAMES.index("yaw")] = np.nan
    features, used, dropped = scaled(values)
    assert dropped == {"economy": "constant", "doubt": "not known", "rise": "known of less than half of the hops"}
    assert np.isfinite(features).all() and features.shape == (50, len(used)) and set(used) | set(dropped) == set(NAMES)
    assert features[0, used.index("touchdown_spread")] == 8.0 and features[1, used.index("yaw")] == 0.0


def test_differences_below_what_means_anything_do_not_count() -> None:
    values = np.zeros((40, len(FEATURES)))
    values[:, NAMES.index("slope_error")] = np.linspace(0.0, 1e-5, 40)
    values[7, NAMES.index("peak_force")] = 5.0
    _, used, _ = scaled(values)
    assert used == ("peak_force",)
    assert 7 in [kept.row for kept in choose(values, 2).kept]


@pytest.mark.parametrize("k", [1, 2, 3, 39, 40, 100])
def test_as_many_as_asked_for_or_all(k: int) -> None:
    kept = choose(made(40), k).kept
    assert len({hop.row for hop in kept}) == len(kept) == min(k, 40)
    assert sum(hop.share for hop in kept) == pytest.approx(1.0)


def test_the_same_hop_twice_is_kept_once_and_counts_twice() -> None:
    values = made(6)
    choice = choose(np.concatenate([values, values[:2]]), 7)
    assert sorted(kept.row for kept in choice.kept) == [0, 1, 2, 3, 4, 5]
    weights = {kept.row: kept.weight for kept in choice.kept}
    assert [weights[row] for row in range(3)] == pytest.approx([0.25, 0.25, 0.125])
    assert {kept.row: kept.share for kept in choice.kept} == pytest.approx(weights)
    alike = choose(np.zeros((5, len(FEATURES))), 3)
    assert [(kept.row, kept.share, kept.weight) for kept in alike.kept] == [(0, 1.0, 1.0)]


# ---- excerpts -------------------------------------------------------------------------------------------------------


def test_an_excerpt_holds_its_windows_and_opens_everywhere(day: DayLog, tmp_path: Path) -> None:
    windows = windows_of(day, [1, 3])
    assert len(day.trips) == 1 and day.trips[0][1].startswith("tracker_stale")
    assert windows[-1] == pytest.approx((TRIP - AROUND_TRIP, TRIP + AROUND_TRIP), abs=0.01)
    size = write_excerpts(day, {tmp_path / "part": windows})
    path = tmp_path / "part" / "part.mcap"
    assert size == path.stat().st_size < day.bag.scans[0].size
    whole, part = read_log(day.path), read_log(path)
    assert part.epoch == whole.epoch and part.attachments == whole.attachments and part.lost is None
    for topic in ("/robot/imu", "/counterweight/state"):
        time = whole[topic].log_time
        inside = np.any([(a - 1e-9 <= time) & (time <= b + 1e-9) for a, b in windows], axis=0)
        np.testing.assert_array_equal(part[topic].log_time, time[inside])
    assert all((np.diff(series.log_time) >= 0.0).all() for series in part.series.values())
    before = part["/twin/patch"].log_time
    assert before[0] < windows[0][0], "the ground on which the robot stood was read before the window"
    with open(path, "rb") as stream:
        assert sum(1 for _ in make_reader(stream).iter_messages()) == part.messages
    with Reader(tmp_path / "part") as bag:
        assert bag.message_count == part.messages
    assert recover(path, tmp_path / "again")["messages"] == part.messages
