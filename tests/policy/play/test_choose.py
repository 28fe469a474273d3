"""The policy that is shown is the shipped one that does best on the ground."""

from __future__ import annotations

import json

import pytest

from policy.play.choose import best_policy
from sim.files import ROOT


def survival(folder: str, suite: str) -> float:
    """By a policy's card."""
    return json.loads((ROOT / folder / "card.json").read_text())["metrics"][suite]["survival"]


@pytest.mark.parametrize(
    ("terrain", "suite"), [("mare", "mare"), ("crater-field", "craters"), ("crater-rim", "rim"), ("blocky", "blocky")]
)
def test_none_of_the_others_survives_a_point_more(terrain, suite):
    chosen, why = best_policy(terrain)
    assert suite in why and f"{survival(chosen, suite):.1%}" in why
    for card in (ROOT / "policy/zoo").glob("*/card.json"):
        metrics = json.loads(card.read_text())["metrics"].get(suite, {"survival_low": 0.0})
        low = json.loads((ROOT / chosen / "card.json").read_text())["metrics"][suite]["survival_low"]
        assert metrics["survival_low"] <= low + 0.01


def test_ground_that_nobody_was_measured_on_is_said():
    chosen, why = best_policy("my/site.yaml")
    assert chosen == best_policy("crater-field")[0] and "my/site.yaml was not measured" in why
