"""Policies that nothing here would write: for tests of what readers make of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from safetensors.torch import save
from torch import nn

from policy.runtime.card import Card
from policy.runtime.weights import weights_digest


def write_unchecked(folder: Path, actor: nn.Module, card: Card) -> None:
    """Weights, whatever they are, and a card with their digest; an ONNX file of others is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    data = save({name: value.detach().contiguous() for name, value in actor.state_dict().items()})
    (folder / "policy.safetensors").write_bytes(data)
    replace(card, weights=weights_digest(data)).save(folder / "card.json")
    (folder / "policy.onnx").unlink(missing_ok=True)
