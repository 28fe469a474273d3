"""The traverse benchmark: its grounds, and that its figures follow from the runs that it kept."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import traverse
from benchmarks.traverse import Config
from benchmarks.traverse_trials import HELD_GROUND
from benchmarks.traverse_ways import BLOCK, BLOCKS, BUDGETS, Traverse, make_traverse, strip
from policy.traverse.options import load_computers, options_of
from policy.traverse.table import load, packed
from sim.errors import LunarError
from sim.output import write_whole


def test_a_strip_has_no_steps_where_its_grounds_meet():
    field = strip(np.random.default_rng(3), bunched=True)
    rises = np.abs(np.diff(field.heights, axis=1))
    seams = [round(k * BLOCK / field.resolution) for k in range(1, BLOCKS)]
    assert np.percentile(rises[:, seams], 99) <= 1.5 * np.percentile(rises, 99)
    assert field.heights.shape == (241, 1441) and np.isfinite(field.heights).all()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Traverse]:
    """One traverse, whose robots all arrive for what was expected, but one in four by one option for all."""
    cfg = Config(traverses=1, rounds=1, cache=str(tmp_path_factory.mktemp("cache")), quick=True)
    table, computers = load(), load_computers()
    fitted = table.on(lambda c: c.seed <= cfg.train and c.ground != HELD_GROUND)
    made = make_traverse(cfg.seed, 0, fitted, computers, options_of(table.gaits, computers))
    plans = made.plans
    constant = (plans == plans[:, :1]).all(1)
    rows = np.arange(plans.shape[1])
    joules = np.array([made.ways.joules[rows, plan].sum() for plan in plans])
    runs = {
        "plans": plans, "arrived": np.repeat(~constant[:, None], 8, 1), "joules": np.repeat(joules[:, None], 8, 1),
        "fell": np.repeat(constant[:, None], 8, 1), "metres": np.full((len(plans), 8), 60.0),
    }  # fmt: skip
    runs["arrived"][constant, :2] = True
    write_whole({traverse.cache(cfg, table) / "0-0.npz": packed(runs)})
    return cfg, made


def constant(made: Traverse) -> int:
    """Plans of one option."""
    return int((made.plans == made.plans[:, :1]).all(1).sum())


def test_figures_follow_from_the_runs(kept):
    cfg, made = kept
    found = traverse.run(cfg)
    planned = [f"constant {b:g}" in made.choices for b in BUDGETS]
    assert found["arrivals"]["constant"] == [25.0 * p for p in planned]
    for name, values in found["arrivals"].items():
        for budget, value in zip(BUDGETS, values, strict=True):
            choice = made.choices.get(f"{name} {budget:g}")
            alone = choice is not None and len(set(choice.tolist())) == 1
            assert value == (0.0 if choice is None else 25.0 if alone else 100.0)
    gain = np.subtract(found["arrivals"]["routed, robust"], found["arrivals"]["constant"])
    assert found["gain_points"] == pytest.approx(gain.mean()) and found["worst_loss_points"] == 0.0
    assert found["energy_prediction_error"] == pytest.approx(0.0, abs=1e-9) and found["within_battery"] == 1.0
    assert found["neither_fell_nor_arrived"] == 0.0 and found["promise"]["arrived"] in (0.25, 1.0)
    assert (
        sum(seen for _, seen in found["falls_expected_and_seen_by_thirds"]) == found["falls_seen"] == 8 * constant(made)
    )
    assert {"gain_points_low95", "gain_between_constants", "energy_saved_mcu", "milp_p95_s"} <= set(found)
    assert all({"claim", "measured", "holds"} == set(claim) for claim in found["claims"])
    traverse.show(found)


def test_without_runs_there_is_nothing_to_score(tmp_path):
    with pytest.raises(LunarError, match="without --quick first"):
        traverse.run(Config(traverses=1, cache=str(tmp_path), quick=True))


def test_trials_of_maps_left_out_are_scored_without_runs():
    found = traverse.run(Config(traverses=0, quick=True))
    rows = found["trials"]
    assert {r["choice"] for r in rows} == {"constant", "per segment", "per segment, robust"}
    table = load()
    for row in rows:
        assert 0 < row["falls"] < table.fell.sum() and 0.0 < row["metres"] < table.metres.sum()
        assert row["per_100_m"] == pytest.approx(100.0 * row["falls"] / row["metres"])
    dear = [r["joules_per_metre"] for r in rows if r["choice"] == "per segment"]
    assert dear[-1] < dear[0], "where joules count, fewer are taken"
    traverse.show(found)
