"""Bags as others make them: MCAP files of any topics and encodings, and folders of rosbag2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter
from rosbags.typesys import Stores, get_typestore

from matrix_hil import cli
from matrix_hil.log.topics import definition

ROS = get_typestore(Stores.ROS2_JAZZY)
STRING = "std_msgs/msg/String"


def text(words: str) -> bytes:
    return bytes(ROS.serialize_cdr(ROS.types[STRING](data=words), STRING))


def write(
    path: Path,
    messages: list[tuple[str, str, bytes]],
    encoding: str = "cdr",
    compression: CompressionType = CompressionType.ZSTD,
    more: Callable[[Writer], None] = lambda writer: None,
) -> Path:
    """An MCAP file of (topic, type, data), 0.1 s apart."""
    path.parent.mkdir(exist_ok=True)
    with open(path, "wb") as stream:
        writer = Writer(stream, compression=compression, chunk_size=400)
        writer.start("ros2")
        more(writer)
        channels: dict[str, int] = {}
        for k, (topic, kind, data) in enumerate(messages):
            if topic not in channels:
                form = "ros2msg" if encoding == "cdr" else encoding
                body = definition(kind) if encoding == "cdr" else b"{}"
                channels[topic] = writer.register_channel(topic, encoding, writer.register_schema(kind, form, body))
            writer.add_message(channels[topic], 10**18 + k * 10**8, data, 10**18 + k * 10**8, k)
        writer.finish()
    return path


def chatter(path: Path, count: int = 20, **options: Any) -> Path:
    return write(path, [("/chatter", STRING, text(f"word {k}")) for k in range(count)], **options)


def rosbag(folder: Path, plugin: StoragePlugin, compression: CompressionMode | None = None) -> Path:
    bag = BagWriter(folder, version=9, storage_plugin=plugin)
    if compression:
        bag.set_compression(compression, CompressionFormat.ZSTD)
    with bag:
        connection = bag.add_connection("/chatter", STRING, typestore=ROS)
        for k in range(5):
            bag.write(connection, 10**18 + k, text(f"word {k}"))
    return folder


def said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and all that a command printed."""
    try:
        cli.main(argv)
        code: Any = 0
    except SystemExit as stopped:
        code = stopped.code
    captured = capsys.readouterr()
    return int(code or 0), captured.out + captured.err
