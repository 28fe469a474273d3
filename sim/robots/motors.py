"""What a robot's motors can do, from the actuators and joints of its MJCF."""

from __future__ import annotations

import mujoco
import numpy as np

from sim.errors import LunarError

_ON_JOINTS = (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT)
_CONTRADICTED = 2.0  # times a joint's own limit beyond which an actuator's is of another robot
_GAIN, _BIAS = mujoco.mjtGain, mujoco.mjtBias


def torque_limits(model: mujoco.MjModel, joints: np.ndarray, path: object) -> np.ndarray:
    """(n,) N*m that the motors of ``joints`` can give, the smaller way where the two differ.

    The least of what stands in the file: ``actuatorfrcrange`` of the joint; ``forcerange`` times gear of its actuators;
    ``ctrlrange`` times gain and gear of those that take a torque; the stall torque of a DC motor.

    Raises:
        LunarError: nothing limits a joint, or its own limit is far below its actuator's.
    """
    of_joint, of_actuators = (np.array([of(model, j) for j in joints]) for of in (_of_joint, _of_actuators))
    limits = np.minimum(of_joint, of_actuators)
    names = [model.joint(int(j)).name for j in joints]
    if (bad := ~(np.isfinite(limits) & (limits > 0.0))).any():
        raise LunarError(
            f"robot {path} does not say what torque joint '{names[int(np.argmax(bad))]}' can give: add "
            "actuatorfrcrange to the joint, or forcerange to its actuator, in N*m"
        )
    if (bad := np.isfinite(of_actuators) & (of_actuators > _CONTRADICTED * of_joint)).any():
        k = int(np.argmax(bad))
        raise LunarError(
            f"robot {path} contradicts itself: joint '{names[k]}' is limited to {of_joint[k]:g} N*m by its "
            f"actuatorfrcrange, but its actuator gives {of_actuators[k]:g} N*m; delete the one that is wrong"
        )
    return limits


def _of_joint(model: mujoco.MjModel, joint: int) -> float:
    return _smaller(model.jnt_actfrcrange[joint]) if model.jnt_actfrclimited[joint] else np.inf


def _of_actuators(model: mujoco.MjModel, joint: int) -> float:
    """N*m of all actuators on a joint together: several, such as one for position and one for speed, add up."""
    on_joints = np.isin(model.actuator_trntype, _ON_JOINTS)
    own = np.flatnonzero(on_joints & (model.actuator_trnid[:, 0] == joint))
    return sum(_of_actuator(model, int(a)) for a in own) if len(own) else np.inf


def _of_actuator(model: mujoco.MjModel, a: int) -> float:
    """N*m, of one."""
    limits = [np.inf]
    if model.actuator_forcelimited[a]:
        limits.append(_smaller(model.actuator_forcerange[a]))
    gain = model.actuator_gainprm[a]
    if model.actuator_gaintype[a] == _GAIN.mjGAIN_FIXED and model.actuator_biastype[a] == _BIAS.mjBIAS_NONE:
        if model.actuator_ctrllimited[a]:
            limits.append(_smaller(model.actuator_ctrlrange[a]) * abs(float(gain[0])))
    elif model.actuator_gaintype[a] == _GAIN.mjGAIN_DCMOTOR and model.actuator_ctrllimited[a]:
        resistance, constant = float(gain[0]), float(gain[1])
        limits.append(_smaller(model.actuator_ctrlrange[a]) * constant / resistance if resistance > 0.0 else np.inf)
    return min(limits) * abs(float(model.actuator_gear[a, 0]))


def _smaller(limits: np.ndarray) -> float:
    """Of the two ways, each at least zero."""
    low, high = (float(v) for v in limits)
    return max(0.0, min(-low, high))
