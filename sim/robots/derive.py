"""What a quadruped's file does not say, derived from its mass, its legs and its motors.

**Dynamic similarity.** Two robots of the same shape that hop under the same gravity move alike when lengths go with the
leg l, times with sqrt(l / g), forces with M g and torques with M g l (Alexander 1984). With the Go2 as the measure
(M 15.205 kg, l 0.213 m):

    stiffness   kp = 30 (M l) / (M0 l0)            its lunar weight bends the legs by the same angle
    damping     kd = kp * 0.025 s * sqrt(l / l0)   the trunk on its legs swings with the same damping ratio
    action      0.35 rad per unit                  an angle has no size

A rotor or shank so light that the servo would throw it faster than physics steps bounds kp: kp dt^2 / I <= 0.5 at
dt = 5 ms, I the least inertia about a knee, rotor included.

**Motors.** A file says what torque a motor gives, not up to what speed; a DC motor alone does. The others are taken to
be the same motor behind different gears, so that torque times speed is the same for all twelve, and the weakest joint
turns as fast as the Go2's hip in its own time: 30.1 rad/s * sqrt(l0 / l). Full torque up to 45% of that.

**Stance.** The file's keyframe ``home`` or ``stand`` where that is a stance; else feet right below the hips' axes, the
legs bent to cos(0.9) = 62% of their length, knees to the rear where their ranges allow both.
"""

from __future__ import annotations

import mujoco
import numpy as np

from sim.errors import LunarError
from sim.robots.adopt import KNEE_RADIUS, SHANK, foot_centers, leg_length
from sim.robots.anatomy import Legs
from sim.robots.facts import FROM_STOPS, Facts
from sim.robots.go2.facts import GO2
from sim.robots.motors import torque_limits

MASS = 15.205  # kg, of the Go2's file
BENT = np.cos(0.9)  # 1. Length of a leg in stance over its full length
PHYSICS_STEP = 0.005  # s, at which servos must be stable
KNEEL = (0.3, 2.6)  # rad: hip from its stance, knee from the straight leg; the Go2's
_SHORTEST, _LONGEST = 0.40, 0.92  # of a leg in stance over its full length
_SAME = 0.1  # rad by which left and right legs of a keyframe may differ
_NAMES = ("home", "stand")


def derive(model: mujoco.MjModel, legs: Legs, path: object) -> Facts:
    """Facts of the quadruped whose file ``model`` was built from, before it was brought into the project's terms.

    Raises:
        LunarError: its motors' torque is unknown, or its legs cannot stand.
    """
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mass, length = float(model.body_subtreemass[legs.base]) / MASS, leg_length(model, data, legs) / SHANK
    time = float(np.sqrt(length))
    lower, upper = _ranges(model, legs)
    torque = torque_limits(model, legs.joints, path)
    straight, folded = _solved(model, data, legs, lower, upper, path)
    stance = _keyframe(model, data, legs, lower, upper)
    stance = folded if stance is None else stance
    kp = min(GO2.kp * mass * length, 0.5 * _lightest(model, data, legs, stance) / PHYSICS_STEP**2)
    kneeling = _kneeling(stance, straight, lower, upper)
    return Facts(
        lower=lower,
        upper=upper,
        torque_limit=torque,
        speed_limit=GO2.speed_limit[0] / time * torque.min() / torque,
        corner=GO2.corner,
        nominal_pose=stance,
        kp=_rounded(kp),
        kd=_rounded(kp * GO2.kd / GO2.kp * time),
        action_scale=GO2.action_scale,
        kneeling_pose=kneeling,
        kneeling_height=_lowest(model, data, legs, kneeling, length) + 0.02,
        mass_ratio=round(mass, 4),
        length_ratio=round(length, 4),
    )


def _rounded(value: float) -> float:
    """To three digits: no gain is known better."""
    return float(f"{value:.3g}")


def _ranges(model: mujoco.MjModel, legs: Legs) -> tuple[np.ndarray, np.ndarray]:
    """(12,) rad, least and greatest joint angles in the project's signs: within a turn each way, +-pi without stops."""
    ranges = np.where(model.jnt_limited[legs.joints, None], model.jnt_range[legs.joints], [-np.pi, np.pi])
    ranges = np.sort(ranges * legs.signs[:, None], axis=1)
    lower, upper = np.clip(ranges, -2.0 * np.pi, 2.0 * np.pi).T
    return lower, upper


def _place(model: mujoco.MjModel, data: mujoco.MjData, legs: Legs, pose: np.ndarray) -> None:
    """The upright robot at the origin with joints at ``pose`` (12,) rad."""
    data.qpos[:] = model.qpos0
    root = model.jnt_qposadr[model.body_jntadr[legs.base]]
    data.qpos[root : root + 7] = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    data.qpos[model.jnt_qposadr[legs.joints]] = pose * legs.signs
    mujoco.mj_kinematics(model, data)


def _solved(
    model: mujoco.MjModel, data: mujoco.MjData, legs: Legs, lower: np.ndarray, upper: np.ndarray, path: object
) -> tuple[np.ndarray, np.ndarray]:
    """(12,) rad: the straight legs, as far as they are known by their knees alone, and a stance on bent ones."""
    at_file = model.qpos0[model.jnt_qposadr[legs.joints]] * legs.signs
    pose = at_file.copy()
    _place(model, data, legs, pose)
    for k in range(0, 12, 3):  # the hip's axis level, so that the leg swings in an upright plane
        axis = data.xaxis[legs.joints[k + 1]] * legs.signs[k + 1]
        pose[k] = np.clip(round(pose[k] - np.arctan2(axis[2], axis[1]), 3), *_inside(lower[k], upper[k]))
    _place(model, data, legs, pose)
    anchors, feet = data.xanchor[legs.joints].reshape(4, 3, 3), foot_centers(model, data, legs)
    straight, folded = pose.copy(), pose.copy()
    for leg in range(4):
        k = 3 * leg
        thigh = (anchors[leg, 2] - anchors[leg, 1])[[0, 2]]
        shank = (feet[leg] - anchors[leg, 2])[[0, 2]]
        a, b = np.linalg.norm(thigh), np.linalg.norm(shank)
        if min(a, b) < 0.25 * max(a, b):
            raise LunarError(
                f"robot {path}: thigh and shank of the leg with joint '{model.joint(legs.joints[k + 2]).name}' are "
                f"{a:.3f} and {b:.3f} m long, on which no leg can fold; is its foot where it belongs?"
            )
        wanted = BENT * (a + b)
        bend = np.arccos(np.clip((wanted**2 - a**2 - b**2) / (2.0 * a * b), -1.0, 1.0))
        straight[k + 2] = pose[k + 2] + _turn(shank, thigh)
        low, high = _inside(lower[k + 2], upper[k + 2])
        options = [_wrapped(straight[k + 2] + side * bend, low, high) for side in (-1.0, 1.0)]
        knee = next((angle for angle in options if low <= angle <= high), None)
        if knee is None:
            knee = min(
                (float(np.clip(angle, low, high)) for angle in options), key=lambda v: min(abs(v - o) for o in options)
            )
        bent = thigh + _rotated(shank, knee - pose[k + 2])
        low, high = _inside(lower[k + 1], upper[k + 1])
        hip = _wrapped(pose[k + 1] + _turn(bent, np.array([0.0, -1.0])), low, high)
        folded[k + 1], folded[k + 2] = np.clip(hip, low, high), knee
        length = float(np.linalg.norm(bent)) / (a + b)
        if not _SHORTEST <= length <= _LONGEST or abs(hip - folded[k + 1]) > _SAME:
            raise LunarError(
                f"robot {path}: the leg with joint '{model.joint(legs.joints[k]).name}' cannot stand below its hip "
                "within its joints' ranges, and the file has no keyframe 'home' in which it stands"
            )
    return straight, folded.round(3)


def _keyframe(
    model: mujoco.MjModel, data: mujoco.MjData, legs: Legs, lower: np.ndarray, upper: np.ndarray
) -> np.ndarray | None:
    """(12,) rad of the file's keyframe in which the robot stands: within its ranges, the legs bent, left as right, and
    the feet below the hips; None for none."""
    for key in range(model.nkey):
        if not model.key(key).name.lower().startswith(_NAMES):
            continue
        pose = model.key_qpos[key, model.jnt_qposadr[legs.joints]] * legs.signs
        _place(model, data, legs, pose)
        anchors, feet = data.xanchor[legs.joints].reshape(4, 3, 3), foot_centers(model, data, legs)
        reach = feet - anchors[:, 1]
        full = [np.linalg.norm(p, axis=1) for p in (anchors[:, 1] - anchors[:, 2], anchors[:, 2] - feet)]
        length = np.linalg.norm(reach, axis=1) / np.sum(full, axis=0)
        left, right = pose.reshape(4, 3)[[0, 2]], pose.reshape(4, 3)[[1, 3]] * [-1.0, 1.0, 1.0]
        stands = (
            ((pose >= lower + FROM_STOPS) & (pose <= upper - FROM_STOPS)).all()
            and ((length >= _SHORTEST) & (length <= _LONGEST)).all()
            and (np.abs(left - right) <= _SAME).all()
            and (np.abs(reach[:, 0]) <= 0.35 * -reach[:, 2]).all()
            and np.ptp(feet[:, 2]) <= 0.1 * -reach[:, 2].mean()
        )
        if stands:
            return pose.round(3)
    return None


def _kneeling(stance: np.ndarray, straight: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """(12,) rad, legs folded as far as their stops allow."""
    pose = stance.copy()
    for k in range(0, 12, 3):
        side = np.sign(stance[k + 2] - straight[k + 2]) or -1.0
        pose[k + 1] += side * KNEEL[0]
        pose[k + 2] = straight[k + 2] + side * KNEEL[1]
    return np.clip(pose, lower + FROM_STOPS, upper - FROM_STOPS).round(3)


def _lowest(model: mujoco.MjModel, data: mujoco.MjData, legs: Legs, pose: np.ndarray, size: float) -> float:
    """m of the base above the lowest of knees and feet in ``pose``."""
    _place(model, data, legs, pose)
    knees = data.xanchor[legs.joints[2::3], 2] - KNEE_RADIUS * size
    feet = foot_centers(model, data, legs)[:, 2] - [foot.radius for foot in legs.feet]
    return round(-float(min(knees.min(), feet.min())), 3)


def _lightest(model: mujoco.MjModel, data: mujoco.MjData, legs: Legs, pose: np.ndarray) -> float:
    """kg*m^2, the least inertia that a knee's motor turns, its rotor included."""
    _place(model, data, legs, pose)
    mujoco.mj_comPos(model, data)
    mujoco.mj_crb(model, data)
    inertia = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, inertia)
    dofs = model.jnt_dofadr[legs.joints[2::3]]
    return float(inertia[dofs, dofs].min())


def _inside(low: float, high: float) -> tuple[float, float]:
    return (low + FROM_STOPS, high - FROM_STOPS) if high - low > 2.0 * FROM_STOPS else (0.5 * (low + high),) * 2


def _turn(start: np.ndarray, end: np.ndarray) -> float:
    """rad about +y that turns the direction ``start`` (x, z) into ``end``."""
    (x, z), (u, w) = start, end
    return float(np.arctan2(z * u - x * w, x * u + z * w))


def _rotated(vector: np.ndarray, angle: float) -> np.ndarray:
    """(x, z) turned about +y."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * vector[0] + s * vector[1], -s * vector[0] + c * vector[1]])


def _wrapped(angle: float, low: float, high: float) -> float:
    """``angle`` plus whole turns: within the range if it can be, else nearest to its middle."""
    turns = angle + 2.0 * np.pi * np.arange(-2, 3)
    inside = [t for t in turns if low <= t <= high]
    return float(min(inside or turns, key=abs if inside else lambda t: abs(t - 0.5 * (low + high))))
