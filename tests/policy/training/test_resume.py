"""A resumed training is the one that was interrupted, but for new trials; what is no checkpoint of it is refused."""

from __future__ import annotations

import csv
import errno
import itertools
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import CheckpointCallback

from policy.networks.actor import Actor
from policy.networks.config import EncoderConfig, ModelConfig
from policy.runtime.card import Card
from policy.training import checkpoint
from policy.training.cli import _parse
from policy.training.config import PPOConfig, Stage, TrainConfig
from policy.training.ppo import LunarPPO
from policy.training.start import take_over
from policy.training.train import TrainingProgress, run
from policy.training.vec_env import LunarVecEnv
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.mdp.config import CurriculumConfig
from sim.spec.observation import PRONK_OBSERVATION
from sim.tasks.config import WorldConfig
from sim.terrain.generators import TerrainConfig
from tests.policy.conftest import tiny

MODEL = ModelConfig(
    hidden=(16,),
    encoders={
        "long": EncoderConfig((0, 4, 8), ("vx", "height"), 4, hidden=(16,)),
        "short": EncoderConfig((0, 1), ("vz",), 4, "long", hidden=(16,)),
    },
)
GROUND = TerrainConfig(kind="mare", size=16.0, resolution=0.2)
PPO = PPOConfig(rollout=8, minibatch=48, epochs=2, model=MODEL)
WORLD = WorldConfig(num_envs=12, ages=MODEL.ages, terrain=GROUND, curriculum=CurriculumConfig(enabled=True))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fresh(seed: int = 3, world: WorldConfig = WORLD, ppo: PPOConfig = PPO) -> LunarPPO:
    return LunarPPO("pronk", LunarVecEnv(PronkWorld(world, seed, threads=1)), ppo, seed=seed)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[LunarPPO, Path]:
    """A model after three updates, and its checkpoint."""
    model = fresh()
    model.learn(3 * 12 * 8)
    model.env.world.physics.level[:] = torch.arange(12) % 10
    path = tmp_path_factory.mktemp("checkpoint") / checkpoint.NAME
    model.save(path)
    return model, path


def test_resumed_training_is_the_same_bit_by_bit(saved, tmp_path):
    model, path = saved
    resumed = LunarPPO.load(path, LunarVecEnv(PronkWorld(WORLD, 3, threads=1)))
    assert resumed.num_timesteps == 3 * 12 * 8 and resumed.env.world.physics.level.tolist() == [*range(10), 0, 1]
    first = float(resumed.policy.optimizer.state_dict()["state"][0]["step"])
    for one in (model, resumed):
        one._last_obs = None  # both start new trials
        torch.set_rng_state(checkpoint.read(path)["processes"]["torch"][0])
        one.learn(2 * 12 * 8, reset_num_timesteps=False)
    assert resumed.num_timesteps == 5 * 12 * 8
    assert resumed.policy.optimizer.state_dict()["state"][0]["step"] > first > 0
    assert torch.equal(model.rollout.rewards, resumed.rollout.rewards)
    for ours, theirs in ((model.policy, resumed.policy), (model.estimator.targets, resumed.estimator.targets)):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    assert model.lr == resumed.lr


def test_a_folder_is_all_that_a_continuation_needs(tmp_path):
    cfg = replace(tiny(tmp_path / "run"), threads=1, stages=[Stage(), Stage(rewards={"tilt": 3.0})], until=(0.5, 1.0))
    run(cfg, "first command")
    with pytest.raises(LunarError, match="256 steps already"):
        run(replace(cfg, resume=str(tmp_path / "run")), "")
    again = _parse(["--resume", str(tmp_path / "run"), "--steps", "512"])
    assert again == replace(cfg, resume=str(tmp_path / "run"), steps=512)
    results = run(again, "second command")
    assert results["steps"] == 512
    with (tmp_path / "run" / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["time/steps"]) for row in rows] == [128, 256, 384, 512]
    assert all(float(row["train/reward"]) for row in rows)
    earlier = Card.load(tmp_path / "run" / "card.json").training["earlier"]
    assert [(e["command"], e["steps"]) for e in earlier] == [("first command", 256)]
    # the last stage had been reached at 128 of 256 steps: half of 512 does not lead back to the first
    assert checkpoint.read(tmp_path / "run" / checkpoint.NAME)["training"]["stage"] == 1


def test_another_world_may_follow(saved):
    _, path = saved
    world = replace(WORLD, num_envs=6, terrain=replace(GROUND, kind="highland"))
    model = fresh(world=world, ppo=replace(PPO, gamma=0.9))
    notes = model.restore(checkpoint.read(path), path)
    assert len(notes) == 1 and "new terrain" in notes[0]
    assert model.policy.optimizer.state_dict()["state"][0]["step"] > 0 and model.gamma == 0.9
    model.learn(6 * 8, reset_num_timesteps=False)
    assert model.num_timesteps == 3 * 12 * 8 + 6 * 8


@pytest.mark.parametrize(
    ("world", "ppo", "names"),
    [
        (WORLD, replace(PPO, model=replace(MODEL, hidden=(32,))), r"model.hidden \[16\], this training \[32\]"),
        (WORLD, replace(PPO, model=replace(MODEL, encoders={})), "encoders"),
        (replace(WORLD, ages=tuple(range(9))), PPO, "ages"),
        (replace(WORLD, action_scale=0.2), PPO, "action_scale 0.35, this training 0.2"),
    ],
)
def test_another_training_is_refused_in_one_sentence(saved, world, ppo, names):
    _, path = saved
    with pytest.raises(LunarError, match=names) as error:
        fresh(world=world, ppo=ppo).restore(checkpoint.read(path), path)
    assert "\n" not in str(error.value)


def test_a_damaged_checkpoint_is_refused_in_one_sentence(saved, tmp_path):
    _, path = saved
    data, model = path.read_bytes(), fresh()
    whole, copy = checkpoint.read(path), tmp_path / "c.pt"
    rng = np.random.default_rng(0)
    cut = [data[: int(length)] for length in rng.integers(0, len(data), 12)]
    spoilt = [data[:place] + rng.bytes(64) + data[place + 64 :] for place in rng.integers(0, len(data), 24)]
    refused = 0
    for content in [*cut, rng.bytes(1000), b"", *spoilt]:
        copy.write_bytes(content)
        try:
            document = checkpoint.read(copy)
        except LunarError as error:
            assert "c.pt" in str(error) and "\n" not in str(error)
            refused += 1
        else:  # only padding was hit
            assert str(document) == str(whole)
            model.restore(document, copy)
    assert refused > 14 + 12
    with pytest.raises(LunarError, match="does not exist"):
        checkpoint.read(tmp_path / "none.pt")
    torch.save({"weights": torch.zeros(3)}, copy)
    with pytest.raises(LunarError, match="not a checkpoint"):
        checkpoint.read(copy)
    del whole["policy"]["critic.0.bias"]
    with pytest.raises(LunarError, match=r"damaged.*critic\.0\.bias"):
        model.restore(whole, path)


def test_a_checkpoint_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"format": checkpoint.FORMAT, "policy": Trap()}, tmp_path / "c.pt")
    with pytest.raises(LunarError, match="more than tensors"):
        checkpoint.read(tmp_path / "c.pt")
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(LunarError):
        checkpoint.read(tmp_path / "c.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_crash_while_writing_leaves_the_checkpoint_before(saved, tmp_path, monkeypatch):
    model, _ = saved
    path = tmp_path / checkpoint.NAME
    model.save(path)
    before = path.read_bytes()

    def crash(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(LunarError, match=r"checkpoint\.pt cannot be written: No space left on device"):
        model.save(path)
    assert path.read_bytes() == before


def test_checkpoints_are_written_every_few_minutes(tmp_path):
    model, now = fresh(), [0.0]

    def clock() -> float:
        now[0] += 60.0
        return now[0]

    cfg = TrainConfig(out=str(tmp_path), checkpoint_minutes=3.0, world=WORLD, ppo=PPO)
    progress = TrainingProgress(cfg, 8 * 96, "", {}, clock)
    steps = []
    progress.save = lambda: steps.append(model.num_timesteps) or setattr(progress, "saved", now[0])
    model.learn(8 * 96, callback=progress)
    assert steps == [2 * 96, 5 * 96]  # at every third look at the clock, between updates


def test_a_training_of_so_many_minutes_goes_through_its_stages_and_ends(tmp_path):
    model, now = fresh(), [0.0]

    def clock() -> float:
        now[0] += 60.0
        return now[0]

    cfg = TrainConfig(
        out=str(tmp_path), minutes=20.0, stages=[Stage(), Stage(std=0.2)], until=(0.5, 1.0), world=WORLD, ppo=PPO
    )  # fmt: skip
    progress = TrainingProgress(cfg, 1000 * 96, "", {}, clock)
    model.learn(1000 * 96, callback=progress)
    assert 20.0 <= now[0] / 60.0 <= 25.0 and 3 * 96 <= model.num_timesteps < 20 * 96
    assert progress.stage == 1 and not progress.interrupted
    assert torch.allclose(model.policy.log_std.exp(), torch.tensor(0.2)), "actions explore less in the second stage"


def test_a_policy_to_start_from_waits_until_the_critic_knows_it(tmp_path):
    shipped = fresh(seed=5).policy.actor
    model = fresh()
    model.start_from(shipped, warm_up=2)
    critics = [model.policy.critic[0].weight.detach().clone()]
    weights = [{name: value.clone() for name, value in shipped.state_dict().items()}]
    for _ in range(3):
        model.learn(96, reset_num_timesteps=False)
        critics.append(model.policy.critic[0].weight.detach().clone())
        weights.append({name: value.clone() for name, value in model.policy.actor.state_dict().items()})
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(critics))
    for name, value in weights[0].items():
        assert torch.equal(weights[1][name], value) and torch.equal(weights[2][name], value), name
        assert not torch.equal(weights[3][name], value), name


def test_a_warm_up_goes_on_after_a_resumption(tmp_path):
    model = fresh()
    model.start_from(fresh(seed=5).policy.actor, warm_up=3)
    model.learn(96)
    model.save(path := tmp_path / checkpoint.NAME)
    resumed = LunarPPO.load(path, LunarVecEnv(PronkWorld(WORLD, 3, threads=1)))
    assert resumed.warm_up == model.warm_up == 2


def test_a_stage_of_a_checkpoint_is_known_by_what_it_had(tmp_path):
    """A field that came later changes nothing."""
    cfg = replace(tiny(tmp_path), stages=[Stage(), Stage(0.5)], until=(0.5, 1.0))
    stages = TrainingProgress(cfg, 100, "", {}).stages
    older = [{name: value for name, value in stage.items() if name != "std"} for stage in stages]
    assert TrainingProgress(cfg, 100, "", {"stage": 1, "stages": older, "earlier": []}).stage == 1
    older[0]["entropy"] = 0.1
    assert TrainingProgress(cfg, 100, "", {"stage": 1, "stages": older, "earlier": []}).stage == 0


def test_trials_of_a_training_do_not_all_end_at_once():
    model = fresh()
    model.learn(12 * 8)
    first = model.world.steps.clone()
    ends = model.world.last_step.clone()
    assert len(ends.unique()) > 8 and first.eq(8).sum() >= 10, "a trial's time is its own"
    model.learn(12 * 8, reset_num_timesteps=False)
    goes_on = model.world.steps == first + 8
    assert goes_on.sum() >= 9 and torch.equal(model.world.last_step[goes_on], ends[goes_on])
    model.world.steps[goes_on] = ends[goes_on] - 1
    step = model.world.step(torch.zeros(12, 12))
    assert (step.truncated | step.terminated)[goes_on].all()
    assert (model.world.last_step[goes_on] == model.world.max_steps).all(), "the next trial has all its time"


def test_a_start_from_a_policy_that_estimates_less_acts_like_it():
    less = ModelConfig(encoders={
        "long": EncoderConfig(ages=(0, 1, 2, 5), estimates=("vx", "height"), latent=4),
        "short": EncoderConfig(ages=(0, 1), estimates=("vz",), latent=4, given="long"),
    })  # fmt: skip
    long = replace(less.encoders["long"], estimates=("vx", "vy", "height", "joint_damping"))
    more = replace(less, encoders=less.encoders | {"long": long})
    spec = replace(PRONK_OBSERVATION, ages=more.ages)
    source, actor = Actor(less, spec), Actor(more, spec)
    with torch.no_grad():
        source.head[-1].weight.mul_(100.0)
    take_over(actor, source)
    seen = torch.randn(50, spec.size)
    theirs, ours = source(seen), actor(seen)
    for name in ("action", "std", "latent", "hidden"):
        assert torch.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-6), name
    known = [actor.estimates.index(name) for name in source.estimates]
    assert torch.allclose(ours.estimate[:, known], theirs.estimate, atol=1e-6)
    assert theirs.action.std() > 0.01 and ours.estimate[:, actor.estimates.index("joint_damping")].std() > 0.0
    with pytest.raises(LunarError, match="its encoder long estimates joint_damping, vy, which ppo"):
        take_over(source, actor)
    other_order = replace(more, encoders=dict(reversed(replace(more, encoders=_apart(more)).encoders.items())))
    with pytest.raises(LunarError, match="its networks are not those"):
        take_over(Actor(other_order, spec), Actor(replace(more, encoders=_apart(more)), spec))
    bare = {"long": replace(long, hidden=()), "short": replace(more.encoders["short"], hidden=())}
    short = {"long": replace(bare["long"], estimates=("vx",)), "short": bare["short"]}
    actor, source = Actor(replace(more, encoders=bare), spec), Actor(replace(more, encoders=short), spec)
    take_over(actor, source)
    assert torch.allclose(actor(seen).action, source(seen).action, atol=1e-6)


def _apart(model: ModelConfig) -> dict[str, EncoderConfig]:
    """Its encoders, none given another's word."""
    return {name: replace(e, given="") for name, e in model.encoders.items()}


def test_a_start_from_other_networks_is_refused(trained, tmp_path):
    cfg = replace(tiny(tmp_path / "same"), start=str(trained))
    run(cfg, "test")
    for more in ([], ["--config", f"{cfg.out}/config.yaml"]):
        assert not _parse(["--resume", cfg.out, *more]).start, "the checkpoint goes on with what it became"
    assert _parse(["--config", f"{cfg.out}/config.yaml"]).start == str(trained), "begun again it starts there again"
    before, card = (Card.load(Path(folder) / "card.json") for folder in (trained, cfg.out))
    assert card.training["earlier"][-1]["weights"] == before.weights and card.training["steps"] == cfg.steps
    with pytest.raises(LunarError, match="its networks are not those of ppo"):
        run(replace(cfg, out=str(tmp_path / "other"), ppo=replace(cfg.ppo, model=MODEL)), "test")
    with pytest.raises(LunarError, match="its action_scale is"):
        run(replace(cfg, out=str(tmp_path / "other"), world=replace(cfg.world, action_scale=0.2)), "test")
    with pytest.raises(LunarError, match="start and resume exclude each other"):
        run(replace(cfg, resume=str(trained)), "test")


def test_sb3s_save_load_and_predict(saved, tmp_path):
    model, path = saved
    env = LunarVecEnv(PronkWorld(WORLD, 9, threads=1))
    observation = env.reset()
    ours, _ = LunarPPO.load(path, env).predict(observation, deterministic=True)
    theirs, _ = model.predict(observation, deterministic=True)
    alone, _ = LunarPPO.load(path).predict(observation, deterministic=True)
    np.testing.assert_array_equal(alone, ours)
    LunarPPO.load(path, env).learn(96, CheckpointCallback(4, str(tmp_path)), reset_num_timesteps=False)
    assert ours.shape == (12, 12) and np.isfinite(ours).all()
    files = sorted(tmp_path.glob("*.zip"))
    assert files and LunarPPO.load(files[-1], env).num_timesteps > 3 * 96
    assert theirs.shape == ours.shape
