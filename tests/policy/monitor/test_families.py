"""Controls are no faults: within what the card allows, for as long as they say, and at the same phase."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from policy.monitor.families import CONTROLS, HIJACK, SamePhase, Shove
from policy.runtime.card import Card
from sim.config import ROOT

NEVER = 10_000


class Physics:
    """Notes who was pushed how."""

    def __init__(self) -> None:
        self.pushes: list[tuple[list[int], list[list[float]]]] = []

    def set_push(self, ids: torch.Tensor, force: torch.Tensor) -> None:
        self.pushes.append((ids.tolist(), force.tolist()))


def world(flying: torch.Tensor) -> Any:
    return SimpleNamespace(
        dt=0.02, num_envs=len(flying), physics=Physics(), state=SimpleNamespace(in_flight=flying),
        spec=SimpleNamespace(frame_size=42),
    )  # fmt: skip


@pytest.mark.parametrize("policy", ["pronk", "dual"])
@pytest.mark.parametrize("name", [HIJACK, "operator asks for a turn"])
def test_an_order_that_is_no_fault_lies_within_the_range_of_the_card(policy: str, name: str) -> None:
    card = Card.load(ROOT / "policy/zoo" / policy / "card.json")
    control = CONTROLS[name].make()
    control.begin(world(torch.zeros(2, dtype=torch.bool)), torch.tensor([0, NEVER]))
    control.step = 0
    asked = control.ask(torch.full((2, 5), 0.123)).numpy()
    order = asked[0] / np.array([c.scale for c in card.observation.command])
    assert (order >= np.array(card.command_low) - 1e-6).all() and (order <= np.array(card.command_high) + 1e-6).all()
    assert np.allclose(asked[1], 0.123)


def test_noise_that_is_drawn_anew_is_another() -> None:
    here = world(torch.zeros(2, dtype=torch.bool))
    here.generator, other = (torch.Generator().manual_seed(1) for _ in range(2))
    control = CONTROLS["noise drawn anew"].make()
    control.begin(here, torch.tensor([0, NEVER]))
    assert torch.equal(torch.rand(42, generator=here.generator), torch.rand(42, generator=other))
    control.strike(torch.tensor([0]))
    assert (torch.rand(42, generator=here.generator) != torch.rand(42, generator=other)).float().mean() > 0.9


def test_a_push_lasts_one_step() -> None:
    shove, here = Shove(10.0), world(torch.zeros(2, dtype=torch.bool))
    shove.begin(here, torch.tensor([3, NEVER]))
    for shove.step in range(8):
        assert torch.equal(shove.move(torch.ones(2, 12)), torch.ones(2, 12))
    assert here.physics.pushes == [([0], [[0.0, 500.0]]), ([0], [[0.0, 0.0]])]


def test_what_is_replayed_is_of_the_same_phase_one_hop_earlier_and_for_as_long_as_was_said() -> None:
    period, replay = 7, SamePhase(3)
    here = world(torch.zeros(1, dtype=torch.bool))
    replay.begin(here, torch.tensor([30]))
    for replay.step in range(40):
        here.state.in_flight[:] = replay.step % period >= 2
        frame = torch.full((1, 42), float(replay.step))
        seen = replay.sense(frame)[0]
        repeats = 30 <= replay.step < 33
        assert (seen[:30] == replay.step - (period if repeats else 0)).all()
        assert (seen[30:] == replay.step).all()
