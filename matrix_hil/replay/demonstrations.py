"""What a policy saw and did in a HIL log, as demonstrations for a student.

``/sync/input`` holds the robot's state that a cycle worked on, bit by bit; ``/hop_command`` the policy's command;
``/robot/command`` the robot's. The frames of ``/robot/joint_states`` and ``/robot/imu`` are of the
same states, the latter without gravity's length.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from matrix_hil.control.leg_weight import LegRelief
from matrix_hil.log import Log, read_log
from matrix_hil.log.cycle_input import machine_states
from matrix_hil.log.notes import end_of, refuse_unknown
from matrix_hil.messages import is_finite
from matrix_hil.replay.logged import logged_config
from policy.distill.teachers import Demonstrations
from policy.runtime.card import Card
from sim.errors import LunarError
from sim.spec.observation import PRONK_OBSERVATION, FrameStack, make_frame

AGES = (0, 1, 2, 5, 10, 20, 40, 80)
"""Control steps back of the frames that a student may ask for, besides those that the log's policy saw."""


def from_log(path: str | Path) -> Demonstrations:
    """Observations and actions of the control steps in which a policy drove the robot.

    Each stretch begins as the policy's did: with an empty history, which its first frame fills, and a last action of
    zero. An action is what was sent to the robot, less the relief of its legs where the log's loop added it: the
    policy's own, unless safety had to limit it.

    Raises:
        LunarError: the log lacks the policy's card, its configuration or a channel, or no policy drove in it.
    """
    log = read_log(path)
    refuse_unknown(log)
    card = _card(log)
    ages = tuple(sorted({*AGES, *card.observation.ages}))
    card = replace(card, observation=replace(card.observation, ages=ages))
    pairs = list(_steps(log, card))
    if not pairs:
        raise LunarError(f"log {log.path} shows no moment in which a policy drove the robot; there is nothing to learn")
    end_of(log)
    observation, action = (torch.from_numpy(np.array(values, dtype=np.float32)) for values in zip(*pairs, strict=True))
    return Demonstrations(str(log.path), card, observation, action)


def _card(log: Log) -> Card:
    """Of the policy that ran."""
    text = log.attachments.get("card.json")
    source = f"card.json of {log.path.name}"
    if text is None:
        raise LunarError(f"log {log.path} holds no card.json, so that nobody knows what its policy saw")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LunarError(f"{source} cannot be read: {error}") from None
    card = Card.from_json(data, source)
    if difference := card.observation.difference(PRONK_OBSERVATION):
        raise LunarError(f"{source} is of a policy that does not fit this robot's observation: {difference}")
    return card


def _steps(log: Log, card: Card) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Observation (size,) and action (12,) of each control step, in order; it comes when sync has the policy act."""
    inputs, sent, hop_commands = (log[topic] for topic in ("/sync/input", "/robot/command", "/hop_command"))
    logged = logged_config(log, ["sync", "rig"])
    cfg = logged.sync
    relief = LegRelief(logged.rig.robot) if cfg.leg_relief else None
    period, stack = 1.0 / card.observation.rate, FrameStack(card.observation)
    # a cycle writes all three at the same moment; where a log was cut, one may be missing
    time, of_input, of_sent = np.intersect1d(inputs.log_time, sent.log_time, return_indices=True)
    time, shared, of_hop = np.intersect1d(time, hop_commands.log_time, return_indices=True)
    names = ("vx", "vy", "yaw_rate", "apex_gain", "economy")
    command = np.stack([getattr(hop_commands, name) for name in names], axis=1)
    robot, acted, action = None, -math.inf, np.zeros(card.action_size)
    for k, s, t, now in zip(of_input[shared], of_sent[shared], of_hop, time, strict=True):
        state = machine_states(inputs, k).robot
        robot = state if state is not None and is_finite(state) else robot
        if sent.mode[s] != "run":
            stack.reset()
            acted, action = -math.inf, np.zeros(card.action_size)
        elif robot is not None and now - acted >= period - 0.5 / cfg.rate:
            acted = now
            frame = make_frame({**vars(robot), "last_action": action}, card.sensors)
            observation = stack.push(frame, card.clip_command(command[t]))
            targets = sent.targets[s]
            if relief is not None:
                targets = targets - relief.torques(robot.joint_position, robot.projected_gravity) / card.kp
            action = (targets - np.array(card.default_pose)) / card.action_scale
            yield observation, action
