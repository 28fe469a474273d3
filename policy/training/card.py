"""The card of a policy that was trained here."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from policy.networks.actor import ModelConfig
from policy.runtime.card import Card
from sim.robots.identity import identify
from sim.spec.command import HopCommand
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION
from sim.tasks.config import WorldConfig


def make_card(world: WorldConfig, model: ModelConfig, training: dict[str, Any]) -> Card:
    """Of a policy with ``model``'s networks, trained in ``world``; ``training`` is what the card tells of that."""
    physics = world.physics
    robot = identify(physics.robot)
    return Card(
        observation=replace(PRONK_OBSERVATION, ages=world.ages, scan=world.scan),
        robot=robot.name,
        robot_digest=robot.digest,
        mjcf="" if robot.shipped else physics.robot,
        action_scale=world.action_scale,
        default_pose=NOMINAL_POSE.tolist(),
        kp=physics.kp,
        kd=physics.kd,
        gravity=physics.gravity,
        command_low=world.commands.low(),
        command_high=world.commands.high(),
        default_command=HopCommand().array().tolist(),
        model=asdict(model),
        training=training,
    )
