"""How readily a robot yields where constraints act on it, when its trunk carries a load: what MuJoCo scales them with.

MuJoCo derives ``dof_invweight0`` and ``body_invweight0`` from the mass matrix in the pose ``qpos0``, anew when masses
change (``mj_setConst``). MuJoCo Warp's ``set_const`` does so for all robots, in 600 launches. A load changes no more of
that matrix than the trunk's own inertia, so that here a few operations do it for the robots that are asked for.
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from torch import Tensor


class InverseWeights:
    """Of robots that differ in their trunk and their armature alone. Computed in float64.

    Args:
        model: the robot.
        trunk: its body with the free joint.
        device: where.
    """

    def __init__(self, model: mujoco.MjModel, trunk: int, device: torch.device) -> None:
        data = mujoco.MjData(model)
        mujoco.mj_fwdPosition(model, data)
        inertia, jacobians = np.zeros((model.nv, model.nv)), np.zeros((model.nbody, 6, model.nv))
        mujoco.mj_fullM(model, data, inertia)
        for body, jacobian in enumerate(jacobians):
            mujoco.mj_jacBodyCom(model, data, jacobian[:3], jacobian[3:], body)
        start = int(model.jnt_dofadr[model.body_jntadr[trunk]])
        self._trunk, self._moves, self._turns = trunk, slice(start, start + 3), slice(start + 3, start + 6)
        self._jacobians = torch.as_tensor(jacobians, device=device)
        self._frame = torch.as_tensor(data.xmat[trunk].reshape(3, 3), device=device)
        fields = (model.body_mass, model.body_ipos, model.body_inertia, model.body_iquat)
        trunk_inertia, _ = self._trunk_inertia(*(torch.as_tensor(f[[trunk]], device=device) for f in fields))
        rest = torch.as_tensor(inertia - np.diag(model.dof_armature), device=device)
        self._rest = rest - trunk_inertia[0]

    def __call__(
        self, mass: Tensor, com: Tensor, inertia: Tensor, quat: Tensor, armature: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``dof_invweight0`` (n, dofs) and ``body_invweight0`` (n, bodies, 2).

        Args:
            mass: (n,) kg, the trunk's ``body_mass``.
            com: (n, 3) m, its ``body_ipos``.
            inertia: (n, 3) kg*m^2, its ``body_inertia``.
            quat: (n, 4), its ``body_iquat``.
            armature: (n, dofs), ``dof_armature``.
        """
        added, jacobian = self._trunk_inertia(*(t.double() for t in (mass, com, inertia, quat)))
        inverse = torch.linalg.inv_ex(self._rest + added + torch.diag_embed(armature.double()))[0]
        dofs = inverse.diagonal(dim1=1, dim2=2).clone()
        for three in (self._moves, self._turns):
            dofs[:, three] = dofs[:, three].mean(1, keepdim=True)
        jacobians = self._jacobians.repeat(len(mass), 1, 1, 1)
        jacobians[:, self._trunk] = jacobian
        bodies = ((jacobians @ inverse[:, None]) * jacobians).sum(3)
        return dofs, bodies.unflatten(2, (2, 3)).mean(3)

    def _trunk_inertia(self, mass: Tensor, com: Tensor, inertia: Tensor, quat: Tensor) -> tuple[Tensor, Tensor]:
        """The trunk's part (n, dofs, dofs) of the mass matrix, and its Jacobian (n, 6, dofs) at the centre of mass."""
        jacobian = self._jacobians[self._trunk].repeat(len(mass), 1, 1)
        jacobian[:, :3, self._turns] = -_cross(com @ self._frame.T) @ self._frame
        w, xyz = quat[:, :1, None], quat[:, 1:]
        cross = _cross(xyz)
        axes = self._frame @ (torch.eye(3, dtype=quat.dtype, device=quat.device) + 2.0 * (w * cross + cross @ cross))
        moves, turns = jacobian[:, :3], jacobian[:, 3:]
        turning = axes.mT @ turns  # in the axes of the inertia
        return mass[:, None, None] * moves.mT @ moves + turning.mT @ (inertia[:, :, None] * turning), jacobian


def _cross(vector: Tensor) -> Tensor:
    """(n, 3, 3), by which ``vector`` (n, 3) is multiplied in a cross product from the left."""
    x, y, z = vector.unbind(1)
    nothing = torch.zeros_like(x)
    rows = (nothing, -z, y), (z, nothing, -x), (-y, x, nothing)
    return torch.stack([torch.stack(row, 1) for row in rows], 1)
