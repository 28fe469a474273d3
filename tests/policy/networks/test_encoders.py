"""Encoders see the frames of their horizon and nothing else; the actor hands on what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from policy.networks.actor import Actor
from policy.networks.config import EncoderConfig, ModelConfig
from sim.errors import LunarError
from sim.spec.observation import PRONK_OBSERVATION, ScanGrid

LONG = EncoderConfig(ages=(0, 1, 2, 5, 10), estimates=("vx", "vy", "height"), latent=8)
SHORT = EncoderConfig(ages=(0, 1), estimates=("vz",), latent=4)
DUAL = ModelConfig(hidden=(16,), encoders={"long": LONG, "short": replace(SHORT, given="long")})
SPEC = replace(PRONK_OBSERVATION, ages=DUAL.ages)


def changed_by(actor: Actor, age: int, part: slice) -> bool:
    """Whether a change of the frame ``age`` steps back changes this part of the features."""
    torch.manual_seed(0)
    observation = torch.randn(3, SPEC.size)
    other = observation.clone()
    start = SPEC.ages.index(age) * SPEC.frame_size
    other[:, start : start + SPEC.frame_size] += 1.0
    with torch.no_grad():
        before, after = actor.features(observation)[:, part], actor.features(other)[:, part]
    return not torch.equal(before, after)


def test_a_model_asks_for_the_frames_that_it_sees():
    assert DUAL.ages == (0, 1, 2, 5, 10)
    assert ModelConfig(newest=2).ages == (0, 1)


def test_each_horizon_sees_its_own_frames():
    plain = 3 * SPEC.frame_size + 5
    actor = Actor(ModelConfig(encoders={"long": LONG, "short": SHORT}), SPEC)
    latents = plain + 4  # after vx, vy, vz, height
    long, short = slice(latents, latents + 8), slice(latents + 8, latents + 12)
    assert changed_by(actor, 10, long) and not changed_by(actor, 10, short)
    assert changed_by(actor, 1, long) and changed_by(actor, 1, short)
    # given the long horizon's latent, the short one knows of old frames
    assert changed_by(Actor(DUAL, SPEC), 10, short)


def test_estimates_are_in_si_units_and_in_the_order_of_their_names():
    actor = Actor(DUAL, SPEC)
    assert actor.estimates == ("vx", "vy", "vz", "height")
    observation = torch.randn(5, SPEC.size)
    out = actor(observation)
    assert out.action.shape == out.std.shape == (5, 12) and out.estimate.shape == (5, 4) and out.latent.shape == (5, 12)
    features = actor.features(observation)
    plain = 3 * SPEC.frame_size + 5
    # the critic's scale of height is 2
    torch.testing.assert_close(out.estimate, features[:, plain : plain + 4] / torch.tensor([1.0, 1.0, 1.0, 2.0]))
    torch.testing.assert_close(features[:, plain + 4 :], out.latent)
    torch.testing.assert_close(out.latent[:, :8].norm(dim=1), torch.ones(5))
    torch.testing.assert_close(out.action, actor.head(features))


def test_the_first_policy_stands_nearly_still():
    assert Actor(DUAL, SPEC)(torch.randn(100, SPEC.size)).action.abs().max() < 0.1


def test_an_actor_that_sees_is_given_the_ground_besides():
    spec, model = replace(SPEC, scan=ScanGrid()), replace(DUAL, scan=ScanGrid())
    actor = Actor(model, spec)
    assert actor.size == SPEC.size + 152 and actor.feature_size == Actor(DUAL, SPEC).feature_size + 152
    observation = torch.randn(2, spec.size)
    elsewhere = observation.clone()
    elsewhere[:, -152:] += 1.0  # the encoders are blind: only the head sees
    one, other = actor(observation), actor(elsewhere)
    assert torch.equal(one.estimate, other.estimate) and not torch.equal(one.action, other.action)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (ModelConfig(encoders={"long": replace(LONG, ages=(0, 7))}), "long sees the frame 7 steps back"),
        (ModelConfig(encoders={"a": SHORT, "b": SHORT}), "'vz' is not one of vx, .*, each once"),
        (ModelConfig(encoders={"a": replace(SHORT, given="b"), "b": LONG}), "a.given is 'b'"),
        (ModelConfig(scan=ScanGrid()), "model.scan is .* the observation's is None"),
        (ModelConfig(newest=9), "model.newest is 9"),
    ],
)
def test_models_that_cannot_be_built(model, sentence):
    with pytest.raises(LunarError, match=sentence):
        Actor(model, SPEC)
