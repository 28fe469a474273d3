"""The robot on the rig: the policy on it, and an emulated rig of its size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import mujoco
import numpy as np

from matrix_hil.config import EMULATED, HilConfig
from policy.networks.robot import on_robot
from policy.runtime.card import Card
from policy.runtime.robot_rules import STOPS
from sim.errors import LunarError
from sim.rig.config import RigConfig
from sim.robots.identity import identify
from sim.robots.load import load_robot, robot_model
from sim.spec.joints import JOINT_NAMES, NOMINAL_POSE

_AS_WEIGHED = 0.02  # of a robot's mass, by which ``sync.mass`` may be wrong
_ABOVE = 0.05  # m, harness above the centre of mass of a robot of the Go2's size
_BY_WEIGHT = {
    "safety": ("tension_max", "tension_rate", "tension_min", "slack_tension", "rope_astray", "foot_force"),
    "counterweight": ("passive_tension", "winch_force", "tension_limit"),
    "trim": ("integral_limit", "max_force"),
    "rig": ("rope_stiffness", "rope_damping", "pulley_mass"),
}
_BY_TORQUE = {"safety": ("kp_max", "kd_max"), "sync": ("stand_kp", "stand_kd"), "robot": ("kp", "kd")}
_BY_LENGTH = {"safety": ("height_min", "height_max")}

T = TypeVar("T")


def card_on_rig(cfg: HilConfig, card: Card) -> Card:
    """The card of ``cfg.policy`` on the robot that the rig holds: ``rig.robot`` where that is emulated, else the Go2.

    Raises:
        LunarError: they do not go together.
    """
    if cfg.robot.port == EMULATED:
        if card.robot != "go2" and cfg.rig.robot == RigConfig().robot:
            raise LunarError(
                f"policy {cfg.policy} drives '{card.robot}', but the rig holds '{cfg.rig.robot}'; "
                f"name the robot: --robot {card.physics_robot}"
            )
        return on_robot(card, cfg.rig.robot)
    if cfg.rig.robot != RigConfig().robot:
        raise LunarError(f"robot '{cfg.rig.robot}' is asked for, but the robot at {cfg.robot.port} is real: a Go2")
    own = (card.joints.stance, *card.stops)
    if not all(np.array_equal(a, b) for a, b in zip(own, (NOMINAL_POSE, *STOPS), strict=True)):
        raise LunarError(
            f"policy {cfg.policy} drives '{card.robot}', whose stance or joint ranges are not those of the robot that "
            "a real rig is made for, the Go2; an emulated rig takes it, and so do 'lunar eval' and 'lunar play'"
        )
    return card


def fitted(cfg: HilConfig) -> HilConfig:
    """``cfg`` with its weights, forces, gains and heights, which are meant for a robot of ``sync.mass`` kg, in
    proportion to ``rig.robot``. As it is where that is the project's or weighs as much, or the robot is real.

    Raises:
        LunarError: the robot's file cannot be read, or its rope hangs on real machines.
    """
    if cfg.robot.port != EMULATED or identify(cfg.rig.robot).shipped:
        return cfg
    model, body = robot_model(cfg.rig.robot), load_robot(cfg.rig.robot)
    base = int(model.body_rootid[model.jnt_bodyid[model.joint(JOINT_NAMES[0]).id]])
    mass = float(model.body_subtreemass[base])
    weight, length = mass / cfg.sync.mass, body.length_ratio
    if abs(weight - 1.0) <= _AS_WEIGHED:
        return cfg
    if real := [name for name, port in cfg.ports.items() if port != EMULATED]:
        raise LunarError(
            f"robot '{cfg.rig.robot}' weighs {mass:.1f} kg, but sync.mass is {cfg.sync.mass:g} and {real[0]} is real; "
            "set sync.mass and the rig's limits for that robot"
        )
    for group, (names, factor) in [
        *((g, (n, weight)) for g, n in _BY_WEIGHT.items()),
        *((g, (n, weight * length)) for g, n in _BY_TORQUE.items()),
        *((g, (n, length)) for g, n in _BY_LENGTH.items()),
    ]:
        cfg = replace(cfg, **{group: _times(getattr(cfg, group), names, factor)})
    rig = cfg.rig
    if rig.harness == RigConfig().harness:
        rig = replace(rig, harness=_harness(model, base, body.nominal_pose, _ABOVE * length))
    return replace(cfg, sync=replace(cfg.sync, mass=mass), rig=rig)


def _times(config: T, names: tuple[str, ...], factor: float) -> T:
    values: dict[str, Any] = {name: factor * getattr(config, name) for name in names}
    return replace(config, **values)  # type: ignore[type-var]


def _harness(model: mujoco.MjModel, base: int, stance: np.ndarray, above: float) -> tuple[float, float, float]:
    """m in the base frame, ``above`` the centre of mass of the standing robot."""
    data = mujoco.MjData(model)
    data.qpos[:7] = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    data.qpos[7:] = stance
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    x, y, z = (float(v) for v in data.subtree_com[base] - data.xpos[base])
    return x, y, z + above
