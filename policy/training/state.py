"""What a checkpoint tells of the training that wrote it besides weights: whose it is, and where it was."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sim.mdp.observations import group_specs
from sim.robots.identity import identify

if TYPE_CHECKING:
    from policy.training.ppo import LunarPPO


def identity(model: LunarPPO) -> dict[str, Any]:
    """What must be the same for the weights to mean the same."""
    estimator, world = model.config.estimator, model.world
    return {
        "robot": identify(world.cfg.physics.robot).name, "action_scale": world.action_scale,
        "ages": world.spec.ages, "model": asdict(model.config.model), "prototypes": estimator.prototypes,
        "policy_gradient": estimator.policy_gradient,
        "critic": [[c.name, c.size, c.scale] for c in group_specs(world.spec)["critic"]],
    }  # fmt: skip


def terrains(model: LunarPPO) -> dict[str, Any]:
    """What must be the same for a robot's terrain level to mean the same."""
    cfg = model.world.cfg
    grounds = {"terrain": asdict(cfg.terrain), "others": cfg.other_terrains, "maps": cfg.maps}
    return {**grounds, "curriculum": cfg.curriculum.enabled}


def random_states(model: LunarPPO) -> dict[str, Tensor]:
    """Of the generators that each process has its own of."""
    states = {"torch": torch.get_rng_state(), "world": model.world.generator.get_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(model.device)} if model.device.type == "cuda" else {})


def processes(model: LunarPPO) -> dict[str, Tensor]:
    """What each process of the group has of its own, side by side; all of them call it."""
    own = {**random_states(model), "levels": model.world.physics.level}
    return {name: model.group.gather(value) for name, value in own.items()}


def document(model: LunarPPO, training: dict[str, Any], processes: dict[str, Tensor]) -> dict[str, Any]:
    """All of a checkpoint, for ``checkpoint.write``.

    Args:
        model: whose it is.
        training: what is told of the training, plain data.
        processes: from the function of that name.
    """
    estimator = model.estimator
    return {
        "identity": identity(model),
        "ppo": asdict(model.config),
        "training": training,
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "targets": estimator.targets.state_dict() if estimator else {},
        "estimator_optimizer": estimator.optimizer.state_dict() if estimator else {},
        "learning_rate": model.lr,
        "steps": model.num_timesteps,
        "updates": model._n_updates,
        "warm_up": max(model.warm_up, 0),
        "shuffle": model.shuffle.get_state(),
        "terrains": terrains(model),
        "processes": processes,
    }


def restore_processes(model: LunarPPO, document: dict[str, Any]) -> list[str]:
    """Go back to the random states and terrain levels of a checkpoint; return what could not be restored, in words."""
    group, world, processes = model.group, model.world, document["processes"]
    notes = []
    same_processes = len(processes["levels"]) == group.size
    if same_processes and processes.keys() == {"levels", *random_states(model)}:
        model.shuffle.set_state(document["shuffle"])
        torch.set_rng_state(processes["torch"][group.rank])
        world.generator.set_state(processes["world"][group.rank])
        if "cuda" in processes:
            torch.cuda.set_rng_state(processes["cuda"][group.rank], model.device)
    else:
        notes.append("the random numbers start from the seed: other processes or another device")
    levels = processes["levels"]
    if document["terrains"] != terrains(model):
        notes.append("the robots start on the levels of the new terrain's curriculum")
    elif same_processes and levels.shape[1] == world.num_envs:
        world.physics.level[:] = levels[group.rank].to(world.device)
    else:
        notes.append("the robots start on the first levels of the curriculum: their number has changed")
    return notes
