"""What of a run goes to the log: every topic, once per cycle or when it is new."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from matrix_hil.link.threads import real_time
from matrix_hil.log import Pose, Recorder, SyncStamp, WireBytes
from matrix_hil.log.cycle_input import cycle_input
from matrix_hil.log.recorder import refuse_used
from matrix_hil.messages import PolicyDoubt, RigTruth
from matrix_hil.run.loop import Cycle
from matrix_hil.run.way import PLAN_FILE
from policy.runtime.card import Card
from sim.errors import LunarError
from sim.files import find_policy
from sim.output import writing
from sim.results import revision


def log_folder(wanted: str) -> Path:
    """``wanted``, or a new folder below runs/hil/ named after date and time; it is there afterwards.

    Raises:
        LunarError: it holds a log already, or cannot be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = itertools.chain([stamp], (f"{stamp}-{k}" for k in itertools.count(2)))
    for folder in [Path(wanted)] if wanted else (Path("runs/hil", name) for name in names):
        refuse_used(folder)
        with writing(folder), contextlib.suppress(FileExistsError):  # another run began in this second
            folder.mkdir(parents=True, exist_ok=bool(wanted))
            return folder
    raise LunarError(f"log folder {wanted} is a file; choose another")


def attachments(cfg: Any, policy: str) -> dict[str, bytes]:
    """Config, policy card, revision and the plan that is followed, if any, so that a log explains itself."""
    card = Path(find_policy(policy)) / "card.json"
    plan = {PLAN_FILE: Path(cfg.plan.traverse).read_bytes()} if cfg.plan.traverse else {}
    return plan | {
        "config.json": json.dumps(asdict(cfg), indent=2, default=str).encode(),
        "card.json": card.read_bytes(),
        "policy.sha256": Card.load(card).weights.encode(),
        "revision.txt": revision().encode(),
    }


BACKLOG = 50_000
"""Records that may wait for the disk: most of a minute of a run in wall time, and some 50 MB."""


class Background:
    """Does work in order in a thread of its own, so that a slow disk does not hold up the loop. Leaving it finishes.

    The thread is of the loop's class whoever starts it: one that is put to sleep for others while it holds the
    interpreter puts the loop to sleep.

    Args:
        limit: pieces of work that may wait; what comes while so many do is dropped.
        late: called once, in the thread, before the next piece after something has been dropped.
    """

    def __init__(self, limit: int, late: Callable[[], None] = lambda: None) -> None:
        self._limit, self._late, self._dropped = limit, late, False
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def __call__(self, work: Callable[[], None]) -> None:
        """Queue ``work``; returns at once."""
        if self._queue.qsize() < self._limit:
            self._queue.put(work)
        else:
            self._dropped = True

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        told = False
        with real_time():
            while (work := self._queue.get()) is not None:
                if self._dropped and not told:
                    told = True
                    self._late()
                work()


def at_once(work: Callable[[], None]) -> None:
    """Do ``work`` now."""
    work()


class RunLog:
    """Writes cycles to a recorder.

    Args:
        recorder: open; the caller closes it.
        heading: rad, world yaw of the rig's x axis.
        truth: of the virtual rig, whose true base pose is logged beside the tracker's; None on real machines.
        do: does the writing, ``at_once`` or in the ``Background``.
        monitored: whether a monitor judges the policy's states.
    """

    def __init__(
        self,
        recorder: Recorder,
        heading: float,
        truth: Callable[[], RigTruth] | None,
        do: Callable[[Callable[[], None]], None],
        monitored: bool = False,
    ) -> None:
        self._recorder = recorder
        self._turn = np.array([math.cos(heading / 2), 0.0, 0.0, math.sin(heading / 2)])
        self._truth = truth
        self._do = do
        self._monitored = monitored
        self._patch_time: float | None = None

    def add(self, cycle: Cycle) -> None:
        """Take one cycle."""
        truth = self._truth() if self._truth is not None else None
        self._do(lambda: self._write(cycle, truth))

    def timed(self, cycle: Cycle, duration: float, lateness: float) -> None:
        """Take a cycle's computing time and how late it started, s."""
        self._do(lambda: self._stamp(cycle, duration, lateness))

    def wire(self, device: str) -> Callable[[str, bytes, float], None]:
        """What a driver's ``tap`` takes: logs the raw bytes of its line."""

        def tap(way: str, data: bytes, now: float) -> None:
            self._do(lambda: self._recorder.write(f"/wire/{device}/{way}", WireBytes(now, data), now))

        return tap

    def _write(self, cycle: Cycle, truth: RigTruth | None) -> None:
        r, now = self._recorder, cycle.time
        patch_time = None if cycle.patch is None else cycle.patch.time
        r.write(
            "/sync/input",
            cycle_input(cycle.number, now, cycle.states, cycle.command, cycle.orders, patch_time),
            now,
        )
        r.write_states(cycle.states, cycle.info.loaded, now)
        r.write_commands(cycle.sent, now)
        r.write("/hop_command", cycle.info.command, now)
        if self._monitored and cycle.info.policy_time == now:
            r.write("/policy/doubt", PolicyDoubt(now, *cycle.info.verdict), now)
        r.write("/supervisor/state", cycle.supervisor, now)
        if truth is not None:
            r.write("/rig/base_pose", Pose(now, truth.base_position, truth.base_quaternion), now)
        if cycle.states.tracker is not None:
            turned = _product(self._turn, cycle.states.tracker.quaternion)
            r.write("/world/base_pose", Pose(now, cycle.world, turned), now)
        if cycle.patch is not None and cycle.patch.time != self._patch_time:
            self._patch_time = cycle.patch.time
            r.write("/twin/patch", cycle.patch, now)

    def _stamp(self, cycle: Cycle, duration: float, lateness: float) -> None:
        s = cycle.states
        ages = [
            math.inf if state is None else cycle.time - state.time
            for state in (s.platform, s.treadmill, s.counterweight, s.tracker, s.robot)
        ]
        stamp = SyncStamp(cycle.time, cycle.number, lateness, duration, np.array(ages))
        self._recorder.write("/sync/stamp", stamp, cycle.time)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Quaternion product, (w, x, y, z)."""
    (aw, ax, ay, az), (bw, bx, by, bz) = a, b
    return np.array([
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ])  # fmt: skip
