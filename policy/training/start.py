"""A training that starts from another policy's weights, which may estimate less than the one that is trained."""

from __future__ import annotations

from dataclasses import replace

import torch

from policy.networks.actor import Actor
from policy.networks.config import EncoderConfig
from sim.errors import LunarError


@torch.no_grad()
def take_over(actor: Actor, source: Actor) -> None:
    """Give ``actor`` the weights of ``source``. Where an encoder of ``actor`` estimates more, what is new starts with
    random weights, and nothing listens to it yet: both act alike.

    Raises:
        LunarError: they differ in more than that.
    """
    ours, theirs = actor.cfg, source.cfg
    told = {name: replace(e, estimates=()) for name, e in ours.encoders.items()}
    if replace(ours, encoders=told) != replace(
        theirs, encoders={name: replace(e, estimates=()) for name, e in theirs.encoders.items()}
    ):
        raise LunarError("its networks are not those of ppo.model; name the config it was made with")
    if missing := set(source.estimates) - set(actor.estimates):
        raise LunarError(f"it estimates {', '.join(sorted(missing))}, which ppo.model does not")
    own, state = actor.state_dict(), source.state_dict()
    plain = source.feature_size - len(source.estimates) - sum(e.latent for e in theirs.encoders.values())
    inputs = {"head.0.weight": [*range(plain), *_after(actor.estimates, source.estimates, plain, ours.encoders)]}
    outputs: dict[str, list[int]] = {}
    for name, new in ours.encoders.items():
        last = len(new.hidden) * 2
        rows = _after(new.estimates, theirs.encoders[name].estimates, 0, {name: new})
        outputs |= {f"encoders.horizons.{name}.head.{last}.{part}": rows for part in ("weight", "bias")}
        if new.given:
            given, before = ours.encoders[new.given], theirs.encoders[new.given]
            frames = state[first := f"encoders.horizons.{name}.head.0.weight"].shape[1]
            frames -= len(before.estimates) + before.latent
            inputs[first] = [*range(frames), *_after(given.estimates, before.estimates, frames, {new.given: given})]
    for key, value in state.items():
        if key in inputs:
            own[key].zero_()[:, inputs[key]] = value
        elif key in outputs:
            own[key][outputs[key]] = value
        else:
            own[key].copy_(value)


def _after(new: tuple[str, ...], old: tuple[str, ...], start: int, encoders: dict[str, EncoderConfig]) -> list[int]:
    """Where, among new estimates and latents that begin at ``start``, the old estimates and the latents stand."""
    latents = start + len(new)
    return [start + new.index(name) for name in old] + list(
        range(latents, latents + sum(e.latent for e in encoders.values()))
    )
