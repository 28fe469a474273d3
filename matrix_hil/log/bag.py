"""What makes a folder of MCAP files a ``ros2 bag``: quality of service and ``metadata.yaml``; ``folder`` reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from mcap.writer import CompressionType, Writer

from matrix_hil.log.scan import EPOCH
from matrix_hil.log.topics import TOPICS, typestore

METADATA = "metadata.yaml"
_VERSION = 9  # of metadata.yaml, ROS 2 Jazzy
_FOREVER = {"sec": 9223372036, "nsec": 854775807}


def qos_profile(kind: str) -> list[dict[str, Any]]:
    """The profile with which a topic of ``TOPICS`` was offered, as rosbag2 writes it."""
    state = kind == "state"
    return [
        {
            "history": "keep_last",
            "depth": 1 if state else 5,
            "reliability": "reliable" if state else "best_effort",
            "durability": "transient_local" if state else "volatile",
            "deadline": dict(_FOREVER),
            "lifespan": dict(_FOREVER),
            "liveliness": "automatic",
            "liveliness_lease_duration": dict(_FOREVER),
            "avoid_ros_namespace_conventions": False,
        }
    ]


def channel_metadata(topic: str) -> dict[str, str]:
    """What an MCAP channel says of a topic of ``TOPICS``."""
    row = TOPICS[topic]
    return {
        "offered_qos_profiles": yaml.dump(qos_profile(row.qos), Dumper=_Plain, sort_keys=False).strip(),
        "topic_type_hash": typestore().hash_rihs01(row.ros_type),
    }


@dataclass
class Span:
    """What one file holds."""

    name: str
    """File name in the folder."""
    start: int
    """ns since the Unix epoch, first message; when the file was opened if it holds none."""
    end: int = 0
    """ns, last message."""
    messages: int = 0

    def add(self, stamp: int) -> None:
        """Count a message at ``stamp``, ns."""
        self.start = min(self.start, stamp) if self.messages else stamp
        self.end = max(self.end, stamp)
        self.messages += 1


@dataclass(frozen=True)
class BagTopic:
    """A row of ``topics_with_message_count``."""

    ros_type: str
    messages: int
    type_hash: str
    qos: Sequence[Mapping[str, Any]] = ()
    """Profiles with which it was offered, of a topic that is not among ``TOPICS``."""


def open_writer(stream: BinaryIO, epoch: int, attachments: Mapping[str, bytes], now: int, chunk_size: int) -> Writer:
    """Begin a file at ``now``, in ns since the Unix epoch, of a log whose time zero is ``epoch``."""
    writer = Writer(stream, chunk_size=chunk_size, compression=CompressionType.ZSTD)
    writer.start(profile="ros2", library="lunar")
    writer.add_metadata(EPOCH, {"nanoseconds": str(epoch)})
    for name, data in attachments.items():
        writer.add_attachment(now, now, name, "application/octet-stream", data)
    return writer


def write_metadata(folder: Path, files: Sequence[Span], topics: Mapping[str, BagTopic]) -> None:
    """Write ``metadata.yaml`` as rosbag2 does; replaced as a whole, so that a kill leaves the old or the new."""

    def span(start: int, end: int, messages: int) -> dict[str, Any]:
        return {
            "starting_time": {"nanoseconds_since_epoch": start},
            "duration": {"nanoseconds": max(0, end - start)},
            "message_count": messages,
        }

    used = [f for f in files if f.messages] or list(files)
    bag = {
        "version": _VERSION,
        "storage_identifier": "mcap",
        **span(min(f.start for f in used), max(f.end for f in used), sum(f.messages for f in used)),
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": name,
                    "type": t.ros_type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": qos_profile(TOPICS[name].qos) if name in TOPICS else list(t.qos),
                    "type_description_hash": t.type_hash,
                },
                "message_count": t.messages,
            }
            for name, t in topics.items()
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [f.name for f in files],
        "files": [{"path": f.name, **span(f.start, f.end, f.messages)} for f in files],
        "custom_data": None,
        "ros_distro": "jazzy",
    }
    draft = folder / f"{METADATA}.new"
    draft.write_text(yaml.dump({"rosbag2_bagfile_information": bag}, Dumper=_Plain, sort_keys=False), encoding="utf-8")
    draft.replace(folder / METADATA)


class _Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Without anchors, which rosbag2's reader need not know."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
