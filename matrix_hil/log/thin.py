"""Keeps a running few of a run's hops while it is being recorded: a process of its own beside the loop's.

The recorder writes short files into ``WHOLE`` below the log's folder. Two at a time are read, so that no hop is cut;
an excerpt is written of each new hop that is kept, and removed when that is let go; then the older file is removed.
When the recording ends, the excerpts become one log in the folder. Whatever fails leaves all files where they are.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from matrix_hil.beside import leave_signals
from matrix_hil.log.folder import Bag, open_bag
from matrix_hil.log.hops import FEATURES
from matrix_hil.log.keep import AROUND_TRIP, Scale, read_day, scale_of, write_excerpts
from matrix_hil.log.recover import write_copy
from matrix_hil.log.scan import Row, Scan
from policy.subset.greedy import scale_free
from policy.subset.stream import Running
from sim.errors import LunarError
from sim.results import write_results

WHOLE = "whole"
"""Folder below the log's in which the recorder writes."""
PART_MB = 8.0
"""MB (10^6 bytes) of each of its files; some 20 s."""
_KEPT = "kept"  # folder below the log's for excerpts
_SAME = 0.05  # s between two looks at one moment
_USUAL = 32  # hops from which on is known what is usual; until then all are kept
_PATIENCE = 600.0  # s within which the last files are thinned


class Thinning:
    """The process, as the recording's side sees it; a context manager around the recording.

    Args:
        folder: of the log.
        hops: to keep.
        mass: kg of the robot.
    """

    def __init__(self, folder: Path, hops: int, mass: float) -> None:
        self.failure = ""
        """Why the log was not thinned out, once it is closed; empty where it was."""
        self._folder = folder
        self._argv = [sys.executable, "-m", __name__, str(folder), str(hops), str(mass)]
        self._told: Path | None = None

    def closed(self, now: Path) -> None:
        """The recorder writes to ``now``; what it wrote to before is closed."""
        if self._told is not None and now != self._told:
            self._say(self._told)
        self._told = now

    def __enter__(self) -> Thinning:
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stderr=self._said, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._told is not None:
            self._say(self._told)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE)
            self._said.seek(0)
            said = self._said.read()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            said = f"it took longer than {_PATIENCE:g} s"
        self._said.close()
        if self._process.returncode:
            last = said.strip().splitlines()[-1:] or ["the process ended"]
            self.failure = f"the log was not thinned out ({last[0]}); {self._folder / WHOLE} has what was recorded"

    def _say(self, path: Path) -> None:
        if self._process.stdin is not None and self._process.poll() is None:
            try:
                self._process.stdin.write(f"{path}\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                return


class Thinner:
    """The process itself: takes files one by one.

    Args:
        folder: of the log.
        hops: to keep.
        mass: kg of the robot.
    """

    def __init__(self, folder: Path, hops: int, mass: float) -> None:
        self._folder, self._hops, self._mass = folder, hops, mass
        self._before: Path | None = None
        self._until = self._tripped = -np.inf  # s of log time up to which hops and trips are seen
        self._values: list[np.ndarray] = []
        self._liftoffs: dict[int, float] = {}  # s, of the kept
        self._windows: dict[Path, tuple[float, float]] = {}  # s, by the folder of the excerpt
        self._trips: list[tuple[float, str]] = []
        self._scale: Scale | None = None
        self._running: Running | None = None

    def take(self, path: Path, last: bool = False) -> None:
        """Take the next file of the recording; ``last`` says that no other follows."""
        files = [self._before, path] if self._before is not None else [path]
        day = read_day(Bag(path, tuple(Scan(file) for file in files)), "", self._mass)
        end = day.begin + day.duration
        new: dict[Path, list[tuple[float, float]]] = {}
        for k in range(len(day.hops)):
            if day.hops.liftoff[k] > self._until + _SAME and (day.hops.end[k] <= end or last):
                self._until = float(day.hops.liftoff[k])
                folder = self._folder / _KEPT / f"hop{len(self._values)}"
                new[folder] = [(float(day.hops.start[k]), float(day.hops.end[k]))]
                self._windows[folder] = new[folder][0]
                self._offer(day.hops.values[k])
        for time, reason in day.trips:
            if time > self._tripped + _SAME and (time + AROUND_TRIP <= end or last):
                self._tripped = time
                self._trips.append((time, reason))
                folder = self._folder / _KEPT / f"trip{len(self._trips)}"
                new[folder] = [(time - AROUND_TRIP, time + AROUND_TRIP)]
                self._windows[folder] = new[folder][0]
        write_excerpts(day, {folder: windows for folder, windows in new.items() if folder in self._windows})
        if self._before is not None:
            self._before.unlink()
        self._before = path

    def finish(self) -> None:
        """Put what is kept together as the log and remove the rest. What the recorder wrote after it last told of a
        file is taken before."""
        left = sorted(path for path in (self._folder / WHOLE).glob("*.mcap") if path != self._before)
        for path in left:
            self.take(path, last=path is left[-1])
        if self._before is None:
            raise LunarError("nothing was recorded")
        if self._running is None and self._values:
            self._begin()
        if not self._windows:
            raise LunarError("not one hop and no trip was recorded")
        folders = sorted(self._windows, key=lambda folder: self._windows[folder])
        scans = [scan for folder in folders for scan in open_bag(folder).scans]
        write_copy([(scans[0], list(_joined(scans)))], self._folder)
        kept = [
            {"time_s": time, "features": dict(zip(FEATURES, self._values[row].tolist(), strict=True))}
            for row, time in sorted(self._liftoffs.items())
        ]
        trips = [{"time_s": time, "reason": reason} for time, reason in self._trips]
        results = {"hops": len(self._values), "kept": kept, "trips": trips}
        write_results(self._folder / "keep.json", "hil --keep", 0, results)
        for name in (WHOLE, _KEPT):
            shutil.rmtree(self._folder / name)

    def _offer(self, values: np.ndarray) -> None:
        row = len(self._values)
        self._values.append(values)
        self._liftoffs[row] = self._until
        if self._running is not None and self._scale is not None:
            self._let_go(self._running.offer(row, self._scale.of(values[None])[0]))
        elif len(self._values) == _USUAL:
            self._begin()

    def _begin(self) -> None:
        """Learn what is usual from the hops so far, and choose among them."""
        values = np.array(self._values)
        self._scale = scale_of(values)
        features = self._scale.of(values)
        self._running = Running(self._hops, scale_free(features) if features.any() else 1.0)
        for row, phi in enumerate(features):
            self._let_go(self._running.offer(row, phi))

    def _let_go(self, row: int | None) -> None:
        if row is not None:
            folder = self._folder / _KEPT / f"hop{row}"
            del self._liftoffs[row], self._windows[folder]
            shutil.rmtree(folder, ignore_errors=True)  # it may not be written yet


def _joined(scans: Sequence[Scan]) -> Iterator[list[Row]]:
    """Chunks of excerpts of one recording in their order, without what two of them hold."""
    newest = -1
    for scan in scans:
        rows = [row for chunk in scan.chunks() for row in chunk if row[2] > newest]
        newest = max([newest, *(row[2] for row in rows)])
        yield from (rows[k : k + 1000] for k in range(0, len(rows), 1000))


def main() -> None:
    """``python -m matrix_hil.log.thin FOLDER HOPS MASS``: names of closed files come line by line."""
    leave_signals()  # they end the recording, which then waits for this
    os.nice(10)
    thinner = Thinner(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    try:
        waiting = ""
        for line in sys.stdin:
            if waiting:
                thinner.take(Path(waiting))
            waiting = line.strip()
        if waiting:
            thinner.take(Path(waiting), last=True)
        thinner.finish()
    except (LunarError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
