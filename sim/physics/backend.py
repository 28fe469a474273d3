"""Which engine steps the robots."""

from __future__ import annotations

import torch

from sim.errors import LunarError
from sim.physics.base import Physics
from sim.physics.batch import BatchPhysics
from sim.physics.scene import PhysicsConfig
from sim.terrain.height_field import HeightField


def make_physics(
    cfg: PhysicsConfig,
    num_envs: int,
    terrain: HeightField,
    device: torch.device | str,
    threads: int = 0,
) -> Physics:
    """The engine that ``cfg.backend`` names, else the one for ``device``: MuJoCo's C++ threads, as many as ``threads``
    (0: every core), or Warp on CUDA.

    Raises:
        LunarError: the engine cannot run there, or is not installed.
    """
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise LunarError(f"device '{device}': torch sees no CUDA GPU; use device cpu, or install a CUDA build of torch")
    if device.type not in ("cpu", "cuda"):
        raise LunarError(f"device '{device}': physics runs on cpu and cuda only")
    if cfg.backend == "warp" or (cfg.backend == "auto" and device.type == "cuda"):
        from sim.physics.warp import WarpPhysics  # an optional package

        return WarpPhysics(cfg, num_envs, terrain, device)
    if device.type != "cpu":
        raise LunarError(f"physics.backend 'batch' runs on cpu only, not on '{device}'; use backend auto or warp")
    return BatchPhysics(cfg, num_envs, terrain, threads)
