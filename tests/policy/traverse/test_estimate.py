"""What a table says: rates that were put in come out, doubt covers them, and the shipped table is of the zoo."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from policy.traverse.estimate import estimate, fit_hazard, upper
from policy.traverse.make import Ways
from policy.traverse.options import Gait, gaits_of, load_computers, options_of
from policy.traverse.table import SHIPPED, Cell, Table, load, packed, save
from sim.errors import LunarError
from sim.terrain.segments import FEATURES

GAITS = tuple(gaits_of(("dual", "student_small")))
SLOPE = FEATURES.index("across_2m")


def made(seed: int, maps: int = 40, rows: int = 120) -> tuple[Table, np.ndarray]:
    """Trials whose falls per metre rise with the slope, by gait, and those rates (R,)."""
    rng = np.random.default_rng(seed)
    n = maps * rows
    features = np.abs(rng.normal(0.1, 0.05, (n, len(FEATURES))))
    gait = rng.integers(len(GAITS), size=n)
    rate = np.array([0.01, 0.02, 0.01, 0.02, 0.04, 0.04, 0.02, 0.01])[gait] * np.exp(12.0 * (features[:, SLOPE] - 0.1))
    metres = np.full(n, 2.5)
    table = Table(
        GAITS, tuple(["x"] * len(GAITS)), tuple(Cell("mare", 9, k) for k in range(maps)), gait, np.arange(n) // rows,
        features, metres, metres * 2.0, metres * (20.0 + 30.0 * features[:, SLOPE]), rng.random(n) < rate * metres,
    )  # fmt: skip
    return table, rate


def test_rates_that_were_put_in_come_out():
    table, rate = made(0)
    found = estimate(table, table.features)
    rows = np.arange(len(rate))
    guess, high = found.falls[rows, table.gait], upper(found.falls, found.again)[rows, table.gait]
    assert np.corrcoef(np.log(guess), np.log(rate))[0, 1] > 0.8
    for part in np.array_split(np.argsort(guess), 3):
        assert guess[part].mean() == pytest.approx(rate[part].mean(), rel=0.3)
    assert np.all(high >= guess) and 1.05 < np.median(high / guess) < 2.5
    assert np.percentile(np.abs(found.joules / (20.0 + 30.0 * table.features[:, [SLOPE]]) - 1.0), 95) < 0.02
    assert found.seconds == pytest.approx(2.0)


def test_fewer_maps_are_more_doubt():
    few, many = made(1, maps=8)[0], made(1, maps=60)[0]
    spreads = []
    for table in (few, many):
        again = fit_hazard(table).again(many.features[:200])
        spreads.append(np.median(again.std(0) / again.mean(0)))
    assert spreads[0] > 1.4 * spreads[1]


def test_rows_of_one_map_that_repeat_add_no_certainty():
    """Every row four times: a bootstrap of rows would halve the doubt, one of maps does not."""
    table, _ = made(2, maps=20)
    copies = table.rows(np.repeat(np.arange(len(table.gait)), 4))
    once, four = (fit_hazard(t).again(table.features[:200]).std(0) for t in (table, copies))
    assert np.median(four / once) > 0.9


def test_the_same_seed_gives_the_same_estimate():
    table, _ = made(3, maps=6)
    first, second = (estimate(table, table.features[:9], seed=5) for _ in range(2))
    assert np.array_equal(first.again, second.again)


def test_a_gait_without_trials_is_named():
    table, _ = made(4, maps=4)
    with pytest.raises(LunarError, match=r"no trial of dual 0.3 m/s, 0.18 m"):
        estimate(table.rows(table.gait != 0), table.features[:1])


def test_the_shipped_table_is_of_the_zoo_and_small():
    table = load()
    assert SHIPPED.stat().st_size < 2e6
    assert len(table.cells) == 90 and {g.policy for g in table.gaits} >= {"dual", "student_small"}
    assert np.isfinite(table.features).all() and table.fell.sum() > 100
    assert all(table.metres[table.gait == k].sum() > 500 for k in range(len(table.gaits)))


def test_a_table_survives_its_file(tmp_path):
    table = load().on(lambda cell: cell.seed == 1)
    save(table, tmp_path / "t.npz")
    again = load(tmp_path / "t.npz")
    assert again.gaits == table.gaits and np.array_equal(again.features, table.features)


def test_tables_of_other_weights_and_broken_files_are_refused(tmp_path):
    table = load()
    save(replace(table, digests=("0" * 64, *table.digests[1:])), tmp_path / "old.npz")
    (tmp_path / "text.npz").write_text("no table")
    (tmp_path / "odd.npz").write_bytes(packed({"about": np.array(json.dumps({"gaits": []}))}))
    for name, message in (("old", "other weights of dual"), ("text", "cannot be read"), ("odd", "cannot be read"),
                          ("none", "does not exist")):  # fmt: skip
        with pytest.raises(LunarError, match=message):
            load(tmp_path / f"{name}.npz")


def test_a_large_policy_does_not_fit_a_small_computer():
    computers = load_computers()
    options = options_of([Gait("dual", 0.3, 0.2), Gait("student_small", 0.3, 0.2)], computers)
    assert {(o.gait, o.computer) for o in options} == {(0, "board"), (1, "mcu"), (1, "board")}
    with pytest.raises(LunarError, match="'pc' is unknown; choose from mcu, board"):
        options_of(GAITS, computers, ["pc"])
    with pytest.raises(LunarError, match="no policy of the table fits mcu"):
        options_of([Gait("dual", 0.3, 0.2)], computers, ["mcu"])


def test_doubt_that_options_share_does_not_count_against_the_usual_one():
    """The second falls half as often by every bootstrap, however much these differ; the third by the mean alone."""
    rng = np.random.default_rng(0)
    common = rng.lognormal(0.0, 0.8, (50, 4, 1))
    again = common * np.concatenate([[1.0, 0.5], [0.5]]) * 0.02
    again[:, :, 2] = 0.01 * rng.lognormal(0.0, 1.5, (50, 4))
    ways = Ways((), np.ones(4), again.mean(0), again, np.ones((4, 3)), np.ones((4, 3)))
    usual = np.zeros(4, dtype=int)
    falls = ways.against(usual)
    assert np.allclose(falls[:, 0], ways.falls[:, 0]) and np.all(falls[:, 1] < falls[:, 0])
    assert np.all(falls[:, 2] > falls[:, 0]), "not in nine of ten"
    plain = ways.problem(None, None, robust=False).quality
    assert np.array_equal(plain, -ways.falls)
