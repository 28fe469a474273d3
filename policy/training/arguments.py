"""What ``LunarPPO`` is given: robots that it can step, and hyperparameters by SB3's names."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

from stable_baselines3.common.vec_env import VecCheckNan, VecEnvWrapper, VecMonitor, VecVideoRecorder

from policy.training.config import PPOConfig
from policy.training.vec_env import LunarVecEnv
from sim.errors import LunarError

NAMES = {
    "learning_rate": "learning_rate", "n_steps": "rollout", "batch_size": "minibatch", "n_epochs": "epochs",
    "gamma": "gamma", "gae_lambda": "gae_lambda", "clip_range": "clip", "ent_coef": "entropy",
    "vf_coef": "value_weight", "max_grad_norm": "max_grad_norm", "target_kl": "target_kl",
}  # fmt: skip
"""Of hyperparameters: SB3's, and ours in ``PPOConfig``."""
WATCHERS = (VecMonitor, VecVideoRecorder, VecCheckNan)
"""SB3's wrappers that look on and change nothing."""


def robots_of(env: Any) -> LunarVecEnv:
    """The robots in ``env``, which may be watched.

    Raises:
        LunarError: it is something else, or a wrapper changes what the policy sees.
    """
    inner = env
    while isinstance(inner, VecEnvWrapper):
        if not isinstance(inner, WATCHERS):
            raise LunarError(
                f"LunarPPO steps tensors past {type(inner).__name__}, which would change nothing: leave it out "
                f"(observations are scaled already); wrap robots in {_listed([w.__name__ for w in WATCHERS])} only"
            )
        inner = inner.venv
    if not isinstance(inner, LunarVecEnv):
        what = f"'{env}'" if isinstance(env, str) else f"a {type(inner).__name__}"
        raise LunarError(
            f"LunarPPO steps all robots at once and cannot train on {what}: give it "
            f"LunarVecEnv(PronkWorld(WorldConfig(num_envs=64), seed=0)), or use stable_baselines3.PPO"
        )
    if not inner.world.privileged:
        raise LunarError(
            "LunarPPO's critic needs a world that observes the group 'critic': PronkWorld(privileged=True)"
        )
    return inner


def with_hyperparameters(config: PPOConfig, given: dict[str, Any]) -> PPOConfig:
    """``config`` with what is ``given`` by SB3's names.

    Raises:
        LunarError: an unknown name.
    """
    for name in given:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f": it takes {_listed(list(NAMES))}, or a PPOConfig"
            raise LunarError(f"LunarPPO has no argument '{name}'{hint}")
    return replace(config, **{NAMES[name]: value for name, value in given.items()})


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"
