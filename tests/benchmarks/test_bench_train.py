"""The training benchmark runs whole updates of all subjects and books our time without losing any."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.train import PHASES, Config, Ours, run
from policy.networks.config import EncoderConfig, ModelConfig
from sim.config import ROOT, load
from tests.policy.conftest import tiny

pytestmark = pytest.mark.usefixtures("one_thread")


def small(out, **model):
    cfg = replace(tiny(out), threads=1)
    return replace(cfg, ppo=replace(cfg.ppo, epochs=1, model=ModelConfig(hidden=(16,), **model)))


def test_ratios_and_shares_add_up(tmp_path):
    encoders = {"long": EncoderConfig((0, 4), ("vx", "vy", "vz", "height"), 4, hidden=(16,))}
    cfg = Config(
        mlp=small(tmp_path / "a"), dual=small(tmp_path / "b", encoders=encoders),
        dummy_envs=(2,), subproc_envs=(2,), rounds=1,
    )  # fmt: skip
    results = run(cfg)
    best = max(results["sb3"].values())
    for row in (results, results["dual"]):
        assert row["over_sb3"] == pytest.approx(row["steps_per_s"] / best)
        floor = (
            1.0 / results["floor"]["physics_steps_per_s"] + row["flops_per_step"] / results["floor"]["gemm_flops_per_s"]
        )
        assert row["over_floor"] == pytest.approx(row["steps_per_s"] * floor) and row["flops_per_step"] > 0.0
        assert set(row["shares"]) == set(PHASES) and sum(row["shares"].values()) == pytest.approx(1.0)
        assert all(share >= 0.0 for share in row["shares"].values())
    assert results["shares"]["estimator"] == 0.0 < results["dual"]["shares"]["estimator"]


def test_an_update_is_a_rollout_and_its_gradients(tmp_path):
    ours = Ours(small(tmp_path), 1, tmp_path)
    before = ours.model.policy.log_std.detach().clone()
    assert ours.update() == ours.model.num_timesteps == 16 * 8
    assert not torch.equal(ours.model.policy.log_std, before)
    assert (tmp_path / "progress.csv").stat().st_size > 0


def test_the_peers_do_what_the_first_training_does():
    cfg = load(Config, ROOT / "configs" / "bench" / "train.yaml")
    assert cfg.mlp.world.terrain.kind == "flat" and not cfg.mlp.ppo.model.encoders  # as LunarPronk-v0
    assert set(cfg.dual.ppo.model.encoders) == {"long", "short"}
    assert cfg.mlp.ppo.model.hidden == cfg.dual.ppo.model.hidden
