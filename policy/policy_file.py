"""Policies on disk: a folder with ``policy.safetensors`` (weights) and ``card.json``. Nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from policy.networks import mlp
from policy.runtime.card import Card
from sim.errors import LunarError

ZOO = Path(__file__).resolve().parent / "zoo"


def save_policy(folder: Path, state: dict[str, torch.Tensor], card: Card) -> None:
    """Write weights and card; a reader never sees a half-written file."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "policy.safetensors.partial"
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, partial)
    partial.chmod(0o644)
    partial.replace(folder / "policy.safetensors")
    card.save(folder / "card.json")


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The state dict of an ``AsymmetricPolicy``.

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


def load_actor(folder: str | Path) -> tuple[nn.Sequential, Card]:
    """The deterministic actor, observations (N, size) to actions (N, 12), and the card.

    Raises:
        LunarError: missing or damaged files, or weights that are not those of the card.
    """
    folder = Path(folder)
    card = Card.load(folder / "card.json")
    weights = load_weights(folder)
    actor = mlp(card.observation.size, card.hidden, card.action_size)
    try:
        actor.load_state_dict({k.removeprefix("actor."): v for k, v in weights.items() if k.startswith("actor.")})
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise LunarError(f"policy {folder}: the weights are not those of its card: {detail}") from None
    return actor.eval(), card
