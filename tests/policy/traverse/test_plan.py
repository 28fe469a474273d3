"""Plans: within their budgets or refused with what is short; files that say what they mean; robots that obey."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from matrix_hil.cli import main
from policy.traverse.assign import Shortfall
from policy.traverse.config import PlanConfig
from policy.traverse.make import make_plans
from policy.traverse.options import COMPUTERS
from policy.traverse.plan import Plan, load_plan
from policy.traverse.run import results, see
from policy.traverse.table import Cell, make_table
from sim.errors import LunarError
from sim.terrain.cards import load_card
from sim.terrain.cli import main as terrain
from sim.terrain.generators import TerrainConfig, make_terrain

SMALL = PlanConfig(path=[(-6.0, -6.0), (6.0, 6.0)], terrain="mare", size=20.0)


@pytest.fixture(scope="module")
def free() -> Plan:
    """Without a budget."""
    (plan,) = make_plans(SMALL)
    assert isinstance(plan, Plan)
    return plan


def test_a_plan_leads_from_start_to_goal_in_pieces(free):
    assert free.points[0].tolist() == [-6.0, -6.0] and free.points[-1].tolist() == [6.0, 6.0]
    assert free.sum("length") == pytest.approx(12.0 * np.sqrt(2), rel=0.1)
    assert all(s.length < 4.0 and s.joules > 0 and s.falls_high >= s.falls > 0 for s in free.segments)
    assert free.arrival[0] >= free.arrival[1] > 0.5


def test_a_smaller_battery_is_kept_and_costs_survival(free):
    none = make_plans(replace(SMALL, battery=1.0))
    assert isinstance(none, Shortfall)
    name, short, unit = none.rows[0]
    assert (name, unit) == ("battery", "J") and 0 < short < free.sum("joules")
    assert isinstance(make_plans(replace(SMALL, battery=0.99 * (1.0 + short))), Shortfall)
    (tight,) = make_plans(replace(SMALL, battery=1.02 * (1.0 + short)))
    assert (
        tight.sum("joules") <= (1.0 - SMALL.reserve) * 1.02 * (1.0 + short)
        and tight.arrival[1] <= free.arrival[1] + 1e-9
    )


def test_the_big_board_costs_more_where_only_it_may_be_used(free):
    (board,) = make_plans(replace(SMALL, only="board"))
    assert {o.computer for o in board.options} == {"board"} and board.sum("joules") > free.sum("joules")


def test_a_plan_survives_its_file(free, tmp_path):
    free.save(tmp_path / "plan.yaml")
    assert load_plan(tmp_path / "plan.yaml") == free


@pytest.mark.parametrize(
    "change, message",
    [(("option: 0", "option: 9"), "names option 9 of"), (("policy:", "polcy:"), "polcy"),
     (("digest: ", "digest: a"), "other weights")],
)  # fmt: skip
def test_a_plan_that_was_spoilt_is_refused(free, tmp_path, change, message):
    path = tmp_path / "plan.yaml"
    free.save(path)
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(LunarError, match=message):
        load_plan(path)


def test_a_way_with_a_gap_is_refused(free, tmp_path):
    gap = [free.segments[0], *free.segments[2:]]
    replace(free, segments=gap).save(tmp_path / "plan.yaml")
    with pytest.raises(LunarError, match="segment 2 does not start where segment 1 ends"):
        load_plan(tmp_path / "plan.yaml")


@pytest.mark.parametrize(
    "options, message",
    [({"battery": 0.0}, "battery is 0; a budget is above 0"), ({"time": float("nan")}, "time is nan"),
     ({"path": [(0.0, 0.0)]}, "two points"), ({"path": [(0.0, 0.0), (11.0, 0.0)]}, "outside the map"),
     ({"reserve": 1.0}, "reserve is 1"), ({"only": "pc"}, "computer 'pc' is unknown")],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused_by_name(options, message):
    with pytest.raises(LunarError, match=message):
        make_plans(replace(SMALL, **options))


def test_robots_do_as_planned(tmp_path, capsys):
    """Flat ground: all arrive, in the time and for the energy that were expected, and say so."""
    path = tmp_path / "plan.yaml"
    argv = ["--terrain", "flat", "--path", "[[0, 0], [3, 0], [3, 2]]", "--out", str(path), "--battery", "400"]
    main(["traverse", "plan", *argv])
    plan = load_plan(path)
    seen = see(plan, robots=6, seed=1, patience=2.0)
    found = results(plan, seen)
    assert found["arrived"] == found["arrived_within_budget"] == 1.0
    assert found["seconds"] == pytest.approx(found["seconds_expected"], rel=0.4)
    assert found["joules"] == pytest.approx(found["joules_expected"], rel=0.4)
    main(["traverse", "run", str(path), "--robots", "2", "--json", str(tmp_path / "run.json")])
    assert json.loads((tmp_path / "run.json").read_text())["results"]["arrived"] == 1.0
    assert path.with_suffix(".png").stat().st_size > 10_000 and "arrived within" in capsys.readouterr().out


def test_an_infeasible_plan_writes_nothing_and_says_what_is_short(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["traverse", "plan", "--terrain", "flat", "--battery", "10", "--out", str(tmp_path / "plan.yaml")])
    assert end.value.code == 2 and "battery is" in (said := capsys.readouterr().err) and "J short" in said
    assert not list(tmp_path.iterdir())


def test_a_table_goes_on_where_it_ended(tmp_path):
    from policy.traverse.options import Gait

    gaits, cells = [Gait("student_small", 0.55, 0.18)], [Cell("mare", 3, 1), Cell("mare", 3, 2)]
    make_table(gaits, cells[:1], robots=2, seconds=4.0, folder=tmp_path)
    first = (tmp_path / "mare-3-1.npz").stat().st_mtime_ns
    table = make_table(gaits, cells, robots=2, seconds=4.0, folder=tmp_path)
    assert (tmp_path / "mare-3-1.npz").stat().st_mtime_ns == first
    assert set(table.cell) == {0, 1} and table.metres.sum() > 1.0 and (table.joules > 0).all()
    with pytest.raises(LunarError, match="other gaits, policies or lengths"):
        make_table(gaits, cells, robots=3, seconds=4.0, folder=tmp_path)


def test_a_restored_map_leads_by_its_limits_and_the_true_ground_can_be_run(tmp_path, monkeypatch, capsys):
    """The measured map of a mare goes through a filter: the plan says by which limits it was led."""
    monkeypatch.chdir(tmp_path)
    true = make_terrain(TerrainConfig(kind="mare", size=20.0), 0).heights
    np.save("measured.npy", true + np.random.default_rng(0).normal(0.0, 0.02, true.shape))
    np.save("other.npy", true)
    terrain(["restore", "measured.npy", "--resolution", "0.05", "--method", "wiener", "--noise", "white-2cm", "--out",
             "site.npy"])  # fmt: skip
    for name in ("site", "other"):
        Path(f"{name}.yaml").write_text(f"dem: {{path: {name}.npy, resolution: 0.05}}\n")
    common = ["--path", "[[-1, -1], [1, 0]]", "--size", "19.0"]
    main(["traverse", "plan", "--terrain", "site.yaml", "--out", "plan.yaml", "--json", "plan.json", *common])
    limits = load_card("wiener").limit("white-2cm").limits
    plan = load_plan("plan.yaml")
    assert (plan.limits.method, plan.limits.slope, plan.limits.step) == ("wiener", limits.slope, limits.step)
    assert f"(unsafe from {limits.slope:.1f}°" in " ".join(capsys.readouterr().out.split())
    assert json.loads(Path("plan.json").read_text())["results"]["limits"]["noise"] == "white-2cm"
    main(["traverse", "plan", "--terrain", "other.yaml", "--out", "true.yaml", *common])
    assert load_plan("true.yaml").limits is None
    main(["traverse", "run", "plan.yaml", "--terrain", "other.yaml", "--robots", "1", "--json", "run.json"])
    assert json.loads(Path("run.json").read_text())["results"]["robots"] == 1
    Path("site.json").write_text(Path("site.json").read_text().replace('"digest": "', '"digest": "0'))
    with pytest.raises(LunarError, match="another map"):
        make_plans(PlanConfig(terrain="site.yaml"))


# ---- fleets ----------------------------------------------------------------------------------------------------------

FLEET = replace(SMALL, paths=[[(-6.0, -6.0), (6.0, 6.0)], [(-6.0, 4.0), (2.0, 4.0)]], safe=False)


def test_a_fleet_without_shared_budgets_plans_as_each_robot_would_alone():
    together = make_plans(FLEET)
    alone = [make_plans(replace(SMALL, path=path, safe=False))[0] for path in FLEET.paths]
    assert [plan.points.tolist() for plan in together] == [plan.points.tolist() for plan in alone]
    for one, other in zip(together, alone, strict=True):
        assert [one.options[k].title for k in one.choice] == [other.options[k].title for k in other.choice]


def test_a_store_is_shared_and_the_worst_off_gains_by_it():
    free = make_plans(FLEET)
    least = make_plans(replace(FLEET, robust=False, energy=1.0))  # only joules count
    low, high = (sum(plan.sum("joules") for plan in plans) for plans in (least, free))
    store = 0.5 * (low + high) / (1.0 - FLEET.reserve)
    most, fair = make_plans(replace(FLEET, store=store)), make_plans(replace(FLEET, store=store, worst=True))
    for plans in (most, fair):
        assert sum(plan.sum("joules") for plan in plans) <= (1.0 - FLEET.reserve) * store * (1.0 + 1e-4)
    assert min(p.arrival[1] for p in fair) >= min(p.arrival[1] for p in most) - 1e-3
    assert np.prod([p.arrival[1] for p in fair]) <= np.prod([p.arrival[1] for p in most]) + 1e-2
    short = make_plans(replace(FLEET, store=0.5 * low))
    assert isinstance(short, Shortfall) and short.rows[0][0] == "store"


def test_a_computer_at_the_lander_serves_no_more_than_it_can(tmp_path):
    text = COMPUTERS.read_text().replace("    watts: 7.0\n", "    watts: 0.5\n    serves: 1\n")
    text = text.replace("    watts: 0.2\n", "    watts: 30.0\n")  # what a robot carries is to be avoided
    (tmp_path / "computers.yaml").write_text(text)
    cfg = replace(FLEET, computers=str(tmp_path / "computers.yaml"), change=0.0, energy=1e-3)
    plans = make_plans(cfg)
    places = [[plan.options[k].computer == "board" for k in plan.choice] for plan in plans]
    both = [a and b for a, b in zip(*places, strict=False)]
    assert not any(both) and any(any(p) for p in places)
    short = make_plans(replace(cfg, only="board"))
    assert isinstance(short, Shortfall) and short.rows[0][0] == "cores"


def test_plans_of_a_fleet_are_numbered(tmp_path, capsys):
    out = ["--out", str(tmp_path / "plan.yaml"), "--json", str(tmp_path / "plan.json")]
    way = ["--terrain", "mare", "--size", "20", "--safe", "false"]
    main(["traverse", "plan", "--paths", "[[[-6, -6], [6, 6]], [[-6, 4], [2, 4]]]", *way, *out])
    assert sorted(p.name for p in tmp_path.glob("*.yaml")) == ["plan-1.yaml", "plan-2.yaml"]
    assert "worst off" in capsys.readouterr().out
    found = json.loads((tmp_path / "plan.json").read_text())["results"]["robots"]
    assert [f["length"] for f in found] == pytest.approx([17.0, 8.0], abs=0.1)
    with pytest.raises(SystemExit):
        main(["traverse", "plan", "--worst", "true", *way, *out])
    assert "--paths" in capsys.readouterr().err
