"""Pictures of a world's first robot, for the interfaces that have a ``render_mode``."""

from __future__ import annotations

import numpy as np

from sim.envs.world import PronkWorld
from sim.view.render import Renderer


class Picture:
    """Draws the first robot of ``world``; nothing is opened before the first picture."""

    def __init__(self, world: PronkWorld) -> None:
        self.world = world
        self._renderer: Renderer | None = None
        self._level = 0

    def frame(self) -> np.ndarray:
        """(480, 640, 3) uint8, from the robot's right side.

        Raises:
            LunarError: this machine cannot draw.
        """
        level = int(self.world.physics.level[0])
        if self._renderer is None or level != self._level:
            self.close()
            self._renderer, self._level = Renderer(self.world.cfg.physics, self.world.physics.terrain[level]), level
        return self._renderer.frame(self.world.physics.qpos[0].cpu().numpy())

    def close(self) -> None:
        """Free the GL context."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = None
