"""Which robot a policy drives: what its card says of one, and what becomes of the policy on another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from policy.runtime.card import Card
from sim.errors import LunarError
from sim.robots.facts import Facts
from sim.robots.identity import identify, robot_file
from sim.robots.load import load_robot


def card_fields(robot: str) -> dict[str, Any]:
    """``Card``'s own fields of ``robot`` (``sim.robots.identity.robot_file``). Raises LunarError as ``load_robot``."""
    which, body = identify(robot), load_robot(robot)
    return {
        "robot": which.name,
        "robot_digest": which.digest,
        "mjcf": "" if which.shipped else str(robot_file(robot)),
        "joint_range": [] if which.shipped else np.stack([body.lower, body.upper]).tolist(),
        "torque_ratio": body.torque_ratio,
        "default_pose": body.nominal_pose.tolist(),
    }


def on_robot(card: Card, robot: str) -> Card:
    """The card of the same policy on ``robot``: about that robot's stance, with its servos' gains in proportion
    (``sim.robots.derive``). As it is where that is its own, or ``robot`` is empty.

    Raises:
        LunarError: as ``load_robot``, or that robot's knees bend the other way.
    """
    if not robot or identify(robot).digest == card.robot_digest:
        return card
    own, body = load_robot(card.physics_robot), load_robot(robot)
    if (_bend(own) * _bend(body) < 0.0).any():
        raise LunarError(
            f"robot '{robot}' bends its knees the other way than '{card.robot}', for which the policy was trained; "
            f"train one with 'lunar train --robot {robot}'"
        )
    return replace(card, kp=card.kp * body.kp / own.kp, kd=card.kd * body.kd / own.kd, **card_fields(robot))


def _bend(robot: Facts) -> np.ndarray:
    """(4,) rad by which knees turn from standing to kneeling."""
    return (robot.kneeling_pose - robot.nominal_pose)[2::3]
