"""Rope and leg relief together make a robot on Earth move as it does on the Moon."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import pytest

from matrix_hil.rig.leg_weight import LegRelief
from sim.rig import RigConfig
from sim.rig.model import build_model
from sim.spec.gravity import EARTH, MOON
from sim.spec.joints import NOMINAL_POSE

KP = 30.0  # N*m/rad, of the model's servos
STEPS = 600  # ms


def fly(gravity: float, relief: LegRelief | None, height: float = 1.0) -> np.ndarray:
    """(STEPS, 19) robot's pose: legs that tread, rope force M (g - 1.62) at the centre of mass. ``relief`` may be None.

    From a height of 0.33 m the robot soon stands on its feet.
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
    assert np.abs(relieved - moon).max() < 0.004  # torques are held for a step
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

    gradient: Callable[[int], float] = lambda j: (
        (  # noqa: E731
            energy(NOMINAL_POSE + 1e-5 * np.eye(12)[j]) - energy(NOMINAL_POSE - 1e-5 * np.eye(12)[j])
        )
        / 2e-5
    )
    expected = [gradient(j) for j in range(12)]
    assert relief.torques(NOMINAL_POSE, np.array([0.0, 0.0, -1.0])) == pytest.approx(expected, abs=1e-5)
    assert np.abs(expected).max() > 0.3


def test_gravity_turns_with_the_base() -> None:
    """Lying on its side, a robot's abduction joints carry nothing when its legs hang along the axis."""
    relief = LegRelief("go2")
    upside_down = relief.torques(NOMINAL_POSE, np.array([0.0, 0.0, 1.0]))
    assert upside_down == pytest.approx(-relief.torques(NOMINAL_POSE, np.array([0.0, 0.0, -1.0])))
    along_x = relief.torques(NOMINAL_POSE, np.array([1.0, 0.0, 0.0]))
    assert along_x[0] == pytest.approx(0.0, abs=1e-9)  # gravity along the abduction axis turns nothing about it
