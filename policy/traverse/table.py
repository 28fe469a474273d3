"""The table: every gait tried on many grounds, cell by cell, so that an interrupted run goes on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from policy.traverse.options import Gait, weights_of
from sim.errors import LunarError
from sim.output import locked, write_whole
from sim.terrain.generators import TerrainConfig, make_terrain
from sim.terrain.height_field import stack
from sim.terrain.segments import FEATURES, LONGEST, features, survey

SHIPPED = Path(__file__).with_name("table.npz")
"""Of the zoo."""
SIZE, SETTLE, SEGMENTS = 32.0, 1.0, 3
"""m of a trial's map, s that are not booked, and segments of a trial's path."""
SHORTEST = 0.25
"""m of a segment, from which on it counts."""

_LARGEST = 64 * 2**20  # bytes of a table


@dataclass(frozen=True)
class Cell:
    """One map on which every gait is tried."""

    ground: str
    """Preset in configs/terrain/."""
    level: int
    seed: int


@dataclass(frozen=True)
class Table:
    """R rows: a robot on a segment."""

    gaits: tuple[Gait, ...]
    digests: tuple[str, ...]
    """Of each gait's policy."""
    cells: tuple[Cell, ...]
    gait: np.ndarray
    """(R,) whole numbers."""
    cell: np.ndarray
    """(R,) whole numbers."""
    features: np.ndarray
    """(R, F), as ``sim.terrain.segments.FEATURES``."""
    metres: np.ndarray
    """(R,) m of progress, up to a fall."""
    seconds: np.ndarray
    """(R,) s."""
    joules: np.ndarray
    """(R,) J, positive work of the joints."""
    fell: np.ndarray
    """(R,) bool."""

    def rows(self, keep: np.ndarray) -> Table:
        """Those rows (bool, or places) alone."""
        return Table(self.gaits, self.digests, self.cells, *(getattr(self, f.name)[keep] for f in fields(Table)[3:]))

    def on(self, chosen: Callable[[Cell], bool]) -> Table:
        """The rows of some cells."""
        return self.rows(np.array([chosen(cell) for cell in self.cells], dtype=bool)[self.cell])


def run_cell(gaits: Sequence[Gait], cell: Cell, robots: int, seconds: float) -> dict[str, np.ndarray]:
    """Rows of one cell, ``robots`` of every gait for ``seconds``."""
    from policy.traverse.drive import Crew, drive, world_on  # torch takes seconds: only for what makes sense

    field = make_terrain(TerrainConfig(kind=cell.ground, level=cell.level, size=SIZE), cell.seed)
    crew, gait = Crew(gaits), np.repeat(np.arange(len(gaits)), robots)
    world = world_on(crew, stack([field]), len(gait), cell.seed)
    choice = np.repeat(gait[:, None], SEGMENTS, axis=1)
    seen, points = drive(crew, world, None, choice, seconds, SETTLE, (SEGMENTS, LONGEST))
    who, part = np.nonzero((seen.metres >= SHORTEST) | seen.falls)
    start, end = points[who, part], points[who, part + 1]
    metres = seen.metres[who, part]
    end = start + (end - start) * np.clip(metres / LONGEST, SHORTEST / LONGEST, 1.0)[:, None]
    return {
        "gait": gait[who].astype(np.int16), "metres": metres.astype(np.float32),
        "seconds": seen.seconds[who, part].astype(np.float32), "joules": seen.joules[who, part].astype(np.float32),
        "fell": seen.falls[who, part], "features": features(survey(field), start, end).astype(np.float16),
    }  # fmt: skip


def make_table(
    gaits: Sequence[Gait], cells: Sequence[Cell], robots: int, seconds: float, folder: Path,
    tick: Callable[[str], None] = lambda text: None,
) -> Table:  # fmt: skip
    """Run what ``folder`` lacks of the cells, and put them together; write ``table.npz`` there.

    Raises:
        LunarError: a policy does not load, or another program writes there.
    """
    digests = [weights_of(gait.policy).digest for gait in gaits]
    about = json.dumps([[asdict(g) for g in gaits], digests, robots, seconds])
    with locked(folder):
        note = folder / "gaits.json"
        if note.is_file() and note.read_text(encoding="utf-8") != about:
            raise LunarError(f"{folder} holds trials of other gaits, policies or lengths: choose another folder")
        write_whole({note: about})
        parts = []
        for k, cell in enumerate(cells):
            tick(f"{cell.ground} {cell.level}, seed {cell.seed}")
            path = folder / f"{cell.ground}-{cell.level}-{cell.seed}.npz"
            if not path.is_file():
                write_whole({path: packed(run_cell(gaits, cell, robots, seconds))})
            with np.load(path, allow_pickle=False) as part:
                parts.append({**part, "cell": np.full(len(part["gait"]), k, np.int16)})
        rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        table = Table(tuple(gaits), tuple(digests), tuple(cells), **rows)
        save(table, folder / SHIPPED.name)
    return table


def save(table: Table, path: Path) -> None:
    """Write one file, whole or not at all."""
    about = {
        "gaits": [asdict(g) for g in table.gaits], "digests": table.digests, "features": FEATURES,
        "cells": [asdict(c) for c in table.cells],
    }  # fmt: skip
    rows = {f.name: getattr(table, f.name) for f in fields(Table)[3:]}
    write_whole({path: packed({"about": np.array(json.dumps(about)), **rows})})


def load(path: str | Path = SHIPPED) -> Table:
    """Read a table and compare it with the policies that are there.

    Raises:
        LunarError: no such file, another format, or trials of other weights than the policies have now.
    """
    path = Path(path)
    if not path.is_file():
        raise LunarError(f"table '{path}' does not exist; 'lunar traverse table' makes one")
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is larger than any table")
        with np.load(path, allow_pickle=False) as data:
            about = json.loads(str(data["about"]))
            rows = {f.name: data[f.name] for f in fields(Table)[3:]}
        gaits = tuple(Gait(**g) for g in about["gaits"])
        table = Table(gaits, tuple(about["digests"]), tuple(Cell(**c) for c in about["cells"]), **rows)
        if tuple(about["features"]) != FEATURES or table.features.shape != (len(table.gait), len(FEATURES)):
            raise ValueError("its features are not those of this version")
        if len({len(values) for values in rows.values()}) != 1 or len(table.digests) != len(gaits):
            raise ValueError("its columns have different lengths")
        for rows_of, count in ((table.gait, len(gaits)), (table.cell, len(table.cells))):
            if rows_of.dtype.kind not in "iu" or (len(rows_of) and not 0 <= rows_of.min() <= rows_of.max() < count):
                raise ValueError("a row names a gait or a map that is not in it")
        if not all(np.isfinite(values.astype(float)).all() for values in rows.values()):
            raise ValueError("a value is no number")
    except Exception as error:  # zip, zlib, numpy and json raise their own
        raise LunarError(f"table '{path}' cannot be read: {error}") from None
    for gait, digest in zip(table.gaits, table.digests, strict=True):
        if weights_of(gait.policy).digest != digest:
            raise LunarError(
                f"table '{path}' was made with other weights of {gait.policy}: run 'lunar traverse table' again"
            )
    return table


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
