"""``lunar twin serve``: a terrain of this project behind an UnrealCV port, for any UnrealCV client."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from matrix_hil.virtual.unreal.commands import ServerConfig
from matrix_hil.virtual.unreal.server import Misbehaviour, TwinServer
from sim.config import parse
from sim.terrain.generators import TerrainConfig, make_terrain


@dataclass(frozen=True)
class ServeConfig:
    """Serve a terrain as a stand-in for Unreal Engine with UnrealCV."""

    terrain: TerrainConfig = field(default_factory=lambda: TerrainConfig(kind="rough"))
    """The ground: the name of a preset in configs/terrain/, the path of such a file, or its values one by one."""
    server: ServerConfig = field(default_factory=ServerConfig)
    """The port and the cameras."""
    fault: Misbehaviour | None = None
    """How to misbehave, so that a client can be tried: ``--fault.kind late --fault.times 100``."""
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
        if cfg.fault is not None:
            server.misbehave(cfg.fault)
        print(f"serving the ground on 127.0.0.1:{server.port}; Ctrl-C stops", flush=True)
        try:
            while True:
                time.sleep(3600.0)
        except KeyboardInterrupt:
            print("stopped")
