"""``lunar terrain restore``: files in, files and limits out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from sim.errors import LunarError
from sim.terrain.cards import load_card, restored_map
from sim.terrain.cli import main

PLACE = Affine(0.05, 0.0, 1000.0, 0.0, -0.05, 2000.0)


@pytest.fixture
def noisy(tmp_path: Path) -> np.ndarray:
    z = np.random.default_rng(0).normal(0.0, 0.02, (40, 50)) + 0.1 * np.arange(50)
    z[5:8, 5:8] = np.nan
    np.save(tmp_path / "map.npy", z.astype(np.float32))
    with rasterio.open(
        tmp_path / "map.tif", "w", driver="GTiff", height=40, width=50, count=1, dtype="float32", transform=PLACE,
        nodata=-9999.0,
    ) as file:  # fmt: skip
        file.write(np.where(np.isfinite(z), z, -9999.0).astype(np.float32), 1)
    return z


def test_a_numpy_map_is_restored_and_its_limits_lie_beside_it(tmp_path, noisy, capsys):
    out = tmp_path / "r.npy"
    main(["restore", str(tmp_path / "map.npy"), "--resolution", "0.05", "--method", "gauss1", "--noise", "white-2cm",
          "--out", str(out)])  # fmt: skip
    restored = np.load(out)
    assert restored.shape == noisy.shape
    assert np.isfinite(restored).all()
    about = json.loads(out.with_suffix(".json").read_text())["results"]
    entry = load_card("gauss1").limit("white-2cm")
    assert about["limits"]["white-2cm"]["slope_deg"] == entry.limits.slope
    assert about["holes"] == pytest.approx(9 / 2000)
    assert f"{entry.limits.slope:.1f}°" in capsys.readouterr().out


def test_a_geotiff_stays_where_it_is(tmp_path, noisy):
    out = tmp_path / "r.tif"
    main(["restore", str(tmp_path / "map.tif"), "--out", str(out)])
    with rasterio.open(out) as file:
        assert file.transform == PLACE
        assert file.shape == noisy.shape
    assert len(json.loads(out.with_suffix(".json").read_text())["results"]["limits"]) > 5


def test_a_finer_map_meets_the_coarse_ones_samples_at_their_places(tmp_path, noisy):
    whole = np.where(np.isfinite(noisy), noisy, 0.0)
    np.save(tmp_path / "coarse.npy", whole)
    out = tmp_path / "r.npy"
    words = ["--resolution", "0.2", "--finer", "4", "--method", "fill"]
    main(["restore", str(tmp_path / "coarse.npy"), *words, "--out", str(out)])
    np.testing.assert_allclose(np.load(out)[::4, ::4], whole, atol=1e-6)
    with rasterio.open(tmp_path / "map.tif") as file:
        centre = file.transform * (0.5, 0.5)
    main(["restore", str(tmp_path / "map.tif"), "--finer", "2", "--method", "fill", "--out", str(tmp_path / "r.tif")])
    with rasterio.open(tmp_path / "r.tif") as file:
        assert file.transform * (0.5, 0.5) == pytest.approx(centre)
        assert file.shape == (79, 99)


def test_ones_own_filter_has_no_limits(tmp_path, noisy, capsys):
    (tmp_path / "mine.py").write_text("import numpy as np\ndef mine(z, r):\n    return np.nan_to_num(z)\n")
    own = f"{tmp_path / 'mine.py'}:mine"
    words = ["restore", str(tmp_path / "map.npy"), "--resolution", "0.05", "--method", own]
    main([*words, "--out", str(tmp_path / "r.npy")])
    assert "limits are not known: 'lunar bench maps --method" in capsys.readouterr().out
    with pytest.raises(LunarError, match="no limits are known"):
        main([*words, "--noise", "stereo"])


def _picture(tmp_path: Path) -> str:
    with rasterio.open(tmp_path / "p.png", "w", driver="PNG", height=40, width=40, count=1, dtype="uint8") as file:
        file.write(np.arange(1600, dtype=np.uint8).reshape(1, 40, 40))
    return str(tmp_path / "p.png")


def _three(tmp_path: Path) -> str:
    np.save(tmp_path / "three.npy", np.zeros((3, 40, 40)))
    return str(tmp_path / "three.npy")


def _bytes(tmp_path: Path) -> str:
    np.save(tmp_path / "b.npy", np.arange(1600, dtype=np.uint8).reshape(40, 40))
    return str(tmp_path / "b.npy")


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (lambda p: [str(p / "map.npy")], "give --resolution"),
        (lambda p: [_picture(p), "--resolution", "0.05"], "give --scale"),
        (lambda p: [_bytes(p), "--resolution", "0.05"], "as a picture has"),
        (lambda p: [_three(p), "--resolution", "0.05"], "one band of rows and columns"),
        (lambda p: [str(p / "none.tif")], "'.*none.tif' does not exist"),
        (lambda p: [str(p / "map.tif"), "--method", "best"], "choose one of fill"),
        (lambda p: [str(p / "map.tif"), "--noise", "fog"], "no noise class 'fog'"),
        (lambda p: [str(p / "map.tif"), "--out", str(p / "x.jpg")], "must end in .npy or .tif"),
        (lambda p: [str(p / "map.tif"), "--band", "2"], "--band"),
        (lambda p: [str(p / "map.tif"), "--finer", "0"], "must be 1 to 64"),
        (lambda p: [], "name a map"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_remedy(tmp_path, monkeypatch, argv, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LunarError, match=said):
        main(["restore", *argv(tmp_path)])
    assert not (tmp_path / "restored.npy").exists()


def test_a_restored_map_tells_the_lowest_of_its_limits(tmp_path, noisy):
    out = tmp_path / "r.tif"
    assert restored_map(tmp_path / "map.tif") is None
    main(["restore", str(tmp_path / "map.tif"), "--method", "adaptive", "--out", str(out)])
    assert restored_map(out).limits == load_card("adaptive").limit("unknown").limits
    main(["restore", str(tmp_path / "map.tif"), "--method", "adaptive", "--noise", "stereo", "--out", str(out)])
    known = restored_map(out)
    assert known.limits == load_card("adaptive").limit("stereo").limits
    assert (known.method, known.noise, known.holds) == ("adaptive", "stereo", True)
    coarse = tmp_path / "coarse.npy"
    np.save(coarse, np.random.default_rng(1).normal(size=(20, 20)))
    main(["restore", str(coarse), "--resolution", "0.5", "--out", str(tmp_path / "c.npy")])
    assert not restored_map(tmp_path / "c.npy").holds


@pytest.mark.parametrize(
    "change, message",
    [(lambda d: d["results"].update(digest="0"), "another map"),
     (lambda d: d["results"].pop("limits"), "restore it again"),
     (lambda d: d["results"].update(limits={}), "no limits are known"),
     (lambda d: d["results"]["limits"]["stereo"].update(slope_deg=-3), "restore it again")],
)  # fmt: skip
def test_a_record_that_does_not_belong_to_its_map_is_refused(tmp_path, noisy, change, message):
    out = tmp_path / "r.tif"
    main(["restore", str(tmp_path / "map.tif"), "--noise", "stereo", "--out", str(out)])
    record = out.with_suffix(".json")
    data = json.loads(record.read_text())
    change(data)
    record.write_text(json.dumps(data))
    with pytest.raises(LunarError, match=message):
        restored_map(out)


def test_a_file_of_something_else_beside_a_map_is_left_alone(tmp_path, noisy):
    (tmp_path / "map.json").write_text('{"type": "FeatureCollection"}')
    assert restored_map(tmp_path / "map.tif") is None
