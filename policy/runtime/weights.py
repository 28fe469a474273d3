"""A digest of weights, by which a policy's files know one another; with the standard library alone.

``policy.safetensors`` holds the weights. ``card.json``, ``policy.onnx`` (in its metadata) and a C header carry their
digest, and whoever loads two of these compares: what is measured is what runs.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from pathlib import Path

from sim.errors import LunarError

KEY = "lunar.weights"
"""Of the digest in the metadata of an ONNX file."""
FILE = "policy.safetensors"
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LARGEST = 2**30  # bytes of a file of weights


def weights_digest(data: bytes) -> str:
    """SHA-256, in hex, of the weights in the bytes of a safetensors file: of names, types, shapes and values, in order
    of name, whatever the file's own order and remarks.

    Raises:
        ValueError: no safetensors file.
    """
    digest = hashlib.sha256()
    for name, kind, shape, values in stored(data):
        digest.update(json.dumps([name, kind, shape]).encode())
        digest.update(values)
    return digest.hexdigest()


def stored(data: bytes) -> list[tuple[str, str, list[int], memoryview]]:
    """Name, type, shape and bytes of each tensor of a safetensors file, in order of name.

    Raises:
        ValueError: no safetensors file.
    """
    found = []
    try:
        length = struct.unpack_from("<Q", data)[0]
        header = json.loads(data[8 : 8 + length])
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        for name, entry in sorted(tensors.items()):
            kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            values = memoryview(data)[8 + length + start : 8 + length + end]
            if not 0 <= start <= end or len(values) != _BYTES[kind] * math.prod(shape):
                raise ValueError(f"'{name}' does not have as many bytes as its shape {shape} needs")
            found.append((name, kind, shape, values))
    except (struct.error, KeyError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f"no safetensors file ({type(error).__name__})") from None
    return found


def is_digest(text: object) -> bool:
    """Whether this can be a digest."""
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None


def check_weights(folder: Path, digest: str) -> None:
    """Compare the digest in a policy's card with the weights beside it, where there are any.

    Raises:
        LunarError: the card has no digest, or the weights are others.
    """
    if not digest:
        raise LunarError(
            f"policy card {folder / 'card.json'} does not say which weights it is of: 'lunar export --policy {folder}' "
            "adds that"
        )
    path = folder / FILE
    if path.is_file() and read_digest(path) != digest:
        raise LunarError(
            f"{path} holds other weights than its card.json was written for: copy the whole folder of one training, "
            "or train again"
        )


def read_digest(path: Path) -> str:
    """``weights_digest`` of a file.

    Raises:
        LunarError: it cannot be read.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is larger than any policy for a robot")
        return weights_digest(path.read_bytes())
    except (OSError, ValueError) as error:
        raise LunarError(f"policy file {path} cannot be read: {error}") from None
