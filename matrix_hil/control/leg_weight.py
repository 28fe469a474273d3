"""Leg relief: the robot's own motors carry what its legs weigh too much on Earth.

The rope carries M (g_E - g_M), but all of it at the trunk: the legs, half of the mass, keep their Earth weight and pull
at their joints. What the excess gravity dg = g_E - g_M does to the robot are the generalised forces
Q = -sum_i m_i dg dz_i/dq over its links i. On the base's coordinates that is a force M dg through the whole robot's
centre of mass, which the rope takes (but for the moment of a harness that is not there); on joint j it is

    tau_j = -sum_i m_i dg dz_i/dq_j,

at most 1 N*m in a Go2. Motors that add -tau_j leave the joints nothing of it: robot, rope and relief together then move
as the robot does on the Moon, in flight and in stance. It goes into the joint targets as -tau_j / kp, 0.03 rad at most.
Without it zoo/pronk on the active rig jumps 12% too high (``lunar fidelity``, apex gain 0.360 m against 0.320 m): in
stance the rope lifts legs that stand on the ground.
"""

from __future__ import annotations

import mujoco
import numpy as np

from sim.robots.load import robot_model
from sim.spec.gravity import EARTH, MOON
from sim.spec.joints import JOINT_NAMES


class LegRelief:
    """Torques that relieve the joints of one kind of robot.

    Args:
        robot: name of an MJCF in sim/robots/, or the path of another one.

    Raises:
        LunarError: the robot's file is missing or unfit.
    """

    def __init__(self, robot: str) -> None:
        self._model = robot_model(robot)
        self._data = mujoco.MjData(self._model)
        self._force = np.zeros(self._model.nv)
        self._data.qpos[:7] = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)  # gravity turns instead of the base

    def torques(self, joint_position: np.ndarray, projected_gravity: np.ndarray) -> np.ndarray:
        """(12,) N*m to add in each joint.

        Args:
            joint_position: (12,) rad, project joint order.
            projected_gravity: (3,) unit vector along gravity, base frame.
        """
        model, data = self._model, self._data
        model.opt.gravity[:] = (EARTH - MOON) * np.asarray(projected_gravity, dtype=float)
        data.qpos[7:] = joint_position
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_rne(model, data, 0, self._force)  # at rest: what holds the links against gravity
        return self._force[-len(JOINT_NAMES) :].copy()
