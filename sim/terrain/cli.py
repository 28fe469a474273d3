"""``lunar terrain preview PRESET``, ``lunar terrain export PRESET`` and ``lunar terrain restore MAP``."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from sim.config import parse
from sim.errors import LunarError
from sim.output import write_whole
from sim.terrain.generators import TerrainConfig, build_terrain, load_terrain, preset_names
from sim.terrain.unreal import export_mesh, export_unreal


@dataclass(frozen=True)
class MapConfig:
    """Which map."""

    preset: str = "mare"
    """A preset in configs/terrain/ or the path of such a file; also the first word after the command."""
    seed: int = 0
    """Of everything random."""
    level: int | None = None
    """0 to 9; null takes the file's, 9 unless it says otherwise."""
    size: float | None = None
    """m. Edge of the map; null takes the file's, 48 unless it says otherwise."""
    resolution: float | None = None
    """m between samples; null takes the file's, 0.05 unless it says otherwise."""


@dataclass(frozen=True)
class PreviewConfig(MapConfig):
    """Picture of a terrain: hillshade, slopes, size counts against their laws, cross-section."""

    out: str = "terrain.png"
    """File of the picture."""


@dataclass(frozen=True)
class ExportConfig(MapConfig):
    """Write a terrain: heights.npy (float32 m, rows along +y) and terrain.json with its craters and rocks."""

    out: str = "terrain"
    """Folder to write to."""
    unreal: bool = False
    """Also for Unreal Engine: terrain.glb, a static mesh, which UnrealCV's depth camera sees, with mesh.json; and
    landscape.png (16 bit) with landscape.json, a landscape, which it does not see."""


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar terrain``.

    Raises:
        LunarError: none of preview, export and restore, or a wrong option.
    """
    command, *rest = argv or ["--help"]
    if command in ("-h", "--help"):
        print(
            "usage: lunar terrain preview|export PRESET [--key value ...]\n"
            f"       lunar terrain restore MAP [--key value ...]\n\npresets: {', '.join(preset_names())}"
        )
        return
    if command == "preview":
        _preview(parse(PreviewConfig, rest, prog="lunar terrain preview", first=("preset",)))
    elif command == "export":
        _export(parse(ExportConfig, rest, prog="lunar terrain export", first=("preset",)))
    elif command == "restore":
        from sim.terrain import restore_cli  # scipy is slow to import

        restore_cli.main(rest)
    else:
        raise LunarError(f"'{command}' is unknown; choose preview, export or restore")


def _preview(cfg: PreviewConfig) -> None:
    from sim.terrain.preview import preview  # plots are slow to import

    terrain_cfg = _terrain(cfg)
    title = f"{cfg.preset}, seed {cfg.seed}, level {terrain_cfg.level}"
    figure = preview(build_terrain(terrain_cfg, cfg.seed), terrain_cfg, title)
    path, picture = Path(cfg.out), io.BytesIO()
    try:
        figure.savefig(picture, format=path.suffix[1:] or None, dpi=90)
    except ValueError as error:
        raise LunarError(f"cannot write '{path}' ({error}); give --out a .png file") from None
    write_whole({path: picture.getvalue()})
    print(f"wrote {path}")


def _export(cfg: ExportConfig) -> None:
    terrain_cfg = _terrain(cfg)
    terrain = build_terrain(terrain_cfg, cfg.seed)
    folder = Path(cfg.out)
    heights = io.BytesIO()
    np.save(heights, terrain.field.heights, allow_pickle=False)
    description = {
        "preset": cfg.preset,
        "seed": cfg.seed,
        "config": asdict(terrain_cfg),
        "resolution": terrain.field.resolution,
        "origin": list(terrain.field.origin),
        "craters": {name: values.tolist() for name, values in vars(terrain.craters).items()},
        "rocks": {name: values.tolist() for name, values in vars(terrain.rocks).items()},
    }
    write_whole({folder / "heights.npy": heights.getvalue(), folder / "terrain.json": json.dumps(description) + "\n"})
    print(f"wrote {folder / 'heights.npy'} and terrain.json")
    if cfg.unreal:
        mesh = export_mesh(terrain.field, folder)
        top = ", ".join(f"{v:.0f}" for v in mesh["highest_cm"])
        print(
            f"wrote {folder / mesh['mesh']}, {mesh['tiles']} static meshes for UnrealCV's depth camera: put them at "
            f"(0, 0, 0) with scale 1; the highest point is then at ({top}) cm"
        )
        landscape = export_unreal(terrain.field, folder)
        x, y, z = landscape["scale"]
        place = ", ".join(f"{v:g}" for v in landscape["location_cm"])
        print(
            f"wrote {folder / landscape['image']}, for the eye only: import it with scale ({x:.6g}, {y:.6g}, {z:.6g}) "
            f"at ({place}) cm"
        )


def _terrain(cfg: MapConfig) -> TerrainConfig:
    overrides = {n: getattr(cfg, n) for n in ("level", "size", "resolution") if getattr(cfg, n) is not None}
    return replace(load_terrain(cfg.preset), **overrides)
