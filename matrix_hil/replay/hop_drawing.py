"""A hop as a small picture: three stills of the robot, and its height, tilt and foot forces, as SVG."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from matrix_hil.log.hops import AFTER, POINTS
from sim.spec.joints import JOINT_NAMES, LEGS

_WIDTH, _STILLS, _CURVE = 210.0, 62.0, 46.0  # px of a picture, and of its parts' heights
_FORCES = ("#2f6fb3", "#5ec8f2", "#d97a1f", "#f0b35b")
_HEIGHT, _TILT = "#30343b", "#c0392b"


def scales_of(curves: np.ndarray) -> list[float]:
    """Largest height in m, tilt in rad and foot force in lunar weights of curves (hops, POINTS, 6)."""
    return [max(float(curves[:, :, part].max()), 1e-3) for part in (slice(1), slice(1, 2), slice(2, 6))]


def curves_svg(curves: np.ndarray, span: float, lift: float, scales: Sequence[float]) -> str:
    """Height and tilt, and the forces below them, with lines at lift-off and touch-down."""
    x = np.linspace(0.0, _WIDTH, POINTS)
    parts = []
    for at in (lift, span - AFTER):
        parts.append(f'<path d="M{at / span * _WIDTH:.1f} 0V{2 * _CURVE + 4:.0f}" stroke="#d5d8dc"/>')
    for column, color in enumerate((_HEIGHT, _TILT, *_FORCES)):
        below = column >= 2
        top = _CURVE + 4.0 if below else 0.0
        y = top + _CURVE * (1.0 - np.clip(curves[:, column] / scales[min(column, 2)], 0.0, 1.0))
        points = "L".join(f"{a:.0f} {b:.1f}" for a, b in zip(x, y, strict=True))
        parts.append(f'<path d="M{points}" stroke="{color}"/>')
    return f'<svg {_size(2 * _CURVE + 4)} fill="none" stroke-width="1.2">{"".join(parts)}</svg>'


def stills_svg(model: mujoco.MjModel, poses: np.ndarray) -> str:
    """The robot from its right side at three moments, on level ground below the lowest foot; nothing without joints."""
    if not np.isfinite(poses).all():
        return ""
    scale, parts = _WIDTH / 3.0 / 0.62, []
    for k, pose in enumerate(poses):
        chains = _chains(model, pose[:12])
        down = pose[12:] / max(float(np.linalg.norm(pose[[12, 14]])), 1e-9)
        turned = np.stack([
            -down[2] * chains[..., 0] + down[0] * chains[..., 2], -down[0] * chains[..., 0] - down[2] * chains[..., 2]
        ], axis=-1)  # fmt: skip
        turned = turned * [scale, -scale]
        turned[..., 0] += (k + 0.5) * _WIDTH / 3.0 - 0.5 * (turned[..., 0].min() + turned[..., 0].max())
        turned[..., 1] += _STILLS - 4.0 - turned[..., 1].max()
        trunk = "L".join(f"{x:.0f} {y:.0f}" for x, y in (turned[0, 0], turned[2, 0]))
        parts.append(f'<path d="M{trunk}" stroke="#30343b" stroke-width="5" stroke-linecap="round"/>')
        for leg, color in zip(turned, _FORCES, strict=True):
            points = "L".join(f"{x:.0f} {y:.0f}" for x, y in leg)
            parts.append(f'<path d="M{points}" stroke="{color}" stroke-width="2"/>')
    return f'<svg {_size(_STILLS)} fill="none">{"".join(parts)}</svg>'


def _chains(model: mujoco.MjModel, joints: np.ndarray) -> np.ndarray:
    """(4, 4, 3) m in the base frame: abduction, hip, knee and foot of each leg, for joints (12,) in rad."""
    data = mujoco.MjData(model)
    data.qpos[:7] = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    data.qpos[[model.jnt_qposadr[model.joint(name).id] for name in JOINT_NAMES]] = joints
    mujoco.mj_kinematics(model, data)
    anchors = np.array([data.xanchor[model.joint(name).id] for name in JOINT_NAMES]).reshape(4, 3, 3)
    feet = np.array([data.geom_xpos[model.geom(leg).id] for leg in LEGS])
    return np.concatenate([anchors, feet[:, None]], axis=1)


def _size(height: float) -> str:
    """Attributes of a picture that may be drawn larger."""
    return f'width="{_WIDTH:.0f}" height="{height:.0f}" viewBox="0 0 {_WIDTH:.0f} {height:.0f}"'
