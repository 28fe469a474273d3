"""lunar bench subset: what is planted is there and gone again, draws are as they say, results have the bars' keys."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import subset
from benchmarks.subset import RARE, Config, draw
from benchmarks.subset_hops import HELD, SHOWN, Planted, Rare, simulate
from matrix_hil import cli
from matrix_hil.log.hops import FEATURES
from sim.errors import LunarError


class World:
    """Of two robots, with nothing but their number."""

    num_envs = 2


def test_something_rare_happens_to_one_robot_and_ends() -> None:
    struck: list[tuple[int, list[int], bool]] = []

    def strike(_: object, ids: torch.Tensor, on: bool) -> None:
        struck.append((planted.step, ids.tolist(), on))

    def sense(rows: torch.Tensor) -> None:
        rows += 1.0

    def late(now: torch.Tensor, old: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        return torch.stack([old[:, 0], first[:, 0]], dim=1).repeat(1, 6)

    planted = Planted({"a": Rare(strike=strike, sense=sense, steps=4), "b": Rare(move=late, steps=3)})
    planted.begin(World(), torch.tensor([2, 5]))  # type: ignore[arg-type]
    seen, moved = [], []
    for step in range(10):
        planted.step = step
        seen.append(planted.sense(torch.zeros(2, 42))[:, 0].tolist())
        moved.append(planted.move(torch.full((2, 12), float(step)))[:, :2].tolist())
    assert struck == [(2, [0], True), (6, [0], False)]
    assert [row[0] for row in seen] == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0] and not any(row[1] for row in seen)
    assert [row[1] for row in moved[4:9]] == [[4, 4], [3, 5], [4, 5], [5, 5], [8, 8]], "two steps ago, and at the onset"
    assert [row[0] for row in moved] == [[k, k] for k in range(10)]


def test_a_draw_has_so_many_of_each_kind() -> None:
    kind = np.concatenate([np.full(6000, -1), np.repeat(np.arange(12), 25)])
    values = np.arange(len(kind), dtype=float)[:, None]
    first, labels = draw(values, kind, 10 * RARE, np.random.default_rng(0))
    assert len(first) == len(np.unique(first)) == 10 * RARE
    assert [int((labels == k).sum()) for k in range(12)] == [10] * 12
    assert (kind[first[:, 0].astype(int)] == labels).all()
    assert (draw(values, kind, 10 * RARE, np.random.default_rng(1))[0] != first).any()


def test_hops_are_labelled_where_something_was_planted() -> None:
    values, kind = simulate("policy/zoo/dual", 12, 12.0, SHOWN, 0)
    assert values.shape == (len(kind), len(FEATURES)) and set(kind.tolist()) <= set(range(-1, 12))
    assert (kind >= 0).sum() >= 8 and (kind == -1).any()
    known = [name for name, column in zip(FEATURES, values.T, strict=True) if np.isfinite(column).any()]
    assert {"work", "joints_RR", "RL_calf", "pitch", "share_FL"} <= set(known) and "rope_peak" not in known
    gains = values[kind == -1, list(FEATURES).index("apex_gain")]
    assert 0.05 <= gains.min() and gains.max() < 1.0


def test_no_kind_is_in_both_sets() -> None:
    assert len(SHOWN) == len(HELD) == 12 and not set(SHOWN) & set(HELD)


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """Made-up hops where a run would have put simulated ones."""
    rng = np.random.default_rng(0)
    least = np.array([f[2] for f in FEATURES.values()])
    card = json.loads((Path(subset.find_policy("policy/zoo/dual")) / "card.json").read_text())
    folder = tmp_path / f"{card['weights'][:12]}-4x9-0"
    folder.mkdir()
    for name in ("shown", "held out"):
        kind = np.concatenate([np.full(700, -1), np.repeat(np.arange(12), 12)])
        values = rng.normal(0.0, 3.0, (len(kind), len(least)))
        values[np.arange(len(kind)), np.maximum(kind, 0)] += 24.0 * (kind >= 0)
        np.savez(folder / f"{name}.npz", values=values * least, kind=kind)
    return tmp_path


def test_results_are_data(cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.json"
    cli.main(
        ["bench", "subset", "--quick", "--robots", "4", "--seconds", "9", "--cache", str(cached), "--json", str(out)]
    )
    results = json.loads(out.read_text())["results"]
    keys = "rare_found rare_random rare_k_centre mean_error_deviations w2_over_random select_8000_s claims".split()
    assert set(keys) <= set(results) and results["hops"] == {"shown": 844, "held out": 844}
    assert results["rare_found"] > 10.0 > results["rare_random"], "what is far off in one feature each is found"
    assert results["w2_over_random"] < 1.0 and results["mean_error_deviations"] < 0.1
    assert all(set(claim) == {"claim", "measured", "holds"} for claim in results["claims"])
    assert "log-det" in capsys.readouterr().out


def test_quick_simulates_nothing(tmp_path: Path) -> None:
    with pytest.raises(LunarError, match="without --quick"):
        subset.run(Config(quick=True, cache=str(tmp_path)))
