"""``lunar log recover``: writes what is whole of a cut or damaged log as a new one that every reader opens."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mcap.records import Attachment
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.metadata import dump_qos_v9, parse_qos

from matrix_hil.log.bag import BagTopic, Span, write_metadata
from matrix_hil.log.folder import open_bag
from matrix_hil.log.notes import end, sentences
from matrix_hil.log.reader import loss, lost, nothing, oddities
from matrix_hil.log.scan import Row, Scan
from sim.config import parse
from sim.errors import LunarError
from sim.output import draft, writing
from sim.results import write_results

_LONGEST_QOS = 20_000  # letters
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
    """Copy every message of every whole chunk, of any topic, with its definitions, the attachments and the metadata.

    Returns:
        ``out``, ``messages``, ``lost_bytes``, ``lost_s``, ``lost`` and ``notes``.

    Raises:
        LunarError: there is no such log, nothing of it is whole, or ``out`` holds a log or cannot be written.
    """
    bag = open_bag(path)
    path = Path(path)
    here = path if path.name else path.resolve()
    name = here.name if path.is_dir() else here.stem
    folder = Path(out) if out else here.with_name(f"{name}_recovered")
    kept = [(scan, chunks) for scan in bag.scans if any(chunks := list(scan.chunks())) or scan.kept]
    if not any(any(chunks) for _, chunks in kept):
        raise LunarError(f"log {path} cannot be recovered: it {nothing(bag)}")
    if any(folder.glob("*.mcap")):
        raise LunarError(f"{folder} holds a log already; choose another folder with --out")
    messages = write_copy(kept, folder)
    notes = oddities(bag)
    if nameless := sum(len(chunk) for _, chunks in kept for chunk in chunks) - messages:
        notes.append(f"{nameless} messages name no topic and were left out")
    return {"out": str(folder), "messages": messages, **loss(lost(bag)), "notes": notes}


def write_copy(parts: Sequence[tuple[Scan, list[list[Row]]]], folder: Path) -> int:
    """Write messages as a new log, a file per scan, with its definitions, attachments and metadata; returns their
    number. Those that name no topic are left out.

    Args:
        parts: what messages of each scan to write, chunk by chunk.
        folder: made if absent; its name becomes that of the files.

    Raises:
        LunarError: it cannot be written.
    """
    counts: Counter[str] = Counter()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        name = folder.resolve().name
        spans = [
            _copy(scan, chunks, folder / (f"{name}_{k}.mcap" if k else f"{name}.mcap"), counts)
            for k, (scan, chunks) in enumerate(parts)
        ]
        write_metadata(folder, spans, _topics([scan for scan, _ in parts], counts))
    return sum(span.messages for span in spans)


def _copy(scan: Scan, chunks: list[list[Row]], path: Path, counts: Counter[str]) -> Span:
    """Write one file; adds to the messages counted by topic."""
    span = Span(path.name, next((chunk[0][2] for chunk in chunks if chunk), scan.epoch or 0))
    if path.exists():
        raise FileExistsError(errno.EEXIST, f"{path.name} is there already")
    with draft(path) as partial, open(partial, "wb") as stream:
        writer = Writer(stream, chunk_size=_UNBOUNDED, compression=CompressionType.ZSTD)
        writer.start(profile=scan.profile, library="lunar")
        for record in scan.kept:
            if isinstance(record, Attachment):
                writer.add_attachment(record.create_time, record.log_time, record.name, record.media_type, record.data)
            else:
                writer.add_metadata(record.name, record.metadata)
        schemas = {k: writer.register_schema(s.name, s.encoding, s.data) for k, s in scan.schemas.items()}
        channels = {
            k: writer.register_channel(c.topic, c.message_encoding, schemas.get(c.schema_id, 0), c.metadata)
            for k, c in scan.channels.items()
        }
        writer.flush()
        for chunk in filter(None, chunks):
            for channel, sequence, stamp, published, data in chunk:
                if channel in channels:
                    writer.add_message(channels[channel], stamp, data, published, sequence)
                    span.add(stamp)
                    counts[scan.channels[channel].topic] += 1
            writer.flush()
        writer.finish()
    return span


def _topics(scans: list[Scan], counts: Counter[str]) -> dict[str, BagTopic]:
    topics: dict[str, BagTopic] = {}
    for scan in scans:
        for channel in scan.channels.values():
            schema, type_hash = scan.schemas.get(channel.schema_id), channel.metadata.get("topic_type_hash", "")
            qos = _profiles(channel.metadata.get("offered_qos_profiles", ""))
            topics[channel.topic] = BagTopic(schema.name if schema else "", counts[channel.topic], type_hash, qos)
    return topics


def _profiles(text: str) -> Sequence[Mapping[str, Any]]:
    """Quality of service as a channel has it, in words or numbers, as ``metadata.yaml`` wants it; none if it makes no
    sense."""
    if len(text) > _LONGEST_QOS or "*" in text:  # an alias may stand for gigabytes
        return ()
    try:
        return cast(Sequence[Mapping[str, Any]], dump_qos_v9(parse_qos(text)))
    except (ReaderError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return ()


def main(argv: list[str]) -> None:
    """``lunar log recover LOG [--out FOLDER] [--json FILE]``."""
    cfg = parse(RecoverConfig, argv, "lunar log recover", first=("log",))
    results = recover(cfg.log, cfg.out)
    print(f"{results['out']}: {results['messages']} messages")
    end([f"lost: {results['lost'] or 'nothing'}", *sentences(None, {}, results["notes"])])
    if cfg.json:
        write_results(cfg.json, "log recover", 0, results)
