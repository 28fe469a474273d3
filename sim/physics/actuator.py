"""Joint motors: a position servo whose torque follows a torque-speed curve, as MuJoCo actuators.

**Curve.** With torque limit T and no-load speed w0, a motor that turns at w gives torque in its own direction up to

    available(w) = T                          for w <= c w0
                   T (1 - w / w0) / (1 - c)   for c w0 < w <= w0, and none beyond:

constant up to a corner speed c w0, where the battery's voltage less the back-EMF can no longer drive the full current,
then linear. Against its motion it can always brake with T. The servo asks for kp (target - q) - kd dq and gets what the
curve leaves of it. T, w0 and c are among the robot's facts (``sim.robots``).

**In MuJoCo** that is ``dcmotor`` without inductance, in joint units: motor constant 1, voltage limit w0, resistance
w0 (1 - c) / T, and the force range +-T. Its back-EMF is integrated implicitly, so that the limit stays stable at 5 ms.

**Strength** scales the torque at every speed, servo included: a motor whose torque constant is not what the drive
believes. So resistance goes with 1 / strength, force range and gains with strength.
"""

from __future__ import annotations

import mujoco
import numpy as np

from sim.robots.facts import Facts
from sim.spec.joints import JOINT_NAMES

RESISTANCE, STIFFNESS, DAMPING = 0, 4, 6  # columns of actuator_gainprm in which MuJoCo keeps them


def add_actuators(spec: mujoco.MjSpec, robot: Facts, kp: float, kd: float) -> None:
    """Give every joint a motor with a position servo, in project order; actuators of the file are removed.

    Args:
        spec: the robot.
        robot: its motors' limits.
        kp: N*m/rad.
        kd: N*m*s/rad.
    """
    for actuator in list(spec.actuators):
        spec.delete(actuator)
    for name, limit, no_load_speed in zip(JOINT_NAMES, robot.torque_limit, robot.speed_limit, strict=True):
        joint = spec.joint(name)
        joint.actfrclimited = mujoco.mjtLimited.mjLIMITED_FALSE  # the motor's limit; a stronger motor has another
        actuator = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_dcmotor(
            motorconst=[1.0, 1.0],
            resistance=no_load_speed * (1.0 - robot.corner) / limit,
            controller=[kp, 0.0, kd, 0.0, 0.0, no_load_speed],  # integral gain, slew and its limit unused
            ctrlspec=int(mujoco.mjtCtrlInput.mjINPUT_POS),
        )
        actuator.ctrllimited = actuator.actlimited = (
            mujoco.mjtLimited.mjLIMITED_FALSE
        )  # whatever the file's defaults say
        actuator.gear = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
        actuator.forcerange = [-limit, limit]


def set_gains(model: mujoco.MjModel, kp: np.ndarray | float, kd: np.ndarray | float) -> None:
    """Change the servos of a compiled model to ``kp`` N*m/rad and ``kd`` N*m*s/rad, one for all or (12,)."""
    model.actuator_gainprm[:, STIFFNESS] = kp
    model.actuator_gainprm[:, DAMPING] = kd


def motor_parameters(
    model: mujoco.MjModel, kp: np.ndarray, kd: np.ndarray, strength: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``actuator_gainprm`` (n, joints, ...) and ``actuator_forcerange`` (n, joints, 2) of n robots whose servos have
    ``kp`` (n,) N*m/rad and ``kd`` (n,) N*m*s/rad and whose motors have ``strength`` (n,) times the model's torque."""
    gains = np.repeat(model.actuator_gainprm[None], len(kp), axis=0)
    gains[:, :, RESISTANCE] /= strength[:, None]
    gains[:, :, STIFFNESS] = (kp * strength)[:, None]
    gains[:, :, DAMPING] = (kd * strength)[:, None]
    return gains, model.actuator_forcerange * strength[:, None, None]
