"""``lunar bench log``: writing and reading against the ``rosbags`` package; what a kill, a re-run and a report cost.

Both write the same messages, those of a run's ten busiest topics. ``rosbags`` gets them as ready ROS messages and
writes its default bag, uncompressed and in large chunks, which is its fastest. Ours gets the dataclasses of the loop,
compresses, and hands a chunk to the system every 0.1 s. Reading ends with every number in memory, in messages there and
in arrays here. Rounds are interleaved and medians are reported, because the host's speed swings.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import Reader, StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter

from benchmarks.harness import by_turns, medians, ratio, seconds, show_table, timed
from matrix_hil.config import HilConfig
from matrix_hil.log.info import info
from matrix_hil.log.reader import read_log
from matrix_hil.log.recorder import Recorder
from matrix_hil.log.topics import TOPICS, Codec, FootContacts, ImuSample, JointSample, Pose, SyncStamp, typestore
from matrix_hil.messages import CounterweightState, PlatformState, RobotCommand, TreadmillState
from matrix_hil.operate.cli import run as hil
from matrix_hil.replay.look.cli import ReplayConfig
from matrix_hil.replay.look.cli import run as report
from matrix_hil.replay.rerun import run as rerun
from matrix_hil.safety.supervisor import SupervisorState
from sim.config import parse
from sim.errors import LunarError
from sim.terminal import Terminal

RATE = 200.0  # Hz of every topic
KILL_RATE = 500.0  # Hz of the recording that is killed
_START = 1_790_000_000.0  # Unix time, s


@dataclass(frozen=True)
class Config:
    """Speed and safety of the log."""

    messages: int = 200_000
    """Written and read per round."""
    rounds: int = 5
    """Interleaved rounds; medians are reported."""
    kills: int = 5
    """Recordings that are killed; the worst is reported."""
    seconds: float = 60.0
    """s of the HIL run that is replayed, as a report and by re-running."""
    log: str = ""
    """Folder of a HIL log to take instead of making one."""
    seed: int = 0
    """Of the messages."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """A tenth of the messages, three rounds, one kill, 10 s of HIL."""


def stream(messages: int, seed: int) -> list[tuple[str, Any, float]]:
    """(topic, message, time in s) of a made-up run whose numbers are noise, which compresses worst."""
    rng = np.random.default_rng(seed)
    out: list[tuple[str, Any, float]] = []
    for k in range(-(-messages // 10)):
        t = k / RATE
        r = rng.standard_normal(64)
        out += [
            ("/robot/joint_states", JointSample(t, r[:12], r[12:24]), t),
            ("/robot/imu", ImuSample(t, r[24:27], r[27:30] / np.linalg.norm(r[27:30])), t),
            ("/robot/foot_contacts", FootContacts(t, r[30:34], r[30:34] > 0.0), t),
            ("/robot/command", RobotCommand(t, r[34:46], 30.0, 0.75, "run"), t),
            ("/platform/state", PlatformState(t, r[46:52], r[52:58]), t),
            ("/treadmill/state", TreadmillState(t, r[58], r[59]), t),
            ("/counterweight/state", CounterweightState(t, r[60], r[61], r[62]), t),
            ("/rig/base_pose", Pose(t, r[:3], r[3:7]), t),
            ("/supervisor/state", SupervisorState(t, "run", "", 0, 0), t),
            ("/sync/stamp", SyncStamp(t, k, r[0], r[1], r[2:7]), t),
        ]
    return out[:messages]


# ---- speed ----------------------------------------------------------------------------------------------------------


def write_ours(folder: Path, messages: Sequence[tuple[str, Any, float]]) -> float:
    """Seconds taken."""

    def write() -> Recorder:
        with Recorder(folder, {}, _START) as log:
            for topic, message, t in messages:
                log.write(topic, message, t)
        return log

    taken, log = timed(write)
    if log.warning or log.messages != len(messages):
        raise LunarError(f"the benchmark's log is not whole: {log.warning}")
    return taken


def ready(messages: Sequence[tuple[str, Any, float]]) -> list[tuple[str, Any, int]]:
    """(topic, ROS message, time in ns) for the peer."""
    codecs = {topic: Codec(topic, round(_START * 1e9)) for topic in TOPICS}
    store = typestore()
    return [
        (topic, store.deserialize_cdr(codecs[topic].encode(m, t), TOPICS[topic].ros_type), round((_START + t) * 1e9))
        for topic, m, t in messages
    ]


def write_peer(folder: Path, messages: Sequence[tuple[str, Any, int]]) -> float:
    """Seconds taken."""
    store = typestore()
    begin = time.perf_counter()
    with BagWriter(folder, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        connections = {}
        for topic in dict.fromkeys(topic for topic, _, _ in messages):
            connections[topic] = bag.add_connection(topic, TOPICS[topic].ros_type, typestore=store)
        for topic, message, stamp in messages:
            connection = connections[topic]
            bag.write(connection, stamp, store.serialize_cdr(message, connection.msgtype))
    return time.perf_counter() - begin


def read_peer(folder: Path) -> float:
    """Seconds taken."""
    store = typestore()
    begin = time.perf_counter()
    with Reader(folder) as bag:
        kept = [store.deserialize_cdr(data, connection.msgtype) for connection, _, data in bag.messages()]
    seconds = time.perf_counter() - begin
    del kept
    return seconds


def speed(cfg: Config, folder: Path) -> dict[str, Any]:
    """Messages per second of both, and the ratios."""
    messages = stream(cfg.messages, cfg.seed)
    peers = ready(messages)
    written: dict[str, Path] = {}

    def write(name: str, writer: Callable[[Path, Any], float], what: Any) -> float:
        old, new = written.get(name), folder / f"{name}{time.monotonic_ns()}"
        written[name] = new
        if old is not None:
            shutil.rmtree(old)
        return writer(new, what)

    calls: dict[str, Callable[[], float]] = {
        "write": lambda: write("ours", write_ours, messages),
        "write_rosbags": lambda: write("rosbags", write_peer, peers),
        "read": lambda: seconds(lambda: read_log(written["ours"])),
        "read_rosbags": lambda: read_peer(written["rosbags"]),
    }
    samples = by_turns(calls, cfg.rounds, "bench log")
    return {
        "write_over_rosbags": ratio(samples, "write_rosbags", "write"),
        "read_over_rosbags": ratio(samples, "read_rosbags", "read"),
        **{f"{name}_per_s": cfg.messages / taken for name, taken in medians(samples).items()},
        "bytes": sum(f.stat().st_size for f in written["ours"].iterdir()),
        "bytes_rosbags": sum(f.stat().st_size for f in written["rosbags"].iterdir()),
    }


# ---- a kill ---------------------------------------------------------------------------------------------------------

_CHILD = """
import os, struct, sys, time
import numpy as np
from matrix_hil.log import Pose, Recorder
folder, pipe, period = sys.argv[1], int(sys.argv[2]), 1.0 / float(sys.argv[3])
log = Recorder(folder, {}, 0.0)
begin = time.monotonic()
k = 0
while True:
    t = time.monotonic() - begin
    log.write("/tracker/pose", Pose(t, np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0])), t)
    os.write(pipe, struct.pack("<d", t))
    k += 1
    time.sleep(max(0.0, begin + k * period - time.monotonic()))
"""


def lost_at_kill(folder: Path, after: float) -> float:
    """s of log that a recording at ``KILL_RATE`` loses to a kill -9 ``after`` s from its first message."""
    out, into = os.pipe()
    command = [sys.executable, "-c", _CHILD, str(folder), str(into), str(KILL_RATE)]
    child = subprocess.Popen(command, pass_fds=[into])
    try:
        os.close(into)
        newest = _last(os.read(out, 8))  # waits for the first message
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        child.wait()
        while data := os.read(out, 65536):
            newest = _last(data)
    finally:
        child.kill()
        child.wait()
        os.close(out)
    return newest - float(read_log(folder)["/tracker/pose"].time[-1])


def _last(data: bytes) -> float:
    if len(data) < 8:
        raise LunarError("the recording that was to be killed did not start")
    return float(struct.unpack("<d", data[-8:])[0])


# ---- a HIL run ------------------------------------------------------------------------------------------------------


def replayed(cfg: Config, folder: Path) -> dict[str, Any]:
    """Size of the report of a HIL run, how fast it is summarised, and how fast it is run again."""
    path = Path(cfg.log) if cfg.log else folder / "hil"
    console = Terminal(quiet=True)
    if not cfg.log:
        default = parse(HilConfig, [], "lunar hil", default="hil/virtual.yaml")
        hil(replace(default, log=str(path), plan=replace(default.plan, duration=cfg.seconds)), console)
    taken, summary = timed(lambda: info(path))
    report(ReplayConfig(log=str(path), out=str(folder / "report.html")))
    results = {
        "hil_seconds": summary["duration_s"],
        "html_mb": (folder / "report.html").stat().st_size / 1e6,
        "info_s": taken,
    }
    try:
        again = [rerun(str(path), console=console) for _ in range(2)][-1]
    except LunarError as error:
        return results | {"rerun_realtime_factor": None, "rerun_note": str(error)}
    note = "identical" if again["identical"] else "different from the log"
    return results | {"rerun_realtime_factor": again["realtime_factor"], "rerun_note": note}


def run(cfg: Config) -> dict[str, Any]:
    """All of it."""
    if cfg.quick:
        messages, length = max(1, cfg.messages // 10), min(10.0, cfg.seconds)
        cfg = replace(cfg, messages=messages, rounds=min(3, cfg.rounds), kills=1, seconds=length)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results = speed(cfg, folder)
        # kills fall on different places of the 0.1 s between two chunks
        lost = [lost_at_kill(folder / f"killed{k}", 1.0 + 0.1 * (k + 0.9) / cfg.kills) for k in range(cfg.kills)]
        return results | {"lost_s_at_kill": max(lost)} | replayed(cfg, folder)


def show(results: dict[str, Any]) -> None:
    """Everything measured."""
    rows = [(name, f"{v:.4g}" if isinstance(v, float) else str(v)) for name, v in results.items()]
    show_table("The log", ("", "value"), rows)
