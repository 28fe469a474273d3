"""Pictures and files that ``lunar terrain`` writes; an Unreal landscape reads back as the same ground."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh
from PIL import Image

from sim.errors import LunarError
from sim.terrain.cli import main
from sim.terrain.generators import TerrainConfig, load_terrain, make_terrain
from sim.terrain.height_field import HeightField
from sim.terrain.unreal import SIZES, export_mesh, export_unreal, read_unreal


def test_a_landscape_reads_back_within_its_height_step(tmp_path):
    field = make_terrain(TerrainConfig(kind="highland"), seed=4)
    description = export_unreal(field, tmp_path)
    again = read_unreal(tmp_path)
    assert len(again.heights) == description["vertices"] == 1009
    np.testing.assert_allclose(again.extent, field.extent, atol=1e-9)
    axis = np.linspace(-24.0, 24.0, 1009)
    error = again.heights - field.height(axis[None, :], axis[:, None])
    assert np.abs(error).max() <= description["height_step_m"] / 2 + 1e-9
    assert description["height_step_m"] < 0.001


def test_the_landscape_lies_in_unreals_axes(tmp_path):
    axis = np.linspace(-6.3, 6.3, 127)
    heights = np.exp(-((axis[None, :] - 3.0) ** 2 + (axis[:, None] - 2.0) ** 2))
    description = export_unreal(HeightField(heights, 0.1, (-6.3, -6.3)), tmp_path)
    with Image.open(tmp_path / "landscape.png") as image:
        assert image.mode == "I;16"
        stored = np.asarray(image).astype(int)
    row, col = np.unravel_index(np.argmax(stored), stored.shape)
    scale_x, scale_y, scale_z = description["scale"]
    x, y, z = description["location_cm"]
    # what Unreal would draw: centimetres, x forward, y to the right
    assert x + col * scale_x == pytest.approx(300.0, abs=scale_x)
    assert y + row * scale_y == pytest.approx(-200.0, abs=scale_y)
    assert z + (stored[row, col] - 32768) / 128 * scale_z == pytest.approx(100.0, abs=0.5)
    assert stored.min() < 100 and stored.max() > 65400


def test_a_flat_world_is_a_flat_landscape(tmp_path):
    export_unreal(make_terrain(TerrainConfig(), 0), tmp_path)
    again = read_unreal(tmp_path)
    assert again.is_flat and again.heights.shape == (SIZES[0], SIZES[0])
    np.testing.assert_allclose(again.extent, (-24.0, 24.0, -24.0, 24.0))


def test_a_damaged_landscape_is_named(tmp_path):
    with pytest.raises(LunarError, match="export it anew"):
        read_unreal(tmp_path)
    with pytest.raises(LunarError, match="square"):
        export_unreal(HeightField(np.zeros((10, 20)), 1.0, (0.0, 0.0)), tmp_path)


def in_unreal(path):
    """Vertices (n, 3) and upward faces' normals as Unreal's glTF importer takes them: (x, z, y) in cm, left-handed."""
    mesh = trimesh.load(path, force="scene").to_geometry()
    assert (mesh.face_normals[:, 1] > 0).all(), "the front of every face looks up"
    return 100.0 * mesh.vertices[:, [0, 2, 1]]


@pytest.mark.parametrize("size, resolution, tiles", [(16.0, 0.05, 4), (12.0, 0.1, 1), (7.2, 0.3, 1)])
def test_a_mesh_has_the_ground_in_unreals_axes(tmp_path, size, resolution, tiles):
    field = make_terrain(TerrainConfig(kind="mare", size=size, resolution=resolution), 2)
    description = export_mesh(field, tmp_path)
    assert description["tiles"] == tiles and json.loads((tmp_path / "mesh.json").read_text()) == description
    x, y, z = in_unreal(tmp_path / "terrain.glb").T
    np.testing.assert_allclose(z / 100, field.height(x / 100, -y / 100), atol=1e-4)
    assert len(x) >= field.heights.size
    for got, name in ((np.min, "min_cm"), (np.max, "max_cm")):
        np.testing.assert_allclose([got(v) for v in (x, y, z)], description[name], atol=0.01)
    np.testing.assert_allclose([v[np.argmax(z)] for v in (x, y, z)], description["highest_cm"], atol=0.01)


def test_a_mesh_of_a_fine_map_is_thinned_out_and_reaches_the_edges(tmp_path, monkeypatch):
    monkeypatch.setattr("sim.terrain.unreal.FINEST_MESH", 50)
    field = make_terrain(TerrainConfig(kind="mare", size=16.0, resolution=0.1), 2)
    assert export_mesh(field, tmp_path)["spacing_m"] == pytest.approx(0.4)
    x, y, _ = in_unreal(tmp_path / "terrain.glb").T
    assert (x.min(), x.max(), y.min(), y.max()) == pytest.approx((-800, 800, -800, 800))
    export_mesh(make_terrain(TerrainConfig(), 0), tmp_path)
    assert len(in_unreal(tmp_path / "terrain.glb")) == 4


def test_export_writes_what_training_sees(tmp_path, capsys):
    out = tmp_path / "x"
    main(["export", "mare", "--seed", "3", "--size", "16", "--unreal", "--out", str(out)])
    field = make_terrain(TerrainConfig(kind="mare", size=16.0), 3)
    np.testing.assert_array_equal(np.load(out / "heights.npy"), field.heights)
    description = json.loads((out / "terrain.json").read_text())
    assert description["origin"] == [-8.0, -8.0]
    assert len(description["rocks"]["diameter"]) > 0
    said = capsys.readouterr().out
    assert (out / "landscape.png").is_file() and "scale" in said
    assert (out / "terrain.glb").is_file() and "static meshes for UnrealCV's depth camera" in said
    np.testing.assert_allclose(read_unreal(out).extent, field.extent, atol=1e-9)


def test_an_exported_map_can_be_a_site_again(tmp_path):
    main(["export", "mare", "--size", "32", "--resolution", "0.1", "--out", str(tmp_path)])
    own = tmp_path / "own.yaml"
    own.write_text(f"dem: {{path: {tmp_path}/heights.npy, resolution: 0.1, detail: 0}}\nsize: 16\nresolution: 0.1\n")
    site = make_terrain(load_terrain(own), 0).heights
    part = np.load(tmp_path / "heights.npy")[80:241, 80:241]
    np.testing.assert_allclose(site, part - part.mean(), atol=1e-5)


@pytest.mark.parametrize("preset", ["blocky", "flat"])
def test_preview_draws_a_picture(tmp_path, preset):
    out = tmp_path / "p.png"
    main(["preview", preset, "--level", "5", "--seed", "1", "--out", str(out)])
    with Image.open(out) as image:
        grey = np.asarray(image.convert("L"))
    assert min(grey.shape) > 700
    assert (grey[100:500, 100:500].std() > 15) == (preset == "blocky")


@pytest.mark.parametrize(
    "argv, message", [(["draw"], "preview, export or restore"), (["preview", "mare", "--leval", "2"], "level")]
)
def test_mistakes_are_named(argv, message):
    with pytest.raises(LunarError, match=message):
        main(argv)
