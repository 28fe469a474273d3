"""The internal model learns what it is told, prototypes are used evenly, the policy's gradient stays out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from policy.networks.actor import Actor
from policy.networks.config import EncoderConfig, ModelConfig
from policy.networks.distributions import Gaussian
from policy.training.config import EstimatorConfig, PPOConfig
from policy.training.internal_model import EstimatorLearner, sinkhorn
from policy.training.ppo import LunarPPO
from policy.training.vec_env import LunarVecEnv
from sim.envs.world import PronkWorld
from sim.spec.observation import PRONK_OBSERVATION
from sim.tasks.config import WorldConfig

MODEL = ModelConfig(hidden=(16,), encoders={"short": EncoderConfig(ages=(0, 1), estimates=("vx", "vz"), latent=4)})
SPEC = replace(PRONK_OBSERVATION, ages=MODEL.ages)


def test_sinkhorn_uses_all_prototypes_evenly():
    torch.manual_seed(0)
    scores = torch.randn(512, 8)
    scores[:, 0] += 1.0  # a favourite
    q = sinkhorn(scores, 0.5, iterations=50)
    torch.testing.assert_close(q.sum(1), torch.ones(512))
    torch.testing.assert_close(q.sum(0), torch.full((8,), 64.0), rtol=1e-3, atol=0.0)
    # within a row the order of what is not the favourite stays
    assert torch.equal(q[:, 1:].argmax(1), (scores[:, 1:] / 0.5 + q.log()[:1, 1:] - scores[:1, 1:] / 0.5).argmax(1))


@pytest.mark.parametrize("contrast", [0.0, 0.5])
def test_regression_finds_what_the_observation_holds(contrast):
    """Velocities that are sums of sensors: the error falls by far, whatever the weight of the other loss."""
    torch.manual_seed(0)
    actor = Actor(MODEL, SPEC)
    learner = EstimatorLearner(actor, EstimatorConfig(contrast=contrast), torch.device("cpu"))
    observation = torch.randn(512, SPEC.size)
    critic = torch.randn(512, actor.state_size + 5)
    critic[:, 0], critic[:, 2] = observation[:, :3].sum(1), observation[:, 42:45].sum(1)
    follows = torch.ones(512, dtype=torch.bool)
    follows[::7] = False
    losses = [learner.step(observation, critic, critic, follows)["estimate_loss"] for _ in range(100)]
    assert losses[-1] < 0.1 * losses[0]
    truth = critic[:, [0, 2]]
    torch.testing.assert_close(actor(observation).estimate.detach(), truth, atol=1.5, rtol=0.0)


def test_the_contrast_pulls_a_history_to_its_own_successor():
    """After training, a latent agrees better with the embedding of its own successor than with a stranger's."""
    torch.manual_seed(0)
    actor = Actor(MODEL, SPEC)
    learner = EstimatorLearner(actor, EstimatorConfig(contrast=5.0), torch.device("cpu"))
    kinds = torch.randint(0, 4, (256,))
    observation = 0.3 * torch.randn(256, SPEC.size)
    observation[torch.arange(256), kinds] += 2.0
    successor = 0.3 * torch.randn(256, actor.state_size + 5)
    successor[torch.arange(256), 10 + kinds] += 2.0
    everyone = torch.ones(256, dtype=torch.bool)
    for _ in range(120):
        learner.step(observation, successor, successor, everyone)
    with torch.no_grad():
        ours = actor(observation).latent
        theirs = torch.nn.functional.normalize(
            learner.targets.embeddings["short"](successor[:, : actor.state_size]), dim=1
        )
    similarity = ours @ theirs.T
    same = kinds[:, None] == kinds[None]
    assert similarity[same].mean() > similarity[~same].mean() + 0.3


@pytest.mark.parametrize("policy_gradient", [False, True])
def test_the_policys_gradient_reaches_encoders_only_when_asked(policy_gradient):
    world = PronkWorld(WorldConfig(num_envs=32, ages=MODEL.ages), 0)
    cfg = PPOConfig(
        rollout=4, minibatch=64, epochs=1, model=MODEL,
        estimator=EstimatorConfig(epochs=0, policy_gradient=policy_gradient),
    )  # fmt: skip
    model = LunarPPO("pronk", LunarVecEnv(world), cfg, seed=0)
    before = {n: p.clone() for n, p in model.policy.actor.named_parameters()}
    model.learn(1)
    moved = {n for n, p in model.policy.actor.named_parameters() if not torch.equal(p, before[n])}
    assert any(n.startswith("head") for n in moved)
    assert any(n.startswith("encoders") for n in moved) == policy_gradient


def test_every_second_robot_is_mirrored_and_an_even_policy_finds_it_as_likely():
    """A policy that always asks for the nominal pose is even: the images are as likely as the samples."""
    world = PronkWorld(WorldConfig(num_envs=16, ages=MODEL.ages), 0)
    model = LunarPPO("pronk", LunarVecEnv(world), PPOConfig(rollout=4, minibatch=64, model=MODEL), seed=0)
    with torch.no_grad():
        model.policy.actor.head[-1].weight.zero_()
    _, callback = model._setup_learn(1, None)
    model.collect_rollouts(model.env, callback, None, 4)
    before = {name: getattr(model.rollout, name).clone() for name in ("policy", "critic", "actions", "features")}
    model._mirror_half()
    for name, column in before.items():
        after = getattr(model.rollout, name)
        assert torch.equal(after[:, 1::2], column[:, 1::2]), name
        assert not torch.equal(after[:, ::2], column[:, ::2]), name
    data = model.rollout
    image = model.mirrors["policy"](before["policy"][2, ::2])
    torch.testing.assert_close(data.features[2, ::2], model.policy.actor.features(image).detach())
    with torch.no_grad():
        log_probs = Gaussian(data.flat("means"), model.policy.log_std).log_prob(data.flat("actions"))
    torch.testing.assert_close(log_probs, data.flat("log_probs"), atol=1e-4, rtol=1e-5)
