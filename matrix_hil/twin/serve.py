"""``lunar twin serve``: a terrain of this project behind an UnrealCV port, for any UnrealCV client."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from matrix_hil.twin.scene_commands import ServerConfig
from matrix_hil.twin.server import TwinServer
from sim.config import parse
from sim.terrain.generators import TerrainConfig, make_terrain


@dataclass(frozen=True)
class ServeConfig:
    """Serve a terrain as a stand-in for Unreal Engine with UnrealCV."""

    terrain: TerrainConfig = field(default_factory=lambda: TerrainConfig(kind="rough"))
    """The ground; ``--terrain.kind`` chooses it."""
    server: ServerConfig = field(default_factory=ServerConfig)
    """The port and the cameras."""
    seed: int = 0
    """Seed of the ground."""


def main(argv: Sequence[str]) -> None:
    """Serve until Ctrl-C.

    Args:
        argv: ``serve``, which may be left out, then options.

    Raises:
        LunarError: bad options, or the port is taken.
    """
    argv = list(argv)
    if argv[:1] == ["serve"]:
        argv = argv[1:]
    cfg = parse(ServeConfig, argv, prog="lunar twin serve")
    with TwinServer(make_terrain(cfg.terrain, cfg.seed), cfg.server) as server:
        print(f"serving '{cfg.terrain.kind}' terrain on 127.0.0.1:{server.port}; Ctrl-C stops", flush=True)
        try:
            while True:
                time.sleep(3600.0)
        except KeyboardInterrupt:
            print("stopped")
