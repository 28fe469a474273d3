"""Map filters: what they leave alone, what they take out, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from sim.errors import LunarError
from sim.terrain.cards import SHELF, FilterCard, Limit, card_json, load_card
from sim.terrain.danger import NOMINAL, Limits
from sim.terrain.filters import apply, filter_names, named_filter
from sim.terrain.generators import build_terrain, load_terrain
from sim.terrain.restore import FILTERS, despiked, filled, noise_level


@pytest.fixture(scope="module")
def ground() -> np.ndarray:
    from dataclasses import replace

    return build_terrain(replace(load_terrain("blocky"), size=6.0), 3).field.heights.astype(float)


@pytest.mark.parametrize("name", filter_names())
def test_a_tilted_plane_comes_back_as_it_was(name):
    y, x = np.mgrid[:70, :90] * 0.05
    plane = 0.2 * x - 0.1 * y + 3.0
    restored = apply(named_filter(name), plane, 0.05, name)
    np.testing.assert_allclose(restored[20:-20, 20:-20], plane[20:-20, 20:-20], atol=2e-3)


@pytest.mark.parametrize("name", filter_names())
@pytest.mark.parametrize("shape", [(8, 8), (3, 40), (62, 62), (33, 130)])
def test_any_shape_with_holes_comes_back_whole(name, shape):
    z = np.random.default_rng(1).normal(0.0, 0.02, shape)
    z[1:3, 2:6] = np.nan
    restored = apply(named_filter(name), z, 0.05, name)
    assert restored.shape == shape
    assert np.isfinite(restored).all()


@pytest.mark.parametrize("name", sorted(set(FILTERS) - {"fill"}))
def test_noise_becomes_less_and_the_ground_does_not_move(name, ground):
    noisy = ground + np.random.default_rng(2).normal(0.0, 0.03, ground.shape)
    restored = apply(named_filter(name), noisy, 0.05, name)
    assert np.sqrt(np.mean((restored - ground) ** 2)) < 0.7 * 0.03
    assert abs(np.mean(restored - ground)) < 0.003


def test_filling_leaves_what_is_known_and_stays_between_a_holes_edges():
    z = np.random.default_rng(3).normal(0.0, 0.01, (40, 40))
    z[10:20, 10:25] = np.nan
    restored = filled(z)
    known = np.isfinite(z)
    np.testing.assert_array_equal(restored[known], z[known])
    assert np.abs(restored[~known]).max() < 0.04


def test_samples_of_a_coarse_map_are_met_exactly_and_a_slope_between_them_too():
    y, x = np.mgrid[:41, :61] * 0.05
    plane, z = 0.3 * x + 0.1 * y, np.full((41, 61), np.nan)
    z[::4, ::4] = plane[::4, ::4]
    np.testing.assert_allclose(filled(z), plane, atol=1e-12)


def test_outliers_go_and_rocks_stay(ground):
    rng = np.random.default_rng(4)
    wild = rng.random(ground.shape) < 0.005
    z = np.where(wild, ground + rng.choice([-0.6, 0.6], ground.shape), ground)
    restored = despiked(z, 0.05)
    assert np.abs(restored - ground)[wild].max() < 0.3
    assert (despiked(ground, 0.05) != ground).mean() < 0.001


def test_the_noise_is_measured_on_tilted_ground():
    z = 0.5 * np.arange(200) * 0.05 + np.random.default_rng(5).normal(0.0, 0.02, (200, 1, 200))[:, 0]
    assert noise_level(z) == pytest.approx(0.02, rel=0.1)
    assert noise_level(np.zeros((9, 9))) == 0.0


@pytest.mark.parametrize(
    ("heights", "said"),
    [(np.full((20, 20), np.nan), "no known height"), (np.ones((20, 20)), "all known heights"),
     (np.zeros((5, 5)), "too small"), (np.zeros((2, 500)), "too small"), (np.zeros(400), "too small")],
)  # fmt: skip
def test_what_is_no_map_is_refused(heights, said):
    with pytest.raises(LunarError, match=said):
        apply(named_filter("gauss1"), heights, 0.05)


@pytest.mark.parametrize(
    ("body", "said"),
    [("return z[1:]", "shape"), ("return z * float('nan')", "no height at 400"), ("return 1 / 0", "ZeroDivisionError"),
     ("return 'map'", "failed|shape")],
)  # fmt: skip
def test_a_filter_of_ones_own_that_breaks_the_map_is_refused(tmp_path, body, said):
    file = tmp_path / "mine.py"
    file.write_text(f"def mine(z, resolution):\n    {body}\n")
    own = named_filter(f"{file}:mine", code=True)
    with pytest.raises(LunarError, match=said):
        apply(own, np.random.default_rng(6).normal(size=(20, 20)), 0.05)


def test_code_runs_only_where_a_user_names_it(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("raise SystemExit('it ran')\n")
    with pytest.raises(LunarError, match="unknown; choose one of fill"):
        named_filter(f"{file}:mine")
    with pytest.raises(LunarError, match="does not exist"):
        named_filter(f"{tmp_path / 'other.py'}:mine", code=True)


@pytest.mark.parametrize("name", filter_names())
def test_every_shipped_filter_has_limits_for_every_noise(name):
    card = load_card(name)
    assert card.name == name
    assert card.noise.keys() == load_card("fill").noise.keys()
    for entry in card.noise.values():
        assert entry.false_alarms <= 0.10 + 1e-9
        assert entry.missed >= 0.0
    assert card.limit("unknown").limits.slope == min(e.limits.slope for e in card.noise.values())


def test_each_noise_has_one_recommended_filter():
    recommended = [noise for name in filter_names() for noise in load_card(name).recommended]
    assert sorted(recommended) == sorted(load_card("fill").noise)


def test_a_card_is_read_as_it_was_written_and_a_wrong_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sim.terrain.cards.SHELF", tmp_path)
    entry = Limit(Limits(9.0, 0.02), 0.2, 0.1, 0.09, 0.5, 40.0)
    card = FilterCard("mine", "forty patches", "", {"holes": entry}, ("holes",))
    (tmp_path / "mine.json").write_text(card_json(card))
    assert load_card("mine") == card
    assert card.limit("holes").limits.slope < NOMINAL.slope
    with pytest.raises(LunarError, match="no noise class 'fog'; choose one of holes, unknown"):
        card.limit("fog")
    with pytest.raises(LunarError, match="no limits are known"):
        load_card("other")
    good = (tmp_path / "mine.json").read_text()
    for bad in (good.replace("9.0", "NaN"), good.replace('"format": 1', '"format": 7'), good[:50], "[]"):
        (tmp_path / "mine.json").write_text(bad)
        with pytest.raises(LunarError, match=r"mine\.json is no filter's card"):
            load_card("mine")


def test_a_card_without_its_network_is_refused(tmp_path):
    card = FilterCard("net", "", "0" * 64, load_card("wiener").noise, ())
    (tmp_path / "net.json").write_text(card_json(card))
    with pytest.raises(LunarError, match="belongs to another network"):
        load_card(str(tmp_path / "net.onnx"))
    (tmp_path / "net.onnx").write_bytes(b"something else")
    with pytest.raises(LunarError, match="belongs to another network"):
        named_filter(str(tmp_path / "net.onnx"))


def test_the_shelf_is_small():
    assert sum(path.stat().st_size for path in SHELF.iterdir()) < 3 * 2**20
