"""One update from a made-up rollout, alone or as one of torchrun's processes."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from policy.networks.config import EncoderConfig, ModelConfig
from policy.networks.distributions import Gaussian
from policy.training.config import PPOConfig
from policy.training.distributed import Group, join
from policy.training.ppo import LunarPPO
from policy.training.vec_env import LunarVecEnv
from sim.envs.world import PronkWorld
from sim.tasks.config import WorldConfig

STEPS, ROBOTS = 8, 30
MODEL = ModelConfig(
    hidden=(32, 16),
    encoders={
        "long": EncoderConfig((0, 4, 8), ("vx", "height"), 4, hidden=(16,)),
        "short": EncoderConfig((0, 1), ("vz",), 4, "long", hidden=(16,)),
    },
)
CONFIG = PPOConfig(rollout=STEPS, minibatch=80, epochs=2, target_kl=1e-5, model=MODEL)


def prepared(group: Group) -> LunarPPO:
    """A model about to learn from what its share of ``ROBOTS`` did."""
    robots = ROBOTS // group.size
    world = PronkWorld(WorldConfig(num_envs=robots, ages=MODEL.ages), seed=group.rank, threads=1)
    model = LunarPPO("pronk", LunarVecEnv(world), CONFIG, seed=5, group=group)
    model._setup_learn(1)
    data, policy = model.rollout, model.policy
    mine = slice(group.rank * robots, (group.rank + 1) * robots)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(STEPS + 1, ROBOTS, *shape, generator=generator)[:, mine]

    data.policy[:], data.critic[:] = draw(data.policy.shape[2])[1:], draw(data.critic.shape[2])
    noise, data.rewards[:] = draw(12)[1:], draw()[1:]
    data.rewards += torch.linspace(0.0, 3.0, ROBOTS)[mine]  # processes are not alike
    data.dones[:] = (draw()[1:] > 1.0).float()
    with torch.no_grad():
        data.features[:] = policy.actor.features(data.flat("policy")).unflatten(0, (STEPS, robots))
        data.means[:] = policy.actor.head(data.features)
        data.actions[:] = data.means + policy.log_std.exp() * noise
        said = Gaussian(data.flat("means"), policy.log_std)
        data.log_probs[:] = said.log_prob(data.flat("actions")).view(STEPS, robots)
        values = policy.critic(data.critic).squeeze(2)
        data.values[:] = values[:-1]
        data.compute_advantages(values[-1], model.gamma, model.gae_lambda)
    return model


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join("cpu") as (group, _, _):
        model = prepared(group)
        model.train()
        model.save(Path(sys.argv[1]))
