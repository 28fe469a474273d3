"""What a load on the trunk does to its mass, centre of mass and inertia."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from sim.errors import LunarError


@dataclass(frozen=True)
class Trunk:
    """The trunk as its file has it, in the base frame."""

    mass: float
    """kg."""
    com: np.ndarray
    """(3,) m, centre of mass."""
    inertia: np.ndarray
    """(3, 3) kg*m^2, about the centre of mass."""


def bare_trunk(model: mujoco.MjModel, body: int) -> Trunk:
    """Body ``body`` of ``model``."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
    axes = rotation.reshape(3, 3)
    inertia = axes @ np.diag(model.body_inertia[body]) @ axes.T
    return Trunk(float(model.body_mass[body]), model.body_ipos[body].copy(), inertia)


def loaded_trunk(
    trunk: Trunk, load: np.ndarray, place: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A trunk whose centre of mass lies elsewhere than its file says, with a point mass on it, for n robots.

    Args:
        trunk: the bare trunk.
        load: (n,) kg; a negative one is a trunk that is lighter all over.
        place: (n, 3) m, of the load in the base frame.
        offset: (n, 3) m, by which the bare trunk's centre of mass is displaced.

    Returns:
        Mass (n,), centre of mass (n, 3), principal inertias (n, 3) and the orientation (n, 4) of their axes: MuJoCo's
        ``body_mass``, ``body_ipos``, ``body_inertia`` and ``body_iquat``.

    Raises:
        LunarError: nothing is left of the trunk.
    """
    own_mass, added = trunk.mass + np.minimum(load, 0.0), np.maximum(load, 0.0)
    if np.any(own_mass <= 0):
        least = load.min()
        raise LunarError(f"randomisation.added_mass: {least:.2f} kg leave nothing of a trunk of {trunk.mass:.2f} kg")
    mass, own = own_mass + added, trunk.com + offset
    com = (own_mass[:, None] * own + added[:, None] * place) / mass[:, None]
    inertia = (own_mass / trunk.mass)[:, None, None] * trunk.inertia
    inertia = inertia + _of_point(own_mass, own - com) + _of_point(added, place - com)
    principal, axes = np.linalg.eigh(inertia)
    axes[:, :, 2] *= np.sign(np.linalg.det(axes))[:, None]  # right-handed
    quat = np.zeros((len(load), 4))
    for row, matrix in zip(quat, axes, strict=True):
        mujoco.mju_mat2Quat(row, matrix.ravel())
    return mass, com, principal, quat


def _of_point(mass: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(n, 3, 3) inertia about the origin of point masses (n,) at (n, 3)."""
    square = (at**2).sum(1)[:, None, None] * np.eye(3)
    return mass[:, None, None] * (square - at[:, :, None] * at[:, None, :])
