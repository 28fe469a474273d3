"""Where a run's virtual ground comes from: Unreal, or a stand-in for it over a terrain of our own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from matrix_hil.config import HilConfig
from matrix_hil.messages import TwinPatch
from matrix_hil.run.clocks import GroundSource
from matrix_hil.twin import TwinClient, TwinConfig
from matrix_hil.twin.config import EMBEDDED
from matrix_hil.virtual.process import TwinProcess
from matrix_hil.virtual.unreal import ServerConfig, TwinServer
from sim.errors import LunarError
from sim.terrain.generators import make_terrain

_PATIENCE = 60.0  # s of wall time that a simulated run waits for its own stand-in server


@contextlib.contextmanager
def reachable(cfg: HilConfig, beside: bool = False) -> Iterator[TwinConfig]:
    """``cfg.twin`` with the address of the stand-in that it may ask for, which serves until the end of the ``with``.

    Args:
        cfg: the configuration.
        beside: the stand-in gets a process of its own, so that it does not hold up a loop in real time.
    """
    with ExitStack() as stack:
        twin = replace(cfg.twin, period=cfg.twin.period / cfg.pace)  # the client's rest is the host's time
        port = twin.port
        if twin.host != EMBEDDED:
            yield twin
            return
        if beside:
            port = stack.enter_context(TwinProcess(cfg.terrain, cfg.seed)).port
        else:
            server = TwinServer(make_terrain(cfg.terrain, cfg.seed), ServerConfig(port=0))
            port = stack.enter_context(server).port
        yield replace(twin, host="127.0.0.1", port=port)


@contextlib.contextmanager
def virtual_ground(cfg: HilConfig, clock: Callable[[], float]) -> Iterator[GroundSource]:
    """Connect to Unreal, or to the stand-in, and see the first patch.

    Raises:
        LunarError: nothing answers, or what is seen contradicts itself.
    """
    wall = cfg.clock == "wall"
    with reachable(cfg, beside=wall) as twin:
        if not wall and cfg.twin.host == EMBEDDED:
            # the clock waits: how busy this computer is must not change the run
            twin = replace(twin, timeout=_PATIENCE, deadline=_PATIENCE)
        with TwinClient(twin, clock) as client:
            start = clock() if wall else 0.0
            newest = client.fetch(cfg.sync.start_x, cfg.sync.start_y, start)
            tried = start

            def simulated(world: np.ndarray, velocity: np.ndarray, now: float) -> TwinPatch | None:
                nonlocal newest, tried
                if now - tried >= 1.0 / cfg.twin.rate - 1e-9:
                    tried = now
                    ahead = velocity * min(twin.lead, 0.5 * twin.extent / max(float(np.hypot(*velocity)), 1e-6))
                    x, y = float(world[0] + ahead[0]), float(world[1] + ahead[1])
                    try:
                        newest = client.fetch(x, y, now)
                        client.look_ahead(x, y, float(velocity[0]), float(velocity[1]), now)
                    except LunarError:  # what is remembered says its age, which sync judges
                        newest = client.known(x, y, now) or newest
                return newest

            def real(world: np.ndarray, velocity: np.ndarray, now: float) -> TwinPatch | None:
                client.request(float(world[0]), float(world[1]), float(velocity[0]), float(velocity[1]))
                return client.latest() or newest

            yield real if wall else simulated
