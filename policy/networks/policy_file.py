"""Policies on disk: a folder with ``policy.safetensors`` (weights) and ``card.json``. Nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from policy.networks.actor import Actor, ModelConfig
from policy.networks.encoder import EncoderConfig
from policy.networks.student import Student, StudentConfig, joint_bins
from policy.runtime.card import Card
from sim.errors import LunarError
from sim.spec.observation import scan_grid

ZOO = Path(__file__).resolve().parent.parent / "zoo"


def save_policy(folder: Path, actor: Actor | Student, card: Card) -> None:
    """Write the actor's weights and the card; a reader never sees a half-written file."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "policy.safetensors.partial"
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in actor.state_dict().items()}, partial)
    partial.chmod(0o644)
    partial.replace(folder / "policy.safetensors")
    card.save(folder / "card.json")


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The state dict of an ``Actor`` or a ``Student``.

    Raises:
        LunarError: missing or damaged file.
    """
    path = folder / "policy.safetensors"
    if not path.is_file():
        raise LunarError(f"policy file {path} does not exist; train one with 'lunar train'")
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise LunarError(f"policy file {path} cannot be read: {error}") from None


def load_actor(folder: str | Path) -> tuple[Actor | Student, Card]:
    """The trained actor or distilled student, observations (N, size) to an ``ActorOutput``, and the card.

    Raises:
        LunarError: missing or damaged files, or weights that are not those of the card.
    """
    folder = Path(folder)
    card = Card.load(folder / "card.json")
    weights = load_weights(folder)
    try:
        actor = network(card)
        actor.load_state_dict(weights)
    except (RuntimeError, TypeError, LunarError) as error:
        detail = " ".join(str(error).split())
        raise LunarError(f"policy {folder}: the weights are not those of its card: {detail}") from None
    return actor.eval(), card


def network(card: Card) -> Actor | Student:
    """The network that a card's ``model`` describes, with new weights.

    Raises:
        LunarError: its parts do not fit together.
        TypeError: a field that no model has.
    """
    if "student" not in card.model:
        return Actor(model_config(card.model), card.observation, card.action_size)
    cfg = StudentConfig(**_tuples(card.model["student"]))
    bins = joint_bins(card, cfg.bins) if cfg.head == "tokens" else None
    return Student(cfg, card.observation, card.action_size, bins)


def model_config(fields: dict[str, Any]) -> ModelConfig:
    """What a card's ``model`` says of the networks. Raises TypeError on a field that no model has."""
    model = {name: value for name, value in fields.items() if name != "scan"}
    encoders = {name: EncoderConfig(**_tuples(encoder)) for name, encoder in model.pop("encoders", {}).items()}
    return ModelConfig(**_tuples(model), encoders=encoders, scan=scan_grid(fields.get("scan")))


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
