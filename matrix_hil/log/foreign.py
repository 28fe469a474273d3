"""Messages of topics that this project does not know, read by the definitions that their file holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from mcap.records import Schema
from rosbags.typesys import get_types_from_idl, get_types_from_msg
from rosbags.typesys.base import TypesysError

from matrix_hil.log.cdr import Field, Types, flatten, read, walk
from matrix_hil.log.topics import LONGEST_DEFINITION, typestore

STAMP = "header.stamp"
_WIDEST = 64  # components of an array that become columns of their own
_BY_HAND = ("empty", "other")  # kinds of fields that only ``walk`` reads


def ros_type(schema: Schema) -> str:
    """The type's name as ROS 2 writes it: ``std_msgs/msg/String``, also where the file has ``std_msgs/String``."""
    parts = schema.name.split("/")
    return "/".join([parts[0], "msg", parts[1]]) if len(parts) == 2 else schema.name


def columns_of(schema: Schema, rows: Sequence[bytes], epoch: int) -> dict[str, np.ndarray]:
    """Values by flattened field, ``pose.position.x``: numbers (n,), short arrays (n, count), and objects (n,) for
    text, longer arrays and lists of messages. The header's stamp becomes ``STAMP``, s since ``epoch`` (ns).

    Raises:
        ValueError: the definition is missing or cannot be read, or one of the messages is none of that type.
    """
    kind = ros_type(schema)
    types = parse_definition(kind, schema.encoding, schema.data)
    try:
        fields = flatten(types, kind, merge=False)
        by_hand = any(field.kind in _BY_HAND for field in fields)
        columns = _walked(types, kind, fields, rows) if by_hand else read(fields, rows, [])
    except RecursionError:
        raise ValueError(f"the definition of {kind} contains itself") from None
    except LookupError as error:
        raise ValueError(f"its definition of {kind} needs {error}, which is not known here") from None
    for field in fields:
        values = columns[field.name]
        if values.dtype != object and values.ndim > 1 and (field.kind != "array" or values.shape[1] > _WIDEST):
            columns[field.name] = _objects(list(values))
    if f"{STAMP}.sec" in columns and f"{STAMP}.nanosec" in columns:
        stamp = columns.pop(f"{STAMP}.sec").astype(np.int64) * 1_000_000_000 + columns.pop(f"{STAMP}.nanosec")
        columns = {STAMP: (stamp - epoch) * 1e-9, **columns}
    return columns


def parse_definition(ros_type: str, encoding: str, text: bytes) -> Types:
    """Constants and fields of a type and of all that it contains, by a file's definition; of what that leaves out by
    ROS 2's own. It is parsed, and nothing is made from it.

    Raises:
        ValueError: the definition cannot be read, or is of an encoding other than ``ros2msg`` and ``ros2idl``.
    """
    if encoding not in ("ros2msg", "ros2idl", "omgidl", ""):
        raise ValueError(f"its definition is {encoding!r}, and ROS 2's are read")
    if len(text) > LONGEST_DEFINITION:
        raise ValueError("its definition is too long")
    theirs: dict[str, Any] = {}
    text = text.replace(b"\r\n", b"\n")
    try:
        if encoding in ("ros2idl", "omgidl"):
            for part in re.split(r"^=+\nIDL: .*$", text.decode(), flags=re.MULTILINE):
                theirs |= get_types_from_idl(part) if part.strip() else {}
        elif text.strip():
            theirs = dict(get_types_from_msg(text.decode(), ros_type))
        elif encoding and ros_type not in typestore().fielddefs:
            theirs = {ros_type: ([], [])}
    except (TypesysError, ValueError, LookupError, RecursionError) as error:
        why = " ".join(str(error).split())[:80]
        raise ValueError(f"its definition of {ros_type} cannot be read ({why})") from None
    types = typestore().fielddefs | theirs
    if ros_type not in types:
        raise ValueError(f"the file holds no definition of {ros_type}")
    return types


def _walked(types: Types, kind: str, fields: Sequence[Field], rows: Sequence[bytes]) -> dict[str, np.ndarray]:
    messages = [walk(types, kind, row) for row in rows]
    columns = {}
    for field in fields:
        values = [message[field.name] for message in messages]
        if field.kind in ("scalar", "array"):
            columns[field.name] = np.array(values, bool if field.code == "?" else field.dtype)
        else:
            columns[field.name] = _objects([plain(v) if field.kind in _BY_HAND else v for v in values])
    return columns


def plain(value: Any) -> Any:
    """An array as a list, one of bytes as bytes; so too inside lists and dictionaries."""
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.dtype == np.uint8 else value.ravel().tolist()
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def _objects(values: Sequence[Any]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out
