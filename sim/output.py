"""Files for people: written whole or not at all, and folders that one program at a time writes to."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from sim.errors import LunarError

LOCK = ".lock"
"""In a folder while a program writes to it."""


def write_whole(files: Mapping[Path, bytes | str]) -> None:
    """Write all of these files, or leave those that were there: a reader, a crash or a full disk never meets half of
    one. Missing folders are made.

    Raises:
        LunarError: a file cannot be written; it and the reason are named.
    """
    partials = {path: path.with_name(f"{path.name}.partial") for path in files}
    try:
        for path, data in files.items():
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with partials[path].open("wb") as file:
                    file.write(data.encode() if isinstance(data, str) else data)
                    file.flush()
                    os.fsync(file.fileno())
        for path, partial in partials.items():
            with writing(path):
                partial.replace(path)
    finally:
        for partial in partials.values():
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn the system's refusal to write ``path`` (no space, no permission, no such folder) into one sentence."""
    try:
        yield
    except OSError as error:
        raise LunarError(f"{path} cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def draft(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to, for what is too large to be held: it takes ``path``'s place at the end, and
    is removed where writing fails. Raises OSError where it cannot take the place."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make ``folder`` and keep other programs that lock it out until the end; the lock dies with the process.

    Raises:
        LunarError: another program writes there, or nobody can.
    """
    path, new = folder / LOCK, not folder.exists()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = _take(path)
    if handle is None:
        raise LunarError(f"{folder} is being written to by another program; wait for it, or choose another folder")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is let go, or it could be the next one's
        os.close(handle)
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()  # if nothing came of it


def _take(path: Path) -> int | None:
    """An open, locked file at ``path``; None when somebody else has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)  # its owner removed it in the meantime: once more
