"""Arrays in NumPy's file format that came over a network: the header is believed as far as the bytes behind it go."""

from __future__ import annotations

import io
import math

import numpy as np

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_array(data: bytes) -> np.ndarray:
    """The array in ``data``, a whole .npy file without pickles.

    Raises:
        ValueError: it is none, or its header promises another number of bytes than follow: nothing is allocated for it.
    """
    stream = io.BytesIO(data)
    if not data.startswith(np.lib.format.MAGIC_PREFIX) or len(data) < np.lib.format.MAGIC_LEN:
        raise ValueError(f"{len(data)} bytes are there that are no .npy file")
    read_header = _HEADERS.get(np.lib.format.read_magic(stream))
    if read_header is None:
        raise ValueError("unknown version of the format")
    try:
        shape, _, kind = read_header(stream)
    except Exception:  # NumPy's parser lets several of Python's own escape, with advice that is of no use here
        raise ValueError("the header cannot be read") from None
    if kind.kind not in "iuf":
        raise ValueError(f"it holds {kind} and no plain numbers")
    promised, there = math.prod(shape) * kind.itemsize, len(data) - stream.tell()
    if min(shape, default=0) < 0 or promised != there:
        raise ValueError(f"{promised} bytes are promised, {there} are there")
    return np.load(io.BytesIO(data), allow_pickle=False)
