"""The GPU benchmark on Warp's CPU device: it measures all of its parts, and one that fails leaves the others."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import BOUNDS, Config
from benchmarks.waits import Waits
from sim.config import ROOT, load
from sim.errors import LunarError
from tests.policy.conftest import tiny

pytest.importorskip("mujoco_warp", reason="MuJoCo Warp is not installed: pip install 'lunar[gpu]'")

pytestmark = pytest.mark.usefixtures("one_thread")


def small(out) -> Config:
    return Config(
        train=tiny(out), device="cpu", robots=(4,), update_robots=8, seconds=0.05, parity_robots=4,
        parity_steps=(1, 5), quick=False,
    )  # fmt: skip


def test_all_parts_are_measured_and_shown(tmp_path, capsys):
    results = gpu.run(small(tmp_path))
    gpu.show(results)
    for found in results["parity"].values():
        assert set(found["differences"]) == {"1", "5"} and set(found["held"]) == set(BOUNDS)
        assert found["held"]["qpos"] and found["held"]["qvel"]
    (speed,) = results["speed"]
    assert speed["robots"] == 4 and speed["steps_per_s"] == pytest.approx(4e3 / speed["ms"])
    assert 0.0 < speed["physics_ms"] and 1 <= speed["solver_iterations_most"] <= 100
    waits, update = results["waits"], results["update"]
    assert 3.0 <= waits["total"] < waits["operations"]
    assert waits["total"] == pytest.approx(sum(waits["waits"].values()))
    assert update["collect_s"] + update["train_s"] <= update["seconds"] and update["robots"] == 8
    assert "Largest differences" in capsys.readouterr().out


def test_a_part_that_fails_leaves_the_others(tmp_path, monkeypatch, capsys):
    def broken(cfg):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu, "speed", broken)
    for name in ("parity", "update"):
        monkeypatch.setattr(gpu, name, lambda cfg: {"error": "left out"})
    results = gpu.run(small(tmp_path))
    assert results["waits"]["total"] > 0.0
    with pytest.raises(LunarError, match="out of memory"):
        gpu.show(results)
    assert "torch's operations" in capsys.readouterr().out


def test_waits_are_told_from_other_operations():
    x, mask, ids = torch.zeros(5), torch.arange(5) > 2, torch.tensor([1, 2])
    with Waits() as counted:
        x[ids] = x[ids] + 1.0
        x[ids] = 0.0
    assert not counted.waits and counted.operations >= 4
    with Waits() as counted:
        float(x[0]), mask.nonzero(), x[mask], torch.tensor([1.0, 2.0]), x.to("meta")
    assert counted.waits == {
        "_local_scalar_dense": 1, "nonzero": 1, "index by a mask": 1, "numbers of the host": 1, "copy cpu to meta": 1,
    }  # fmt: skip


def test_the_default_is_the_training_of_both_horizons():
    cfg = load(Config, ROOT / "configs" / "bench" / "gpu.yaml")
    assert set(cfg.train.ppo.model.encoders) == {"long", "short"} and cfg.train.world.terrain.kind == "mare"
    assert cfg.device == "cuda"
