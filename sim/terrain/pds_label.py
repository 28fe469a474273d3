"""What a PDS3 label says of heights and GDAL leaves unsaid: their unit, holes under other names, and the scale of a
packed image. LOLA's floats are in kilometres, its JPEG 2000 files in half metres."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_LABEL = 1 << 18
"""Bytes of a file that are searched."""
IMAGE = re.compile(r"^\s*OBJECT\s*=\s*IMAGE\s*$(.*?)^\s*END_OBJECT\s*=\s*IMAGE\s*$", re.M | re.S | re.I)
VALUE = re.compile(r'^\s*(\w+)\s*=\s*(?:"([^"]*)"|([^\r\n]*))', re.M)
NUMBER = re.compile(r"(?<![\w#.])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w#.])")
HOLES = ("CONSTANT", "NULL", "SATURATION", "DUMMY")
"""Endings of the keys that name a value which is no height."""


@dataclass(frozen=True)
class PdsLabel:
    """Of the heights of a file."""

    unit: str = ""
    """As the label spells it."""
    scale: float = 1.0
    """Units per stored number."""
    holes: tuple[float, ...] = ()
    """Stored numbers that are no heights."""


def read_pds_label(path: str) -> PdsLabel:
    """The label in a file, or at its head."""
    with open(path, "rb") as stream:
        text = stream.read(LONGEST_LABEL).decode("latin-1")
    image = IMAGE.search(text)
    keys = {key.upper(): quoted or plain for key, quoted, plain in VALUE.findall(image[1] if image else "")}
    scale = NUMBER.search(keys.get("SCALING_FACTOR", ""))
    holes = (float(n) for key, value in keys.items() if key.endswith(HOLES) for n in NUMBER.findall(value))
    return PdsLabel(keys.get("UNIT", "").strip(" <>\t"), float(scale[0]) if scale else 1.0, tuple(holes))
