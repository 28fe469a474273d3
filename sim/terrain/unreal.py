"""A height field for Unreal Engine: as a static mesh, which UnrealCV's depth camera sees, and as a landscape, which it
does not; and back from the landscape: a 16-bit PNG with its scale in a JSON file next to it.

Unreal stores a height as v in 0 to 65535, which stands (v - 32768) / 128 centimetres times the actor's Z scale above
the actor. Its axes are left-handed: x forward as here, y to the right; a landscape's first row is its lowest y.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

from sim.errors import LunarError
from sim.output import write_whole
from sim.terrain.height_field import HeightField

SIZES = (127, 253, 505, 1009, 2017, 4033, 8129)
"""Vertices along an edge of the landscapes that Unreal's guide recommends."""
ZERO = 32768
PER_CM = 128.0
"""Steps per centimetre at a Z scale of 1."""
IMAGE, DESCRIPTION = "landscape.png", "landscape.json"
MESH, MESH_DESCRIPTION = "terrain.glb", "mesh.json"
TILE = 240
"""Squares along an edge of a mesh's tiles: below 65536 vertices, and small enough for culling."""
FINEST_MESH = 2048
"""Squares along an edge of a whole mesh; a finer map is thinned out to that."""


def export_mesh(field: HeightField, folder: Path) -> dict:
    """Write ``terrain.glb``, in tiles, and ``mesh.json`` into ``folder``; returns what the JSON holds.

    glTF is in metres, right-handed with y up; Unreal's importer turns its (x, y, z) into (x, z, y) and makes 100 units
    of a metre. So the file holds (x, z, -y) of the field, and Unreal (x, -y, z) in cm, as in ``matrix_hil.twin.axes``.
    """
    import trimesh

    x0, x1, y0, y1 = field.extent
    stride = math.ceil((max(field.heights.shape) - 1) / FINEST_MESH)
    spacing = stride * field.resolution
    x, y = (np.append(np.arange(low, high - spacing / 2, spacing), high) for low, high in ((x0, x1), (y0, y1)))
    heights = field.height(x[None, :], y[:, None])
    points = np.stack(np.broadcast_arrays(x[None, :], heights, -y[:, None]), axis=-1)
    scene = trimesh.Scene()
    for row in range(0, len(y) - 1, TILE):
        for col in range(0, len(x) - 1, TILE):
            part = points[row : row + TILE + 1, col : col + TILE + 1]
            index = np.arange(part.shape[0] * part.shape[1]).reshape(part.shape[:2])
            a, b, c, d = (k.ravel() for k in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
            faces = np.concatenate([np.stack([a, b, d], axis=1), np.stack([a, d, c], axis=1)])
            name = f"terrain_{row // TILE}_{col // TILE}"
            scene.add_geometry(trimesh.Trimesh(part.reshape(-1, 3), faces, process=False), name, name)
    mesh = scene.export(file_type="glb", include_normals=True)
    top = np.unravel_index(np.argmax(heights), heights.shape)
    description = {
        "mesh": MESH,
        "tiles": len(scene.geometry),
        "spacing_m": spacing,
        "min_cm": [100.0 * x0, -100.0 * y1, 100.0 * float(heights.min())],
        "max_cm": [100.0 * x1, -100.0 * y0, 100.0 * float(heights.max())],
        "highest_cm": [100.0 * float(x[top[1]]), -100.0 * float(y[top[0]]), 100.0 * float(heights[top])],
    }
    write_whole({folder / MESH: mesh, folder / MESH_DESCRIPTION: json.dumps(description, indent=2) + "\n"})
    return description


def export_unreal(field: HeightField, folder: Path) -> dict:
    """Write ``landscape.png`` and ``landscape.json`` into ``folder``; returns what the JSON holds.

    The field is resampled bilinearly to the next landscape size that is at least as fine.

    Raises:
        LunarError: a field that is not square or larger than Unreal's largest landscape.
    """
    x0, x1, y0, y1 = field.extent
    if not math.isclose(x1 - x0, y1 - y0):
        raise LunarError(
            f"the terrain is {x1 - x0:g} by {y1 - y0:g} m; an Unreal landscape is exported from a square one"
        )
    samples = max(field.heights.shape)
    if samples > SIZES[-1]:
        raise LunarError(
            f"the terrain has {samples} samples along an edge, Unreal at most {SIZES[-1]}; raise its resolution"
        )
    vertices = next(size for size in SIZES if size >= samples)
    x, y = np.linspace(x0, x1, vertices), np.linspace(y0, y1, vertices)
    heights = field.height(x[None, :], y[:, None])
    middle = round(100.0 * (heights.max() + heights.min()) / 2, 2)
    furthest = np.abs(100.0 * heights - middle).max()
    # rounded up to what a person types into Unreal's import dialog
    scale_z = max(1e-4, math.ceil(furthest * PER_CM / (ZERO - 1) * 1e4) / 1e4)
    stored = np.round((100.0 * heights - middle) * PER_CM / scale_z + ZERO).astype(np.uint16)
    image = io.BytesIO()
    # our rows run along +y, which is Unreal's -y: the last becomes the first
    Image.fromarray(np.ascontiguousarray(stored[::-1])).save(image, "PNG")
    scale_xy = 100.0 * (x1 - x0) / (vertices - 1)
    description = {
        "image": IMAGE,
        "vertices": vertices,
        "scale": [scale_xy, scale_xy, scale_z],
        "location_cm": [100.0 * x0, -100.0 * y1, middle],
        "z_range_m": [float(heights.min()), float(heights.max())],
        "height_step_m": scale_z / PER_CM / 100.0,
    }
    write_whole({folder / IMAGE: image.getvalue(), folder / DESCRIPTION: json.dumps(description, indent=2) + "\n"})
    return description


def read_unreal(folder: Path) -> HeightField:
    """The height field that ``export_unreal`` wrote, within half its height step.

    Raises:
        LunarError: a missing or damaged file.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        scale_xy, _, scale_z = description["scale"]
        x, y, z = description["location_cm"]
        name = description["image"]
        if name != Path(name).name:
            raise ValueError(f"'{name}' is not a file beside {DESCRIPTION}")
        with Image.open(folder / name) as image:
            stored = np.asarray(image).astype(float)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, Image.DecompressionBombError) as error:
        raise LunarError(f"cannot read an Unreal landscape from '{folder}' ({error}); export it anew") from None
    heights = ((stored[::-1] - ZERO) / PER_CM * scale_z + z) / 100.0
    resolution = scale_xy / 100.0
    return HeightField(heights, resolution, (x / 100.0, -y / 100.0 - (len(heights) - 1) * resolution))
