"""Which hops of hours of logs to keep: half of them stand for all the others, half show what the others do not.

What differs is the greedy choice of the largest log-det, what stands for the rest its medoids (``policy.subset``).
Each kept hop stands for a share of all hops, those that it is nearest to, and has a weight near to that with which
means over the kept are those over all (calibration, Deville and Särndal 1992). The supervisor's trips are kept besides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from matrix_hil.log.folder import Bag, open_bag
from matrix_hil.log.hops import FEATURES, Hops, hops_of
from matrix_hil.log.notes import sentences
from matrix_hil.log.reader import Log, read_log
from matrix_hil.log.recover import write_copy
from matrix_hil.log.scan import Row, Scan
from matrix_hil.log.signals import TOPICS_READ, signals_of
from policy.subset.greedy import effective_dimension, greedy, scale_free, shares
from policy.subset.medoids import k_medoids
from sim.errors import LunarError

AROUND_TRIP = 2.0
"""s before and after a trip that are kept with it."""
_CLIP = 8.0  # deviations; beyond them a hop is odd, and by how much says no more
_NORMAL = 1.349  # deviations between a normal distribution's quartiles
_EXACT = 10.0  # per deviation, how much the error of a mean weighs
_KNOWN = 0.5  # share of hops of which a feature must be known
_PLACE = {name: k for k, name in enumerate(FEATURES)}


@dataclass(frozen=True)
class DayLog:
    """What is kept in memory of one log."""

    path: Path
    """As it was named."""
    bag: Bag
    epoch: int
    """ns since the Unix epoch, log time zero."""
    begin: float
    """s of log time, first message."""
    duration: float
    """s."""
    robot: str
    """Digest of the robot's file by the policy's card; empty when the log does not say."""
    hops: Hops
    trips: tuple[tuple[float, str], ...]
    """s of log time, and the rule that tripped."""
    notes: tuple[str, ...]
    """Sentences on what is missing of it."""


@dataclass(frozen=True)
class Kept:
    """A hop that is kept. Hops are numbered through all logs."""

    row: int
    differs: bool
    """Of the half that shows what the others do not; else of the one that represents."""
    share: float
    """Of all hops, those that it is nearest to."""
    weight: float
    """With which means over the kept hops are as near as can be to those over all; they sum to 1."""
    why: tuple[tuple[str, float, float], ...]
    """The two features in which it differs most from the other kept ones: name, its value, their median."""


@dataclass(frozen=True)
class Choice:
    """What was chosen of a matrix of features."""

    kept: tuple[Kept, ...]
    """First those that differ, in the order in which they were found; then those that represent, by share."""
    used: tuple[str, ...]
    """Features that were looked at."""
    dropped: dict[str, str]
    """The others, and why."""
    directions: float
    """Effective dimension of the features under the kernel that was used; 0 when all hops were kept."""


def read_day(path: str | Path | Bag, topic_map: str, mass: float) -> DayLog:
    """Read one log of a robot of ``mass`` kg, or one that was opened, and keep its hops.

    Raises:
        LunarError: it cannot be read, or lacks what hops are found by.
    """
    bag = path if isinstance(path, Bag) else open_bag(path)
    log = read_log(bag, topic_map, only=TOPICS_READ)
    signals = signals_of(log)
    if signals is None:
        said = "; ".join(sentences(log.lost, log.skipped, log.notes))
        raise LunarError(
            f"log {bag.path} does not show hops: they need /robot/foot_contacts every 10 ms and /rig/base_pose or "
            f"/tracker/pose; --map FROM:=TO reads a topic by another name{f' ({said})' if said else ''}"
        )
    missing = tuple(sentences(log.lost, {}, log.notes))
    hops = hops_of(signals, mass)
    return DayLog(bag.path, bag, log.epoch, log.begin, log.duration, _robot(log), hops, _trips(log), missing)


@dataclass(frozen=True)
class Scale:
    """How far from usual a feature is: its distance from the median, in units of the quartiles' distance as in a normal
    distribution, but no less than what means anything, and clipped at 8."""

    used: tuple[str, ...]
    """Features that are known of at least half of the hops."""
    middle: np.ndarray
    """(d,) their medians."""
    deviation: np.ndarray
    """(d,)."""
    dropped: dict[str, str]
    """The other features, and why."""

    def of(self, values: np.ndarray) -> np.ndarray:
        """(m, d) of features (m, f) in the order of ``FEATURES``. What is unknown of a hop counts as usual."""
        columns = values[:, [_PLACE[name] for name in self.used]]
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(np.clip((columns - self.middle) / self.deviation, -_CLIP, _CLIP))


def scale_of(values: np.ndarray) -> Scale:
    """What is usual among hops with features (m, f) in the order of ``FEATURES``."""
    used, figures, dropped = [], [], {}
    for name, column in zip(FEATURES, values.T, strict=True):
        known = column[np.isfinite(column)]
        if len(known) < _KNOWN * len(column):
            dropped[name] = "not known" if not len(known) else "known of less than half of the hops"
            continue
        low, middle, high = np.percentile(known, [25, 50, 75])
        used.append(name)
        figures.append((middle, max((high - low) / _NORMAL, FEATURES[name][2])))
    middle, deviation = np.array(figures).reshape(-1, 2).T
    return Scale(tuple(used), middle, deviation, dropped)


def scaled(values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...], dict[str, str]]:
    """Features (m, f) as ``Scale`` has them, without those that no hop differs in by as much as means anything.

    Returns:
        The deviations (m, d), the names of the features that they are of, and those that were dropped with the reason.
    """
    scale = scale_of(values)
    features = scale.of(values)
    least = np.array([FEATURES[name][2] for name in scale.used]) / scale.deviation
    varies = np.abs(features).max(axis=0, initial=0.0) >= np.minimum(least, _CLIP)
    used = tuple(name for name, keep in zip(scale.used, varies, strict=True) if keep)
    constant = {name: "constant" for name in scale.used if name not in used}
    return features[:, varies], used, scale.dropped | constant


def choose(values: np.ndarray, k: int, seed: int = 0) -> Choice:
    """Choose ``k`` of m hops with features (m, f) in the order of ``FEATURES``; all of them where there are no more.

    Of hops that are the same in every feature only the first is ever chosen; its weight counts them all.

    Args:
        values: as ``Hops.values``.
        k: positive.
        seed: of the medoids' first guess.
    """
    features, used, dropped = scaled(values)
    _, first = np.unique(features, axis=0, return_index=True) if len(used) else (None, np.zeros(1, dtype=int))
    candidates = np.sort(first)
    directions = 0.0
    if len(candidates) <= k:
        ordinary, odd = candidates, candidates[:0]
    else:
        rows = features[candidates]
        gamma = scale_free(rows)
        directions = effective_dimension(rows, gamma)
        odd = candidates[greedy(rows, k // 2, gamma).order] if k > 1 else candidates[:0]
        left = np.setdiff1d(candidates, odd)
        ordinary = left[k_medoids(features[left], k - k // 2, np.random.default_rng(seed))]
    chosen = np.concatenate([odd, ordinary])
    share = shares(features, chosen)
    weights = calibrated(features, chosen, share)
    whys = [_why(values, features, used, chosen, place) for place in range(len(chosen))]
    found = [
        Kept(int(r), i < len(odd), float(share[i]), float(weights[i]), whys[i]) for i, r in enumerate(chosen)
    ]  # fmt: skip
    rest = sorted(found[len(odd) :], key=lambda kept: -kept.share)
    return Choice((*found[: len(odd)], *rest), used, dropped, directions)


def windows_of(day: DayLog, rows: Sequence[int]) -> list[tuple[float, float]]:
    """Stretches of log time in s that hold the hops ``rows`` of this log and its trips, merged and in order."""
    hops = day.hops
    spans = [(float(hops.start[r]), float(hops.end[r])) for r in rows]
    spans += [(time - AROUND_TRIP, time + AROUND_TRIP) for time, _ in day.trips]
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def write_excerpts(day: DayLog, wanted: Mapping[Path, Sequence[tuple[float, float]]]) -> int:
    """Write what a log holds within windows (s of log time) as new logs with its definitions, attachments and time
    zero. Of latched topics the newest message before a window goes with it.

    Args:
        day: the log.
        wanted: windows by the folder that a log of them goes to.

    Returns:
        Bytes of all that was written.

    Raises:
        LunarError: one cannot be written.
    """
    parts: dict[Path, list[tuple[Scan, list[list[Row]]]]] = {folder: [] for folder in wanted}
    for scan in day.bag.scans:
        for folder, rows in _within(scan, day.epoch, wanted).items():
            if rows:
                parts[folder].append((scan, [rows[i : i + 1000] for i in range(0, len(rows), 1000)]))
    for folder in wanted:
        write_copy(parts[folder], folder)
    return sum(file.stat().st_size for folder in wanted for file in folder.glob("*.mcap"))


def _within(scan: Scan, epoch: int, wanted: Mapping[Path, Sequence[tuple[float, float]]]) -> dict[Path, list[Row]]:
    spans = [(folder, epoch + round(1e9 * a), epoch + round(1e9 * b)) for folder, w in wanted.items() for a, b in w]
    begins, ends = np.array([s[1:] for s in spans], dtype=np.int64).reshape(-1, 2).T
    found: dict[Path, list[Row]] = {folder: [] for folder in wanted}
    entered: set[int] = set()
    latched: dict[int, Row] = {}
    for chunk in scan.chunks():
        stamps = np.array([row[2] for row in chunk], dtype=np.int64)[:, None]
        inside = (stamps >= begins) & (stamps <= ends)
        lasting = {number for number, channel in scan.channels.items() if _is_latched(channel.metadata)}
        hit_by = {int(k): set(np.flatnonzero(inside[k]).tolist()) for k in np.flatnonzero(inside.any(axis=1))}
        for k, row in enumerate(chunk):
            hits = hit_by.get(k, set[int]())
            for hit in hits - entered:
                rows = found[spans[hit][0]]
                rows += [held for held in latched.values() if not rows or held[2] > rows[-1][2]]
            entered |= hits
            for folder in {spans[hit][0] for hit in hits}:
                found[folder].append(row)
            if row[0] in lasting:
                latched[row[0]] = row
    return found


def _is_latched(metadata: dict[str, str]) -> bool:
    """Whether a channel was offered with durability ``transient_local``, in words or by its number in ROS 2."""
    profile = metadata.get("offered_qos_profiles", "")
    return "transient_local" in profile or "durability: 1" in profile


def calibrated(features: np.ndarray, chosen: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(k,) weights near to ``share`` with which the chosen rows of features (m, d) have the mean of all.

    They minimise sum (w - s)^2 / s + ``_EXACT``^2 |mean of the chosen - mean of all|^2 and are not negative.
    """
    root = np.sqrt(np.maximum(share, 0.5 / len(features)))
    targets = np.append(features.mean(0), 10.0)  # the last row: they sum to 1
    rows = np.vstack([features[chosen].T, np.full(len(chosen), 10.0)])
    weights, _ = nnls(np.vstack([_EXACT * rows, np.diag(1.0 / root)]), np.append(_EXACT * targets, root))
    return np.asarray(weights / weights.sum())


def _why(
    values: np.ndarray, features: np.ndarray, used: Sequence[str], chosen: np.ndarray, place: int
) -> tuple[tuple[str, float, float], ...]:
    others = np.delete(chosen, place)
    if not len(others) or not used:
        return ()
    row = chosen[place]
    off = np.abs(features[row] - np.median(features[others], axis=0))
    found = []
    for k in np.argsort(-off, kind="stable")[:2]:
        column = values[:, _PLACE[used[k]]]
        known = column[others][np.isfinite(column[others])]
        found.append((used[k], float(column[row]), float(np.median(known)) if len(known) else float("nan")))
    return tuple(found)


def _trips(log: Log) -> tuple[tuple[float, str], ...]:
    if "/supervisor/state" not in log:
        return ()
    judged = log["/supervisor/state"]
    tripped = np.flatnonzero(np.diff(judged.trips.astype(int), prepend=0) > 0)
    return tuple((float(judged.log_time[k]), str(judged.reason[k])) for k in tripped)


def _robot(log: Log) -> str:
    """Digest of the robot that the log's policy is of."""
    try:
        return str(json.loads(log.attachments["card.json"]).get("robot_digest", ""))
    except (KeyError, ValueError, AttributeError, RecursionError):
        return ""


def document(days: Sequence[DayLog], choice: Choice, outs: Sequence[str], starts: Sequence[float]) -> dict[str, Any]:
    """What ``keep.json`` says.

    Args:
        days: the logs.
        choice: of their hops, numbered through.
        outs: folder that was written for each log; empty where none was.
        starts: s of log time at which the time of its report is zero.
    """
    first = np.concatenate([[0], np.cumsum([len(day.hops) for day in days])])
    kept = []
    for hop in choice.kept:
        k = int(np.searchsorted(first, hop.row, side="right")) - 1
        day, row = days[k], hop.row - first[k]
        why = [
            {"feature": name, "value": value, "others": others, "unit": FEATURES[name][0], "text": FEATURES[name][1]}
            for name, value, others in hop.why
        ]
        kept.append({
            "log": str(day.path), "time_s": float(day.hops.liftoff[row]) - day.begin, "half": _HALVES[hop.differs],
            "share": hop.share, "weight": hop.weight, "why": why, "kept_log": outs[k],
            "kept_time_s": float(day.hops.liftoff[row]) - starts[k],
            "features": dict(zip(FEATURES, day.hops.values[row].tolist(), strict=True)),
        })  # fmt: skip
    trips = [
        {"log": str(day.path), "time_s": time - day.begin, "reason": reason, "kept_log": out, "kept_time_s": time - at}
        for day, out, at in zip(days, outs, starts, strict=True)
        for time, reason in day.trips
    ]
    logs = [
        {"log": str(day.path), "hops": len(day.hops), "duration_s": day.duration, "kept_log": out}
        for day, out in zip(days, outs, strict=True)
    ]
    return {
        "hops": int(first[-1]), "kept": kept, "trips": trips, "logs": logs, "features": list(choice.used),
        "dropped": choice.dropped, "directions": choice.directions,
    }  # fmt: skip


_HALVES = ("represents", "differs")
