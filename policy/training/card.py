"""The card of a policy that was trained here."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from policy.networks.actor import ModelConfig
from policy.runtime.card import Card
from sim.physics.scene import gains
from sim.robots.identity import identify, robot_file
from sim.robots.load import load_robot
from sim.spec.command import HopCommand
from sim.spec.observation import PRONK_OBSERVATION
from sim.tasks.config import WorldConfig


def make_card(world: WorldConfig, model: ModelConfig, training: dict[str, Any]) -> Card:
    """Of a policy with ``model``'s networks, trained in ``world``; ``training`` is what the card tells of that."""
    physics = world.physics
    robot, body = identify(physics.robot), load_robot(physics.robot)
    kp, kd = gains(physics, body)
    return Card(
        observation=replace(PRONK_OBSERVATION, ages=world.ages, scan=world.scan),
        robot=robot.name,
        robot_digest=robot.digest,
        mjcf="" if robot.shipped else str(robot_file(physics.robot)),
        action_scale=body.action_scale if world.action_scale is None else world.action_scale,
        default_pose=body.nominal_pose.tolist(),
        kp=kp,
        kd=kd,
        joint_range=[] if robot.shipped else np.stack([body.lower, body.upper]).tolist(),
        gravity=physics.gravity,
        command_low=world.commands.low(),
        command_high=world.commands.high(),
        default_command=HopCommand().array().tolist(),
        model=asdict(model),
        training=training,
    )
