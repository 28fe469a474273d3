"""Turns ROS 2 messages into CDR bytes and many of them back into arrays, fast.

Once its strings and the lengths of its sequences are known, every number of a message has a fixed place: a ``Layout``.
Packing fills a template; reading takes all messages of one layout as one NumPy record array. ``walk`` reads one message
of any type, field by field. No length in a message is believed before its bytes are seen, and nothing is generated or
run, so that definitions may come from a file. Little-endian CDR as ROS 2 writes it; tested against ``rosbags``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rosbags.typesys.base import Nodetype

_CODES = {
    "bool": "?", "byte": "B", "char": "B", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i",
    "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f", "float64": "d",
}  # fmt: skip
_HEAD = b"\x00\x01\x00\x00"  # little-endian CDR; alignment counts from behind it
_PADDING = 3  # bytes that a middleware may add behind a message
_MOST_FIELDS = 2000
_NO_FIELDS = (("structure_needs_at_least_one_member", (Nodetype.BASE, ("uint8", 0))),)  # of an empty message, in ROS 2
_LAYOUTS = 32  # more combinations of strings and lengths than this are read one message at a time
_U32 = struct.Struct("<I")


@dataclass(frozen=True)
class Field:
    """One field of a flattened type, e.g. ``header.stamp.sec``."""

    name: str
    kind: str
    """``scalar``, ``array`` (fixed length), ``sequence``, ``string``, ``strings`` (a sequence of them), ``empty`` (a
    sequence of messages, which must hold none), or ``other``, which only ``walk`` reads."""
    code: str = "B"
    """Of ``struct``."""
    count: int = 1
    """Length of an array."""

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers; flags are read as bytes."""
        return np.dtype("<" + self.code.replace("?", "B"))


Types = Mapping[str, Any]
"""Constants and fields by type, as ``rosbags`` parses message definitions."""


def flatten(types: Types, ros_type: str, prefix: str = "", merge: bool = True) -> tuple[Field, ...]:
    """The fields of a type in order. With ``merge`` a message of nothing but float64 (a pose) counts as one array.

    Raises:
        ValueError: it has too many fields.
        LookupError: a type in it is not among ``types``, or is none that is known here.
    """
    fields: list[Field] = []
    definitions: Any = types[ros_type][1] or _NO_FIELDS
    for name, (kind, detail) in definitions:
        name = prefix + name
        if kind == Nodetype.NAME:
            inner = flatten(types, detail, f"{name}.", merge)
            if merge and all(f.code == "d" and f.kind in ("scalar", "array") for f in inner):
                fields.append(Field(name, "array", "d", sum(f.count for f in inner)))
            else:
                fields.extend(inner)
        elif kind == Nodetype.BASE:
            fields.append(Field(name, "string") if detail[0] == "string" else Field(name, "scalar", _CODES[detail[0]]))
        else:
            (inner_kind, inner_detail), count = detail
            text = inner_kind == Nodetype.BASE and inner_detail[0] == "string"
            if kind == Nodetype.ARRAY and (text or inner_kind == Nodetype.NAME):
                fields.append(Field(name, "other"))
            elif inner_kind == Nodetype.NAME:
                fields.append(Field(name, "empty"))
            elif text:
                fields.append(Field(name, "strings"))
            elif kind == Nodetype.ARRAY:
                fields.append(Field(name, "array", _CODES[inner_detail[0]], count))
            else:
                fields.append(Field(name, "sequence", _CODES[inner_detail[0]]))
        if len(fields) > _MOST_FIELDS:
            raise ValueError(f"{ros_type} has more than {_MOST_FIELDS} fields")
    return tuple(fields)


class Layout:
    """The places of a message's numbers.

    Args:
        fields: of its type.
        known: string or list of strings of every text field, and the length of every sequence of numbers, by name.
    """

    def __init__(self, fields: Sequence[Field], known: Mapping[str, Any]) -> None:
        self.known = dict(known)
        data = bytearray(_HEAD)
        self._scalars: list[tuple[str, struct.Struct, int]] = []
        self._arrays: list[tuple[str, np.dtype, int, int]] = []
        self._flags: list[str] = []
        constant: list[range] = [range(1, 2)]
        for field in fields:
            size = field.dtype.itemsize
            count = field.count
            if field.kind in ("string", "strings", "sequence", "empty"):
                names = [known[field.name]] if field.kind == "string" else known.get(field.name, ())
                if field.kind == "sequence":
                    count = known[field.name]
                    constant.append(_append(data, _U32.pack(count)))
                elif field.kind == "strings":
                    constant.append(_append(data, _U32.pack(len(names))))
                elif field.kind == "empty":
                    constant.append(_append(data, _U32.pack(0)))
                if field.kind in ("string", "strings"):
                    for text in names:
                        encoded = text.encode() + b"\0"
                        constant.append(_append(data, _U32.pack(len(encoded)) + encoded))
                if field.kind != "sequence":
                    continue
            offset = _align(data, size) if count else len(data)
            data += bytes(count * size)
            if field.kind == "scalar":
                self._scalars.append((field.name, struct.Struct("<" + field.code), offset))
            else:
                self._arrays.append((field.name, field.dtype, offset, count))
            if field.code == "?":
                self._flags.append(field.name)
        self.template = bytes(data)
        self._constant = np.array([i for r in constant for i in r], dtype=np.intp)
        self._expected = np.frombuffer(self.template, np.uint8)[self._constant]

    @classmethod
    def of(cls, fields: Sequence[Field], data: bytes) -> Layout:
        """The layout of one message.

        Raises:
            ValueError: it is not a message of this type, or is cut short.
        """
        if len(data) < 4 or data[1] != 1:
            raise ValueError("it is not little-endian CDR")
        known: dict[str, Any] = {}
        at = 4
        for field in fields:
            size = field.dtype.itemsize
            if field.kind == "string":
                known[field.name], at = _text(data, at)
                continue
            count = field.count
            if field.kind not in ("scalar", "array"):
                count, at = _number(data, at)
                if field.kind == "strings":
                    texts: list[str] = []
                    while len(texts) < count:  # each takes bytes, so that a false count ends at the message's end
                        text, at = _text(data, at)
                        texts.append(text)
                    known[field.name] = texts
                    continue
                if field.kind == "empty":
                    if count:
                        raise ValueError(f"{field.name} is not empty")
                    continue
                known[field.name] = count
            at += (-(at - 4) % size if count else 0) + count * size
            if at > len(data):
                raise ValueError(f"{field.name} lies beyond its end")
        layout = cls(fields, known)
        if not layout.fits([data])[0]:
            raise ValueError("its text is not as ROS 2 writes it")
        return layout

    def pack(self, values: Mapping[str, Any]) -> bytearray:
        """The bytes of a message.

        Raises:
            ValueError, TypeError, struct.error, KeyError: a value is missing, of another shape, or out of range.
        """
        data = bytearray(self.template)
        for name, pack, offset in self._scalars:
            pack.pack_into(data, offset, values[name])
        for name, dtype, offset, count in self._arrays:
            array = np.ascontiguousarray(values[name], dtype)
            if array.shape != (count,):
                raise ValueError(f"{name} has shape {array.shape} where ({count},) belongs")
            data[offset : offset + array.nbytes] = array.tobytes()
        return data

    def fits(self, rows: Sequence[bytes]) -> np.ndarray:
        """(n,) bool, which messages, all of one length, have this layout."""
        length = len(rows[0])
        if not 0 <= length - len(self.template) <= _PADDING:
            return np.zeros(len(rows), bool)
        table = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), length)
        return (table[:, self._constant] == self._expected).all(axis=1)

    def read(self, rows: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Values by field of messages that fit: numbers (n,) or (n, count), texts as objects (n,)."""
        places: list[tuple[str, Any, int]] = [(n, s.format.replace("?", "B"), o) for n, s, o in self._scalars]
        places += [(n, (d, (c,)), o) for n, d, o, c in self._arrays]
        names, formats, offsets = zip(*places, strict=True) if places else ((), (), ())
        record = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": len(rows[0])})
        table = np.frombuffer(b"".join(rows), record)
        columns = {name: np.ascontiguousarray(table[name]) for name in names}
        for name in self._flags:
            columns[name] = columns[name] != 0
        for name, value in self.known.items():
            if not isinstance(value, int):
                columns[name] = np.empty(len(rows), dtype=object)
                columns[name].fill(tuple(value) if isinstance(value, list) else value)
        return columns


def read(fields: Sequence[Field], rows: Sequence[bytes], layouts: list[Layout]) -> dict[str, np.ndarray]:
    """Values by field of many messages of one type, in their order; objects where lengths differ between messages.

    Args:
        fields: of the type.
        rows: the messages.
        layouts: those met before; new ones are added.

    Raises:
        ValueError: one of them cannot be decoded.
    """
    by_length: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(i)
    groups: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    for members in by_length.values():
        left = np.array(members)
        for layout in [*layouts]:
            left = _take(layout, rows, left, groups)
        while len(left):
            first = rows[left[0]]
            layout = Layout.of(fields, first)
            if len(layouts) < _LAYOUTS:
                layouts.append(layout)
                left = _take(layout, rows, left, groups)
            else:
                groups.append((left[:1], layout.read([first])))
                left = left[1:]
    return {name: _merge(name, len(rows), groups) for name in groups[0][1]}


def walk(types: Types, ros_type: str, data: bytes) -> dict[str, Any]:
    """One message of any type: numbers, texts, arrays (count,), and lists of these or of dictionaries, by flattened
    name.

    Raises:
        ValueError: it is not a message of this type, or is cut short.
        LookupError: as ``flatten``.
    """
    if bytes(data[:2]) != _HEAD[:2] or len(data) < len(_HEAD):
        raise ValueError("it is not little-endian CDR")
    values: dict[str, Any] = {}
    at = _walk(types, ros_type, "", data, len(_HEAD), values)
    if len(data) - at > _PADDING:
        raise ValueError(f"it is longer than its definition of {ros_type} says")
    return values


def _walk(types: Types, ros_type: str, prefix: str, data: bytes, at: int, values: dict[str, Any]) -> int:
    """Read the fields of a type into ``values``; returns the offset behind them."""
    definitions: Any = types[ros_type][1] or _NO_FIELDS
    for name, (kind, detail) in definitions:
        name = prefix + name
        if kind == Nodetype.NAME:
            at = _walk(types, detail, f"{name}.", data, at, values)
        elif kind == Nodetype.BASE:
            values[name], at = _base(detail[0], data, at)
        else:
            (inner_kind, inner), count = detail
            if kind == Nodetype.SEQUENCE:
                count, at = _number(data, at)
            if inner_kind == Nodetype.BASE and inner[0] != "string":
                values[name], at = _numbers(_CODES[inner[0]], count, data, at)
                continue
            items: list[Any] = []
            while len(items) < count:  # each takes bytes, so that a false count ends at the message's end
                if inner_kind == Nodetype.BASE:
                    item, at = _base("string", data, at)
                else:
                    item = {}
                    at = _walk(types, inner, "", data, at, item)
                items.append(item)
            values[name] = items
    return at


def _base(kind: str, data: bytes, at: int) -> tuple[Any, int]:
    if kind == "string":
        length, behind = _number(data, at)
        return ("", behind) if not length else _text(data, at)  # some writers leave out the zero of an empty text
    values, at = _numbers(_CODES[kind], 1, data, at)
    return values[0].item(), at


def _numbers(code: str, count: int, data: bytes, at: int) -> tuple[np.ndarray, int]:
    dtype = np.dtype("<" + code.replace("?", "B"))
    at += -(at - 4) % dtype.itemsize if count else 0
    if count * dtype.itemsize > len(data) - at:
        raise ValueError("numbers lie beyond its end")
    values = np.frombuffer(data, dtype, count, at) if count else np.zeros(0, dtype)
    return (values != 0 if code == "?" else values), at + count * dtype.itemsize


def _take(layout: Layout, rows: Sequence[bytes], left: np.ndarray, groups: list) -> np.ndarray:
    """Read those of the rows ``left`` that fit; returns the others."""
    if not len(left):
        return left
    fits = layout.fits([rows[i] for i in left])
    if fits.any():
        mine = left[fits]
        groups.append((mine, layout.read([rows[i] for i in mine])))
    return left[~fits]


def _merge(name: str, count: int, groups: Sequence[tuple[np.ndarray, dict[str, np.ndarray]]]) -> np.ndarray:
    if len(groups) == 1:
        return groups[0][1][name]
    parts = [columns[name] for _, columns in groups]
    same = len({p.shape[1:] for p in parts}) == 1
    out = np.empty((count, *parts[0].shape[1:]) if same else count, dtype=parts[0].dtype if same else object)
    for (where, _), part in zip(groups, parts, strict=True):
        if same:
            out[where] = part
        else:
            for i, row in zip(where, part, strict=True):
                out[i] = row
    return out


def _align(data: bytearray, size: int) -> int:
    data += bytes(-(len(data) - 4) % size)
    return len(data)


def _append(data: bytearray, piece: bytes) -> range:
    """Append what starts with a length; returns where it lies, without the padding before it, which may be anything."""
    start = _align(data, 4)
    data += piece
    return range(start, len(data))


def _number(data: bytes, at: int) -> tuple[int, int]:
    at += -at % 4
    if at + 4 > len(data):
        raise ValueError("it is cut short")
    return _U32.unpack_from(data, at)[0], at + 4


def _text(data: bytes, at: int) -> tuple[str, int]:
    length, at = _number(data, at)
    if not 1 <= length <= len(data) - at:
        raise ValueError("a text lies beyond its end")
    return data[at : at + length - 1].decode(), at + length
