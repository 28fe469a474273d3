"""``lunar log recover``: writes what is whole of a cut or damaged log as a new one that every reader opens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcap.writer import CompressionType, Writer

from matrix_hil.log.bag import BagTopic, Span, qos_profile, write_metadata
from matrix_hil.log.reader import lost
from matrix_hil.log.scan import EPOCH, Scan, scan_log
from matrix_hil.log.topics import TOPICS
from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results

_UNBOUNDED = 2**62  # bytes; chunks end where they ended before


@dataclass(frozen=True)
class RecoverConfig:
    """Write what is whole of a cut or damaged log as a new log."""

    log: str = ""
    """Folder or .mcap file; may also be given as the first argument."""
    out: str = ""
    """New folder; LOG_recovered beside the log when empty."""
    json: str = ""
    """File for the results as data."""


def recover(path: str | Path, out: str | Path = "") -> dict[str, Any]:
    """Copy every message of every whole chunk, of any topic, with its definitions and the attachments.

    Returns:
        ``out``, ``messages``, ``lost_bytes``, ``lost_s`` and ``lost``.

    Raises:
        LunarError: there is no such log, nothing of it is whole, or ``out`` holds a log or cannot be written.
    """
    path = Path(path)
    here = path if path.name else path.resolve()
    name = here.name if path.is_dir() else here.stem
    folder = Path(out) if out else here.with_name(f"{name}_recovered")
    scans = scan_log(path, Scan)
    messages = sum(len(s.rows) for s in scans)
    if not messages:
        raise LunarError(f"log {path} cannot be recovered: not one whole chunk of messages is left in it")
    if any(folder.glob("*.mcap")):
        raise LunarError(f"{folder} holds a log already; choose another folder with --out")
    counts: dict[str, int] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        name = folder.resolve().name
        kept = [s for s in scans if s.rows]
        spans = [_copy(s, folder / (f"{name}_{k}.mcap" if k else f"{name}.mcap"), counts) for k, s in enumerate(kept)]
        write_metadata(folder, spans, _topics(kept, counts))
    except OSError as error:
        raise LunarError(f"{folder} cannot be written: {error.strerror or error}") from None
    gone = lost(scans)
    return {
        "out": str(folder),
        "messages": sum(span.messages for span in spans),
        "lost_bytes": gone.bytes if gone else 0,
        "lost_s": gone.seconds if gone else 0.0,
        "lost": gone.text if gone else "",
    }


def _copy(scan: Scan, path: Path, counts: dict[str, int]) -> Span:
    """Write one file; adds to the messages counted by topic."""
    span = Span(path.name, scan.rows[0][2])
    with open(path, "xb") as stream:
        writer = Writer(stream, chunk_size=_UNBOUNDED, compression=CompressionType.ZSTD)
        writer.start(profile="ros2", library="lunar")
        if scan.epoch is not None:
            writer.add_metadata(EPOCH, {"nanoseconds": str(scan.epoch)})
        for name, data in scan.attachments.items():
            writer.add_attachment(span.start, span.start, name, "application/octet-stream", data)
        schemas = {k: writer.register_schema(s.name, s.encoding, s.data) for k, s in scan.schemas.items()}
        channels = {
            k: writer.register_channel(c.topic, c.message_encoding, schemas.get(c.schema_id, 0), c.metadata)
            for k, c in scan.channels.items()
        }
        writer.flush()
        rows = iter(scan.rows)
        for size in scan.chunks:
            for _ in range(size):
                channel, sequence, stamp, published, data = next(rows)
                if channel in channels:
                    writer.add_message(channels[channel], stamp, data, published, sequence)
                    span.add(stamp)
                    topic = scan.channels[channel].topic
                    counts[topic] = counts.get(topic, 0) + 1
            if size:
                writer.flush()
        writer.finish()
    return span


def _topics(scans: list[Scan], counts: dict[str, int]) -> list[BagTopic]:
    topics: dict[str, BagTopic] = {}
    for scan in scans:
        for channel in scan.channels.values():
            schema = scan.schemas.get(channel.schema_id)
            row = TOPICS.get(channel.topic)
            topics[channel.topic] = BagTopic(
                channel.topic,
                schema.name if schema else "",
                counts.get(channel.topic, 0),
                qos_profile(row.qos) if row else [],
                channel.metadata.get("topic_type_hash", ""),
            )
    return list(topics.values())


def main(argv: list[str]) -> None:
    """``lunar log recover LOG [--out FOLDER] [--json FILE]``."""
    cfg = parse(RecoverConfig, argv, "lunar log recover")
    results = recover(cfg.log, cfg.out)
    print(f"{results['out']}: {results['messages']} messages; lost: {results['lost'] or 'nothing'}")
    if cfg.json:
        write_results(cfg.json, "log recover", 0, results)
