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
    untold = [
        (replace(cfg, encoders={}), [(name, replace(e, estimates=())) for name, e in cfg.encoders.items()])
        for cfg in (ours, theirs)
    ]
    if untold[0] != untold[1]:
        raise LunarError("its networks are not those of ppo.model; name the config it was made with")
    for name, encoder in theirs.encoders.items():
        if missing := set(encoder.estimates) - set(ours.encoders[name].estimates):
            raise LunarError(f"its encoder {name} estimates {', '.join(sorted(missing))}, which ppo.model's does not")
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
        mine, theirs_here = own[key], value.to(own[key].device)
        if key in inputs:
            wide = torch.zeros_like(mine[: len(theirs_here)])
            wide[:, inputs[key]] = theirs_here
            theirs_here = wide
        mine[outputs.get(key, slice(None))] = theirs_here


def _after(new: tuple[str, ...], old: tuple[str, ...], start: int, encoders: dict[str, EncoderConfig]) -> list[int]:
    """Where, among new estimates and latents that begin at ``start``, the old estimates and the latents stand."""
    latents = start + len(new)
    return [start + new.index(name) for name in old] + list(
        range(latents, latents + sum(e.latent for e in encoders.values()))
    )
