"""Checkpoints: all that a training needs to go on, in one file that is written whole or not at all.

Kept: policy, critic, internal model with its targets and prototypes, both optimizers, learning rate, count of steps and
updates, the terrain level of every robot, and all random numbers' states. Not kept: the robots themselves, which start
new trials. Only tensors, numbers and text are stored, and PyTorch's restricted reader refuses anything else.
"""

from __future__ import annotations

import json
import os
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from policy.networks.policy_file import model_config
from policy.training.internal_model import EstimatorConfig
from sim.errors import LunarError

if TYPE_CHECKING:
    from policy.training.ppo import LunarPPO, PPOConfig

FORMAT = "lunar checkpoint 1"
NAME = "checkpoint.pt"
"""In a training's folder."""


def save(path: Path, model: LunarPPO, training: dict[str, Any]) -> None:
    """Write what ``model`` needs to go on; a reader, or a crash, never meets a half-written file.

    Called by all processes of the model's group; its leader writes.

    Args:
        path: the file.
        model: the training.
        training: more to keep, as JSON holds it.
    """
    group, world, estimator = model.group, model.env.world, model.estimator  # type: ignore[union-attr]
    processes = {name: group.gather(value) for name, value in _random_states(model).items()}
    processes["levels"] = group.gather(world.physics.level)
    if not group.leads:
        return
    document = {
        "format": FORMAT,
        "identity": json.dumps(_identity(model)),
        "ppo": json.dumps(asdict(model.config)),
        "training": json.dumps(training),
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "targets": estimator.targets.state_dict() if estimator else {},
        "estimator_optimizer": estimator.optimizer.state_dict() if estimator else {},
        "learning_rate": model.lr,
        "steps": model.num_timesteps,
        "updates": model._n_updates,
        "shuffle": model.shuffle.get_state(),
        "terrains": json.dumps(_terrains(model)),
        "processes": processes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        torch.save(document, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def find(path: str | Path) -> Path:
    """The checkpoint's file, given that or the training's folder."""
    return Path(path) / NAME if Path(path).is_dir() else Path(path)


def read(path: Path) -> dict[str, Any]:
    """The document that ``save`` wrote.

    Raises:
        LunarError: missing, damaged, or something else than a checkpoint.
    """
    if not path.is_file():
        raise LunarError(f"checkpoint {path} does not exist; 'lunar train' writes one into its folder --out")
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None  # torch does not look at the checksums
        document = torch.load(path, map_location="cpu", weights_only=True) if whole else None
    except pickle.UnpicklingError:
        raise LunarError(f"checkpoint {path} holds more than tensors, numbers and text: it is not lunar's") from None
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError, KeyError, NotImplementedError):
        whole = False
    if not whole:
        raise LunarError(f"checkpoint {path} is damaged or no checkpoint; train anew without --resume")
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise LunarError(f"{path} is not a checkpoint of this version of lunar ('{FORMAT}')")
    return document


def ppo_config(document: dict[str, Any], path: Path) -> PPOConfig:
    """The hyperparameters in a document.

    Raises:
        LunarError: those of another version.
    """
    from policy.training.ppo import PPOConfig

    try:
        fields = json.loads(document["ppo"])
        estimator = EstimatorConfig(**fields.pop("estimator"))
        return PPOConfig(**(fields | {"model": model_config(fields["model"]), "estimator": estimator}))
    except (KeyError, TypeError, ValueError) as error:
        raise LunarError(f"checkpoint {path}: the hyperparameters are not those of this version: {error}") from None


def restore(model: LunarPPO, document: dict[str, Any], path: Path) -> list[str]:
    """Bring ``model`` to where ``save`` was called. Its robots start new trials.

    Args:
        model: of the same robot and networks; its world, rewards and hyperparameters may differ.
        document: from ``read``.
        path: for messages.

    Returns:
        What could not be restored and starts anew, in words.

    Raises:
        LunarError: another robot or network, or a damaged document.
    """
    try:
        _refuse_others(json.loads(document["identity"]), _identity(model), path)
        model.policy.load_state_dict(document["policy"])
        model.policy.optimizer.load_state_dict(document["optimizer"])
        if model.estimator:
            model.estimator.targets.load_state_dict(document["targets"])
            model.estimator.optimizer.load_state_dict(document["estimator_optimizer"])
            for group in model.estimator.optimizer.param_groups:
                group["lr"] = model.config.estimator.learning_rate
        model.lr = min(document["learning_rate"], model.max_lr)
        model.num_timesteps, model._n_updates = document["steps"], document["updates"]
        return _restore_processes(model, document)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        detail = " ".join(str(error).split())[:200]
        raise LunarError(f"checkpoint {path} is damaged or of another version: {detail}") from None


def _restore_processes(model: LunarPPO, document: dict[str, Any]) -> list[str]:
    """Random states and terrain levels, which each process has its own of."""
    group, world, processes = model.group, model.env.world, document["processes"]  # type: ignore[union-attr]
    notes = []
    same_processes = len(processes["levels"]) == group.size
    if same_processes and processes.keys() == {"levels", *_random_states(model)}:
        model.shuffle.set_state(document["shuffle"])
        torch.set_rng_state(processes["torch"][group.rank])
        world.generator.set_state(processes["world"][group.rank])
        if "cuda" in processes:
            torch.cuda.set_rng_state(processes["cuda"][group.rank], model.device)
    else:
        notes.append("the random numbers start from the seed: other processes or another device")
    levels = processes["levels"]
    if json.loads(document["terrains"]) != _terrains(model):
        notes.append("the robots start on the levels of the new terrain's curriculum")
    elif same_processes and levels.shape[1] == world.num_envs:
        world.physics.level[:] = levels[group.rank].to(world.device)
    else:
        notes.append("the robots start on the first levels of the curriculum: their number has changed")
    return notes


def _random_states(model: LunarPPO) -> dict[str, torch.Tensor]:
    states = {"torch": torch.get_rng_state(), "world": model.env.world.generator.get_state()}  # type: ignore[union-attr]
    if model.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(model.device)
    return states


def _identity(model: LunarPPO) -> dict[str, Any]:
    """What must be the same for the weights to mean the same."""
    world = model.env.world  # type: ignore[union-attr]
    return _plain(
        {
            "robot": world.cfg.physics.robot,
            "action_scale": world.cfg.action_scale,
            "ages": world.spec.ages,
            "model": asdict(model.config.model),
            "prototypes": model.config.estimator.prototypes,
            "policy_gradient": model.config.estimator.policy_gradient,
        }
    )


def _terrains(model: LunarPPO) -> dict[str, Any]:
    """What must be the same for a robot's terrain level to mean the same."""
    cfg = model.env.world.cfg  # type: ignore[union-attr]
    return _plain({"terrain": asdict(cfg.terrain), "others": cfg.other_terrains, "curriculum": cfg.curriculum.enabled})


def _refuse_others(theirs: dict[str, Any], ours: dict[str, Any], path: Path) -> None:
    theirs, ours = dict(_leaves(theirs)), dict(_leaves(ours))
    for name in [*theirs, *ours]:
        if theirs.get(name) != ours.get(name):
            raise LunarError(
                f"checkpoint {path} has {name} {theirs.get(name, 'absent')}, this training {ours.get(name, 'absent')}: "
                f"continue it with its own, or train anew without --resume"
            )


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON: lists for tuples."""
    return json.loads(json.dumps(value))
