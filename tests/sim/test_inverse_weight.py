"""Inverse weights of loaded robots against MuJoCo's own ``mj_setConst``."""

from __future__ import annotations

import mujoco
import numpy as np
import torch

from sim.physics.inverse_weight import InverseWeights
from sim.physics.payload import bare_trunk, loaded_trunk
from sim.physics.scene import PhysicsConfig, build_scene

FIELDS = ("body_mass", "body_ipos", "body_inertia", "body_iquat")


def test_they_are_those_that_mujoco_computes():
    model, random = build_scene(PhysicsConfig()), np.random.default_rng(0)
    trunk, n = int(model.jnt_bodyid[0]), 4
    place, offset = random.uniform(-0.1, 0.1, (n, 3)), random.uniform(-0.02, 0.02, (n, 3))
    loaded = loaded_trunk(bare_trunk(model, trunk), random.uniform(-1, 4, n), place, offset)
    armature = model.dof_armature + random.uniform(0.0, 3.0, n)[:, None] * (np.arange(model.nv) == 2)  # of a rope
    weights = InverseWeights(model, trunk, torch.device("cpu"))
    dofs, bodies = (found.numpy() for found in weights(*map(torch.as_tensor, loaded), torch.as_tensor(armature)))
    bare = model.dof_invweight0.copy()
    model.body_sameframe[trunk] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
    for i in range(n):
        for field, values in zip(FIELDS, loaded, strict=True):
            getattr(model, field)[trunk] = values[i]
        model.dof_armature[:] = armature[i]
        mujoco.mj_setConst(model, mujoco.MjData(model))
        np.testing.assert_allclose(dofs[i], model.dof_invweight0, rtol=1e-10)
        np.testing.assert_allclose(bodies[i], model.body_invweight0, rtol=1e-10, atol=1e-12)
        assert np.abs(dofs[i] / bare - 1.0).max() > 0.01  # and a load matters
