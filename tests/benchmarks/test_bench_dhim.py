"""The comparison of internal models: finished runs are kept, numbers come from all seeds."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from benchmarks import dhim
from benchmarks.dhim import Config, Run, markdown
from sim.errors import LunarError


def row(variant: str, seed: int, **metrics: float) -> dict[str, object]:
    return {"variant": variant, "seed": seed, "suite": "mare", **metrics}


def test_the_table_shows_mean_and_spread_over_seeds():
    rows = [row("dual", 1, survival=0.9), row("dual", 2, survival=1.0), row("mlp", 1, survival=0.5)]
    table = markdown(rows, ["mare"], ["mlp", "dual", "him"])
    assert "| | mlp (1 seed) | dual (2 seeds) |" in table
    assert "| survival | 0.5 | 0.95 ± 0.071 |" in table
    assert "| vz RMSE, m/s | – | – |" in table, "what a policy does not estimate has no error"


def test_finished_runs_are_neither_trained_nor_measured_again(trained, tmp_path, monkeypatch):
    folder = tmp_path / "dual_1"
    shutil.copytree(trained, folder)
    monkeypatch.setattr(Run, "start", lambda *_: pytest.fail("trained again"))
    calls = []

    def measured(policy, suites, robots):
        calls.append(suites)
        return {suite: {"survival": 1.0, "pronks": 10.0} for suite in suites}

    monkeypatch.setattr(dhim, "evaluate", measured)
    cfg = Config(variants=("dual",), seeds=(1,), suites=("mare", "rim"), steps=256, robots=4, out=str(tmp_path))
    first, second = dhim.run(cfg), dhim.run(cfg)
    assert calls == [["mare"], ["rim"]] and first["rows"] == second["rows"]
    assert len(first["rows"]) == 2 and (tmp_path / "curves.png").is_file()
    # more steps are another run
    card = json.loads((folder / "card.json").read_text())
    card["training"]["steps"] = 512
    (folder / "card.json").write_text(json.dumps(card))
    dhim.run(cfg)
    assert len(calls) == 4


def test_an_unfinished_run_resumes(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(dhim.subprocess, "Popen", lambda arguments, **_: started.append(arguments))
    run = Run("dual", 3, tmp_path)
    assert run.steps() == 0 and not run.finished(1)
    run.start(1000)
    (tmp_path / "checkpoint.pt").touch()
    run.start(1000)
    assert "--resume" not in started[0] and started[1][started[1].index("--resume") + 1] == str(tmp_path)
    assert started[0][started[0].index("--seed") + 1] == "3"


def test_progress_is_read_from_the_runs_own_table(tmp_path):
    with (tmp_path / "progress.csv").open("w") as file:
        writer = csv.DictWriter(file, ["time/steps", "x"])
        writer.writeheader()
        writer.writerows(
            [{"time/steps": "128", "x": "1"}, {"time/steps": "256.0", "x": "2"}, {"time/steps": "", "x": "3"}]
        )
    assert Run("mlp", 1, tmp_path).steps() == 256


def test_quick_without_runs_says_what_to_do(tmp_path):
    with pytest.raises(LunarError, match="no finished run of 8000000 steps; leave out --quick"):
        dhim.run(Config(out=str(tmp_path), quick=True))
