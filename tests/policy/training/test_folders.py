"""A training's folder: used by one training at a time, never overwritten by accident, and complete in every place."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from matrix_hil.cli import main as lunar
from policy.distill.cli import distill
from policy.distill.config import DistillConfig
from policy.evaluation.cli import evaluate
from policy.networks.policy_file import load_actor
from policy.runtime.onnx_policy import OnnxPolicy
from policy.training import checkpoint
from policy.training.cli import _parse, run
from policy.training.ppo import LunarPPO
from policy.training.vec_env import LunarVecEnv
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.output import locked
from sim.robots.identity import ROBOTS
from sim.tasks.pronk import TERMS
from tests.policy.conftest import tiny


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    """A copy that a test may use up."""
    return shutil.copytree(trained, tmp_path / "run")


def test_a_folder_that_holds_a_training_is_refused_and_stays(folder):
    before = contents(folder)
    with pytest.raises(LunarError, match=r"holds checkpoint.pt .*--resume .*--out.*--overwrite"):
        run(tiny(folder, seed=2), "")
    with pytest.raises(LunarError, match=r"holds .*--out.*--overwrite"):
        distill(DistillConfig(teacher="dual", out=str(folder)), "")
    assert contents(folder) == before


def test_overwrite_leaves_nothing_of_the_training_before(folder):
    for name in ("policy.h", "notes.txt"):
        (folder / name).write_text("mine")
    before = contents(folder)
    run(replace(tiny(folder, seed=2), overwrite=True), "again")
    after = contents(folder)
    assert "policy.h" not in after and after["notes.txt"] == b"mine"
    assert not [name for name in before if name != "notes.txt" and after.get(name) == before[name]]
    assert load_actor(folder)[1].training["command"] == "again"
    OnnxPolicy(folder)


def test_a_folder_in_use_is_refused(tmp_path):
    with locked(tmp_path / "run"), pytest.raises(LunarError, match="written to by another program"):
        run(tiny(tmp_path / "run"), "")
    assert not (tmp_path / "run").exists()
    run(tiny(tmp_path / "run"), "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "/proc/nowhere/run"], "/proc/nowhere/run cannot be written"),
        (["--world.num_envs", "0"], "world.num_envs is 0"),
        (["--steps", "-5"], "steps is -5"),
        (["--seed", "-1"], "seed is -1"),
        (["--ppo.epochs", "0"], "ppo.epochs is 0"),
        (["--world.physics.robot", "nobody"], "robot 'nobody'"),
        (["--world.physics.kp", "1e4"], "kp is 10000; it must lie between 0 and 200"),
    ],
)
def test_what_cannot_be_is_one_sentence(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        lunar(["train", "--quick", "--threads", "1", *options])
    said = capsys.readouterr().err.strip()
    assert end.value.code == 2 and message in said and len(said.splitlines()) == 1
    assert not list(tmp_path.rglob("*.pt"))


def test_a_reward_that_is_no_number_is_named_and_the_checkpoint_before_stays(tmp_path, monkeypatch):
    calls = [0]

    def own_term(s, p):
        calls[0] += 1
        rate = torch.zeros_like(s.height)
        if calls[0] == 13:
            rate[3] = torch.nan
        return rate

    monkeypatch.setitem(TERMS, "own_term", own_term)
    cfg = tiny(tmp_path / "run")
    cfg = replace(cfg, checkpoint_minutes=0.0, world=replace(cfg.world, rewards={"apex": 1.0, "own_term": 1.0}))
    with pytest.raises(LunarError, match="reward term 'own_term' is nan for robot 3"):
        run(cfg, "")
    document = checkpoint.read(tmp_path / "run" / checkpoint.NAME)
    assert document["steps"] == 128 and all(v.isfinite().all() for v in document["policy"].values())
    assert not (tmp_path / "run" / "policy.safetensors").exists()


def test_weights_that_are_no_numbers_replace_no_checkpoint(tmp_path):
    cfg = tiny(tmp_path)
    model = LunarPPO(LunarVecEnv(PronkWorld(cfg.seen_world, 1, threads=1)), cfg.ppo, 1)
    path = tmp_path / checkpoint.NAME
    model.save(path)
    before = path.read_bytes()
    model.policy.critic[0].weight.data[0, 0] = torch.nan
    with pytest.raises(LunarError, match=r"the one before stays: training diverged, 'critic.0.weight'"):
        model.save(path)
    assert path.read_bytes() == before


def test_a_resumption_that_ends_earlier_says_so(folder, capsys):
    document = checkpoint.read(folder / checkpoint.NAME)
    document["training"]["target"] = 10_000
    checkpoint.write(folder / checkpoint.NAME, document)
    run(replace(_parse(["--resume", str(folder), "--steps", "512"]), threads=1), "")
    assert "to end at 512 steps, not at 10000" in capsys.readouterr().err


def test_a_robot_given_by_a_path_goes_with_its_policy(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    text = (ROBOTS / "go2" / "go2.xml").read_text().replace('mass="6.921"', 'mass="7.5"')
    Path("my.xml").write_text(text)
    cfg = tiny(Path("run"))
    physics = replace(cfg.world.physics, robot="./my.xml")
    run(replace(cfg, world=replace(cfg.world, physics=physics)), "")
    Path("my.xml").unlink()
    monkeypatch.chdir(tmp_path)
    shutil.move("a/run", "moved")
    card = OnnxPolicy("moved").card
    assert card.robot == "my" and "7.5" in Path(card.physics_robot).read_text()
    evaluate("moved", robots=2, duration=0.1)
    run(_parse(["--resume", "moved", "--steps", "512", "--threads", "1"]), "")
    assert OnnxPolicy("moved").card.robot_digest == card.robot_digest
    kept = Path("moved/robot/my.xml")
    kept.write_text(text + "<!-- a remark changes nothing -->")
    OnnxPolicy("moved")
    kept.write_text(text.replace("7.5", "8.5"))
    with pytest.raises(LunarError, match="is not the robot that"):
        OnnxPolicy("moved")
