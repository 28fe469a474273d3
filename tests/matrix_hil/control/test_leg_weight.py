"""Rope and leg relief together make a robot on Earth move as it does on the Moon."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from matrix_hil.control.leg_weight import LegRelief
from sim.rig.config import RigConfig
from sim.rig.model import build_model
from sim.spec.gravity import EARTH, MOON
from sim.spec.joints import NOMINAL_POSE

KP = 30.0  # N*m/rad, of the model's servos
STEPS = 600  # ms


def fly(gravity: float, relief: LegRelief | None, height: float = 1.0) -> np.ndarray:
    """(STEPS, 19) pose of a robot that treads, pulled up by M (gravity - 1.62) at its centre of mass.

    From a height of 0.33 m it soon stands on its feet.
    """
    model = build_model(RigConfig(gravity=gravity))
    data = mujoco.MjData(model)
    trunk = model.body("base").id
    data.qpos[:7], data.qpos[7:19] = (0.0, 0.0, height, 1.0, 0.0, 0.0, 0.0), NOMINAL_POSE
    data.qvel[3:6] = (0.2, 0.5, -0.1)
    mass, poses = float(model.body_subtreemass[trunk]), np.zeros((STEPS, 19))
    swing = np.random.default_rng(1).normal(0.0, 0.3, 12)
    for k in range(STEPS):
        mujoco.mj_forward(model, data)
        up = np.array([0.0, 0.0, mass * (gravity - MOON)])
        data.xfrc_applied[trunk, :3] = up
        data.xfrc_applied[trunk, 3:] = np.cross(data.subtree_com[trunk] - data.xipos[trunk], up)
        data.ctrl[:] = NOMINAL_POSE + swing * np.sin(0.02 * k)
        if relief is not None:
            down = -data.body("base").xmat.reshape(3, 3)[2]
            data.ctrl[:] += relief.torques(data.qpos[7:19], down) / KP
        mujoco.mj_step(model, data)
        poses[k] = data.qpos[:19]
    return poses


@pytest.mark.parametrize("height", [1.0, 0.33])
def test_with_rope_and_relief_the_robot_moves_as_on_the_moon(height: float) -> None:
    moon = fly(MOON, None, height)
    relieved, not_relieved = fly(EARTH, LegRelief("go2"), height), fly(EARTH, None, height)
    assert np.abs(relieved - moon).max() < 1e-9
    assert np.abs(not_relieved - moon).max() > 0.02


def test_relief_holds_a_leg_against_the_excess_weight() -> None:
    """Virtual work: the torques are the gradient of the legs' excess potential energy."""
    relief, model = LegRelief("go2"), build_model(RigConfig())
    data = mujoco.MjData(model)

    def energy(joints: np.ndarray) -> float:
        data.qpos[3], data.qpos[7:19] = 1.0, joints
        mujoco.mj_kinematics(model, data)
        legs = slice(model.body("base").id, model.body("platform").id)
        return float(model.body_mass[legs] @ data.xipos[legs, 2]) * (EARTH - MOON)

    steps = 1e-5 * np.eye(12)
    expected = [(energy(NOMINAL_POSE + step) - energy(NOMINAL_POSE - step)) / 2e-5 for step in steps]
    assert relief.torques(NOMINAL_POSE, np.array([0.0, 0.0, -1.0])) == pytest.approx(expected, abs=1e-5)
    assert np.abs(expected).max() > 0.3


def test_gravity_turns_with_the_base() -> None:
    relief = LegRelief("go2")
    upside_down = relief.torques(NOMINAL_POSE, np.array([0.0, 0.0, 1.0]))
    assert upside_down == pytest.approx(-relief.torques(NOMINAL_POSE, np.array([0.0, 0.0, -1.0])))
    along_x = relief.torques(NOMINAL_POSE, np.array([1.0, 0.0, 0.0]))
    assert along_x[0] == pytest.approx(0.0, abs=1e-9)  # gravity along the abduction axis turns nothing about it
