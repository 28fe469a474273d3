"""A PDS3 label says in which unit heights are, how a packed image is scaled and what is no height; all of it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from sim.errors import LunarError
from sim.terrain.dem import DemConfig, dem_relief

AXIS = np.arange(121) * 0.2 - 12.0
ROWS, COLS = np.mgrid[:60, :60]
GROUND = 0.15 * COLS + 0.3 * ROWS
"""m. Rises to the east and falls to the north, 1 m pixels."""
PACKED = """OBJECT = COMPRESSED_FILE
 FILE_NAME = "a.JP2"
 ENCODING_TYPE = "JP2"
 UNCOMPRESSED_FILE_NAME = "a.IMG"
END_OBJECT = COMPRESSED_FILE
OBJECT = UNCOMPRESSED_FILE
 FILE_NAME = "a.IMG"
"""


def label(folder: Path, kind: str, bits: int, more: str, packed: bool = False) -> Path:
    """The label of a.IMG, or of a.JP2 that replaces it, in a polar stereographic projection."""
    before, after = (PACKED, "END_OBJECT = UNCOMPRESSED_FILE\n") if packed else ("", "")
    (folder / "a.LBL").write_text(f"""PDS_VERSION_ID = PDS3
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = {60 * bits // 8}
FILE_RECORDS = 60
{before}^IMAGE = "a.IMG"
OBJECT = IMAGE
 LINES = 60
 LINE_SAMPLES = 60
 SAMPLE_TYPE = {kind}
 SAMPLE_BITS = {bits}
{more}
END_OBJECT = IMAGE
{after}OBJECT = IMAGE_MAP_PROJECTION
 MAP_PROJECTION_TYPE = "POLAR STEREOGRAPHIC"
 A_AXIS_RADIUS = 1737.4 <KM>
 B_AXIS_RADIUS = 1737.4 <KM>
 C_AXIS_RADIUS = 1737.4 <KM>
 CENTER_LATITUDE = -90 <DEG>
 CENTER_LONGITUDE = 0 <DEG>
 MAP_SCALE = 1.0 <METERS/PIXEL>
 LINE_PROJECTION_OFFSET = 30.5 <PIXEL>
 SAMPLE_PROJECTION_OFFSET = 30.5 <PIXEL>
END_OBJECT = IMAGE_MAP_PROJECTION
END
""")
    return folder / "a.LBL"


def slopes(path: Path, **options: float) -> tuple[float, float]:
    """To the east and to the north."""
    z = dem_relief(DemConfig(path=str(path), detail=0.0, **options), AXIS, np.random.default_rng(0))
    return (z[60, -1] - z[60, 0]) / 24.0, (z[-1, 60] - z[0, 60]) / 24.0


@pytest.mark.parametrize("unit, metres", [("METER", 1.0), ("KILOMETER", 1e3), ('"km"', 1e3), ("<FEET>", 0.3048)])
def test_heights_are_in_the_labels_unit(tmp_path, unit, metres):
    (GROUND / metres).astype("<f4").tofile(tmp_path / "a.IMG")
    assert slopes(label(tmp_path, "PC_REAL", 32, f" UNIT = {unit}")) == pytest.approx((0.15, -0.3), abs=1e-4)
    with pytest.raises(LunarError, match=r"heights in 'FURLONG'; give m per unit by terrain\.dem\.scale"):
        slopes(label(tmp_path, "PC_REAL", 32, " UNIT = FURLONG"))


def test_a_packed_image_has_the_scale_of_its_label_and_none_without_it(tmp_path):
    whole = np.round(GROUND * 100).astype(np.int16)
    options = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    with rasterio.open(tmp_path / "a.JP2", "w", height=60, width=60, count=1, dtype="int16",
                       transform=rasterio.Affine(1, 0, 0, 0, -1, 0), **options) as file:  # fmt: skip
        file.write(whole[None])
    with pytest.raises(LunarError, match=r"how high it is; set terrain\.dem\.scale"):
        slopes(tmp_path / "a.JP2")
    assert slopes(tmp_path / "a.JP2", scale=0.01) == pytest.approx((0.15, -0.3), abs=1e-3)
    scaled = " UNIT = METER\n SCALING_FACTOR = 0.01\n OFFSET = 1737400.0"
    assert slopes(label(tmp_path, "LSB_INTEGER", 16, scaled, packed=True)) == pytest.approx((0.15, -0.3), abs=1e-3)
    with pytest.raises(LunarError, match=r"give its label '.*a\.LBL'"):
        slopes(tmp_path / "a.JP2")


@pytest.mark.parametrize(
    "key", ["MISSING_CONSTANT", "INVALID_CONSTANT", "CORE_NULL", "NULL", "CORE_HIGH_REPR_SATURATION"]
)
def test_what_a_label_calls_no_height_is_a_hole(tmp_path, key):
    whole = np.round(GROUND * 100).astype("<i2")
    whole[30, 30] = -3000
    whole.tofile(tmp_path / "a.IMG")
    scaled = " SCALING_FACTOR = 0.01\n OFFSET = 0"
    assert slopes(label(tmp_path, "LSB_INTEGER", 16, scaled))
    with pytest.raises(LunarError, match="1 pixels without data"):
        slopes(label(tmp_path, "LSB_INTEGER", 16, f"{scaled}\n {key} = -3000"))


def test_an_image_that_cannot_be_read_without_its_label_names_it(tmp_path):
    GROUND.astype("<f4").tofile(tmp_path / "a.IMG")
    label(tmp_path, "PC_REAL", 32, "")
    with pytest.raises(LunarError, match=r"give its label '.*a\.LBL'"):
        slopes(tmp_path / "a.IMG")
