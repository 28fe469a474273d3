"""A policy that is an ONNX graph alone, as a network for simulations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from policy.networks.actor import ActorOutput
from policy.runtime.card import Card
from policy.runtime.onnx_policy import FILE, open_onnx
from sim.errors import LunarError


class Imported(nn.Module):
    """Runs the graph on the CPU, whatever device the observations are on; nothing in it can be trained.

    Raises:
        LunarError: the file is missing, or not the card's.
    """

    def __init__(self, folder: Path, card: Card) -> None:
        super().__init__()
        if not (folder / FILE).is_file():
            raise LunarError(f"{folder / FILE} does not exist; write it with 'lunar import'")
        self._session = open_onnx(folder / FILE, card)
        self.size = card.observation.size

    def forward(self, observation: Tensor) -> ActorOutput:
        """Observations (N, size) to actions (N, 12); it neither explores nor estimates."""
        rows = observation.detach().cpu().numpy().astype(np.float32)
        action = torch.from_numpy(self._session.run(["action"], {"observation": rows})[0]).to(observation.device)
        nothing = action.new_zeros(len(action), 0)
        return ActorOutput(action, torch.zeros_like(action), nothing, nothing, nothing)
