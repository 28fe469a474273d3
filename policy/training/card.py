"""The card of a policy that was trained here."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from policy.networks.actor import ModelConfig
from policy.networks.robot import card_fields
from policy.runtime.card import Card
from sim.physics.scene import gains
from sim.robots.load import load_robot
from sim.spec.command import HopCommand
from sim.spec.observation import PRONK_OBSERVATION
from sim.tasks.config import WorldConfig


def make_card(world: WorldConfig, model: ModelConfig, training: dict[str, Any]) -> Card:
    """Of a policy with ``model``'s networks, trained in ``world``; ``training`` is what the card tells of that."""
    physics = world.physics
    body = load_robot(physics.robot)
    kp, kd = gains(physics, body)
    low, high = world.commands.low(), world.commands.high()
    return Card(
        observation=replace(PRONK_OBSERVATION, ages=world.ages, scan=world.scan),
        **card_fields(physics.robot),
        action_scale=body.action_scale if world.action_scale is None else world.action_scale,
        kp=kp,
        kd=kd,
        gravity=physics.gravity,
        command_low=low,
        command_high=high,
        default_command=np.clip(HopCommand().array(), low, high).tolist(),
        model=asdict(model),
        training=training,
    )
