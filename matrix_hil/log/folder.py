"""Which files make one bag: the ``.mcap`` files of a folder, what ``metadata.yaml`` says of them, and what is not read.

``metadata.yaml`` may be a stranger's: only names and counts of files are taken from it, and no path in it is followed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from matrix_hil.log.bag import METADATA
from matrix_hil.log.scan import Scan
from sim.errors import LunarError

_LONGEST = 2_000_000  # letters of metadata.yaml; 1000 topics take 600 000
_MOST_FILES = 100_000
_CONVERT = "rosbags-convert --src {} --dst NEW_FOLDER --dst-storage mcap"
_DATABASE = ("a rosbag2 database (sqlite3)", _CONVERT.format("{folder}"))
_ROS1 = ("a bag of ROS 1", _CONVERT.format("{file}"))
_ZSTD = ("compressed as a whole", "zstd -d {file}")
_ENDINGS = {".db3.zstd": _DATABASE, ".mcap.zstd": _ZSTD, ".db3": _DATABASE, ".bag": _ROS1}
_MAGIC = {
    b"SQLite format 3\0": _DATABASE,
    b"#ROSBAG": _ROS1,
    b"\x28\xb5\x2f\xfd": _ZSTD,
    b"\x04\x22\x4d\x18": ("compressed as a whole", "lz4 -d {file}"),
    b"\x1f\x8b": ("compressed as a whole", "gunzip {file}"),
}
"""By ending and by first bytes of files that hold logs in forms that are not read here: what they are, and the command
that makes what is read of them."""


@dataclass(frozen=True)
class Bag:
    """The files of one log."""

    path: Path
    """As it was named."""
    scans: tuple[Scan, ...]
    """In their order; at least one."""
    missing: tuple[str, ...] = ()
    """A sentence per file that belongs to the log and is absent or empty."""
    notes: tuple[str, ...] = ()
    """Sentences on what is odd about the folder."""


def open_bag(path: str | Path) -> Bag:
    """Scan the files of a log: all ``.mcap`` files of a folder, or one file.

    Raises:
        LunarError: there is none, all are empty, one is no MCAP file, they are of more than one bag or run, or the bag
            is kept in a form that is not read here; the sentence names the remedy.
    """
    if path == "":
        raise LunarError("no log is named; give the folder that 'lunar hil' wrote")
    path = Path(path)
    missing: list[str] = []
    notes: list[str] = []
    files = [path]
    if path.is_dir():
        files = _files(path)
        listed = _listed(path, notes)
        missing = _missing(path, files, listed, notes)
        _refuse_several(path, files, listed)
    for file in files:
        if not file.is_file():
            raise LunarError(f"log {file} does not exist; 'lunar hil' makes one")
        _refuse_other_forms(file)
    scans = []
    for file in files:
        if file.stat().st_size:
            scans.append(Scan(file))
        else:
            missing.append(f"{file.name} is empty")
    if not scans:
        raise LunarError(f"log {files[0]} is empty; the run ended before its first message")
    if len({scan.epoch for scan in scans}) > 1:
        raise LunarError(f"log folder {path} holds .mcap files of more than one run; name one of them: {_names(files)}")
    return Bag(path, tuple(scans), tuple(missing), tuple(notes))


def _files(folder: Path) -> list[Path]:
    """The ``.mcap`` files of a folder in their order."""
    files = sorted(folder.glob("*.mcap"), key=_order)
    others = sorted(f for f in folder.iterdir() if f.name.endswith(tuple(_ENDINGS)))
    packed = [f for f in others if f.name.endswith(".mcap.zstd") and f.with_suffix("") not in files]
    if packed or (others and not files):
        first = (packed or others)[0]
        raise LunarError(_remedy(first, _form(first)))
    databases = [f for f in others if not f.name.endswith(".mcap.zstd")]
    if databases:
        raise LunarError(f"log folder {folder} holds more than one bag; name one of them: {_names(files + databases)}")
    if not files:
        inside = sorted({f.parent for f in folder.glob("*/*") if f.name.endswith((".mcap", *_ENDINGS))})
        if inside:
            raise LunarError(f"{folder} is not a log but holds some; name one of them: {_names(inside)}")
        raise LunarError(f"log folder {folder} holds no .mcap files; 'lunar hil' makes one")
    return files


def _refuse_several(folder: Path, files: Sequence[Path], listed: dict[str, int] | None) -> None:
    if listed is not None and all(file.name in listed for file in files):
        return
    first = {_order(file)[0]: file for file in reversed(files)}
    if len(first) > 1:
        raise LunarError(
            f"log folder {folder} holds {len(first)} bags; name one of them: {_names(sorted(first.values()))}"
        )


def _refuse_other_forms(file: Path) -> None:
    try:
        with open(file, "rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise LunarError(f"log {file} cannot be read: {error.strerror or error}") from None
    form = next((form for magic, form in _MAGIC.items() if head.startswith(magic)), None)
    if form is not None:
        raise LunarError(_remedy(file, form))


def _remedy(file: Path, form: tuple[str, str]) -> str:
    what, command = form
    command = command.format(file=file, folder=file.parent)
    if form is _DATABASE and not (file.parent / METADATA).is_file():
        command = f"ros2 bag reindex {file.parent}, which makes the {METADATA} that is missing, and then {command}"
    return f"{file} is {what}, which is not read here; this makes an MCAP log of it: {command}"


def _form(file: Path) -> tuple[str, str]:
    """Of a file with one of ``_ENDINGS``."""
    return next(form for ending, form in _ENDINGS.items() if file.name.endswith(ending))


def _listed(folder: Path, notes: list[str]) -> dict[str, int] | None:
    """Messages by file that ``metadata.yaml`` lists, −1 where it does not count them; None where it lists nothing."""
    file = folder / METADATA
    if not file.is_file():
        return None
    try:
        text = file.read_text(encoding="utf-8")
        if len(text) > _LONGEST:
            raise ValueError(f"{len(text)} letters are too many")
        data: Any = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        info = data["rosbag2_bagfile_information"]
        names = [Path(str(name)).name.removesuffix(".zstd") for name in info["relative_file_paths"][:_MOST_FILES]]
        counted = {Path(str(f["path"])).name.removesuffix(".zstd"): f for f in info.get("files") or ()}
        mode = str(info.get("compression_mode", "")).lower()
        counts = {name: int(counted.get(name, {}).get("message_count", -1)) for name in names}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        notes.append(f"{METADATA} cannot be read, so that files that are missing are not noticed ({why[:100]})")
        return None
    if mode == "message":
        raise LunarError(
            f"log folder {folder} holds messages that are compressed one by one (compression_mode {mode}), which is "
            f"not read here; make a plain one of it: {_CONVERT.format(folder)}"
        )
    return counts


def _missing(folder: Path, files: Sequence[Path], listed: dict[str, int] | None, notes: list[str]) -> list[str]:
    """A sentence per file that ``metadata.yaml`` lists, or that the numbers of the others call for, and that is not
    there."""
    present = {file.name for file in files}
    if listed is not None:
        if listed and present.isdisjoint(listed):
            notes.append(f"{METADATA} lists other files than the folder has ({_names([Path(n) for n in listed])})")
            return []
        return [
            f"{name} is missing" + (f", {count} messages by {METADATA}" if count > 0 else "")
            for name, count in listed.items()
            if name not in present
        ]
    stem, last = _order(files[-1])
    numbers = [number for other, number in map(_order, files) if other == stem]
    gaps = sorted(set(range(min(numbers), last)) - set(numbers)) if last - min(numbers) < 10 * len(files) else []
    return [f"{stem}_{number}.mcap is missing: files before and after it are there" for number in gaps]


def _order(path: Path) -> tuple[str, int]:
    """``run``, ``run_1``, ``run_2``, … ``run_10``; longer numbers are part of a name, such as a date."""
    match = re.fullmatch(r"(.*?)_(\d{1,5})", path.stem)
    return (match[1], int(match[2])) if match else (path.stem, 0)


def _names(paths: Sequence[Path]) -> str:
    shown = ", ".join(path.name for path in paths[:8])
    return f"{shown} and {len(paths) - 8} more" if len(paths) > 8 else shown
