"""Writes a HIL run as MCAP in a folder that ``ros2 bag`` takes, readable up to 0.1 s before a kill."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

from matrix_hil.log.bag import BagTopic, Span, channel_metadata, open_writer, write_metadata
from matrix_hil.log.topics import TOPICS, Codec, Fault, FootContacts, ImuSample, JointSample, definition
from matrix_hil.messages import MachineCommands, MachineStates
from sim.errors import LunarError

CHUNK_TIME = 0.1  # s of log time after which a chunk is closed and handed to the operating system
_CHUNK_SIZE = 4 * 2**20  # bytes; closes a chunk early if height maps come in a burst
_MISFITS = (LookupError, AttributeError, TypeError, ValueError, OverflowError, AssertionError, struct.error)


def refuse_used(folder: Path) -> None:
    """Raise LunarError where ``folder`` holds a log."""
    if any(folder.glob("*.mcap")):
        raise LunarError(f"log folder {folder} holds a log already; choose another or remove it")


class Recorder:
    """Records messages until ``close``; a context manager. Call it from one thread only: it holds no lock.

    The loop that it serves must go on when the disk does not: an error while writing, or a message that does not fit
    its topic, never raises. A write error ends the recording for good; ``warning`` then says why.

    Args:
        folder: made if absent; its name is the file's name.
        attachments: files kept in the log, e.g. config, policy card and git revision, by name.
        start_wall_time: Unix time in s of log time zero.
        split_mb: MB (10^6 bytes) after which the next file is begun; 0 keeps one file. Every file can be read alone.

    Raises:
        LunarError: the folder cannot be written, or holds a log already.
    """

    def __init__(
        self, folder: str | Path, attachments: dict[str, bytes], start_wall_time: float, split_mb: float = 0.0
    ) -> None:
        self.folder = Path(folder)
        self.path = self.folder / f"{self.folder.resolve().name}.mcap"
        """The file that is being written."""
        self.warning = ""
        """Why recording stopped, or the first message that was left out; empty while all is well. Stays once set."""
        self.messages = 0
        """Messages taken so far."""
        self._epoch = round(start_wall_time * 1e9)
        self._attachments = dict(attachments)
        self._split = split_mb * 1e6 if split_mb > 0.0 else math.inf
        self._codecs = {topic: Codec(topic, self._epoch) for topic in TOPICS}
        self._metadata = {topic: channel_metadata(topic) for topic in TOPICS}
        self._counts = dict.fromkeys(TOPICS, 0)
        self._spans: list[Span] = []
        self._chunk_start = -math.inf
        self._misfits = 0
        self._ended: float | None = None  # s of log time from which on nothing is on the disk
        self._unrecorded = 0
        self._latest = -math.inf  # s of log time, of the last message that was offered since
        self._newest: dict[str, float] = {}
        self._faults: dict[str, int] = {}
        self._stream: BinaryIO | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            refuse_used(self.folder)
            self._open(self._epoch)
        except OSError as error:
            raise LunarError(f"log folder {self.folder} cannot be written: {error.strerror or error}") from None

    def _open(self, now: int) -> None:
        """Begin a file at ``now``, ns since the Unix epoch."""
        name = self.folder.resolve().name
        self.path = self.folder / (f"{name}_{len(self._spans)}.mcap" if self._spans else f"{name}.mcap")
        self._stream = open(self.path, "xb")
        self._writer = open_writer(self._stream, self._epoch, self._attachments, now, _CHUNK_SIZE)
        schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        for topic, row in TOPICS.items():
            if row.ros_type not in schemas:
                text = definition(row.ros_type)
                schemas[row.ros_type] = self._writer.register_schema(row.ros_type, "ros2msg", text)
            self._channels[topic] = self._writer.register_channel(
                topic, "cdr", schemas[row.ros_type], self._metadata[topic]
            )
        self._writer.flush()
        self._spans.append(Span(self.path.name, now))
        self._write_metadata()

    @property
    def recording(self) -> bool:
        """Whether messages are still being taken."""
        return self._stream is not None

    def write(self, topic: str, message: Any, time: float) -> None:
        """Take one message.

        Args:
            topic: a key of ``TOPICS``.
            message: the topic's dataclass, or anything with its fields.
            time: s since log time zero. It may stand still or jump back; what is not finite is left out.
        """
        if self._stream is None:
            self._miss(time)
            return
        try:
            data = self._codecs[topic].encode(message, time)
        except _MISFITS as error:
            self._leave_out(topic, error)
            return
        self.write_cdr(topic, data, time)

    def write_cdr(self, topic: str, data: bytes, time: float) -> None:
        """Take one message as ROS 2 has serialized it; otherwise as ``write``."""
        if self._stream is None:
            self._miss(time)
            return
        try:
            channel = self._channels[topic]
            stamp = max(0, self._epoch + round(time * 1e9))
        except _MISFITS as error:
            self._leave_out(topic, error)
            return
        try:
            # a clock that jumps back must not keep the chunk open for as long as it jumped
            if self.messages and abs(time - self._chunk_start) >= CHUNK_TIME - 1e-9:
                self._writer.flush()
                self._chunk_start = time
                if self._stream.tell() >= self._split:
                    self._finish()
                    self._open(stamp)
                    channel = self._channels[topic]
            elif not self.messages:
                self._chunk_start = time
            self._writer.add_message(channel, stamp, data, stamp, self._counts[topic])
        except OSError as error:
            self.stop(error.strerror or str(error))
            self._miss(time)
            return
        self._spans[-1].add(stamp)
        self._counts[topic] += 1
        self.messages += 1

    @property
    def missing(self) -> str:
        """What of the run is not in the log, as a sentence; empty where all is. Final once closed."""
        found = [self.warning] if self.warning else []
        if self._unrecorded and self._ended is not None:
            seconds = max(0.0, self._latest - self._ended)
            found.append(f"what came in the last {seconds:.1f} s of the run is not in the log")
        elif self._misfits > 1:
            found.append(f"{self._misfits} messages were left out in all")
        return "; ".join(found)

    def write_states(self, states: MachineStates, loaded: Any, time: float) -> None:
        """Take the newest state of every machine: those measured after the ones of the last call.

        Args:
            states: what the loop has; None where nothing has come.
            loaded: (4,) bool, feet loaded, as the loop's hop detector says.
            time: s since log time zero.
        """
        robot = states.robot
        if robot is not None and self._is_new("robot", robot.time):
            joints = JointSample(robot.time, robot.joint_position, robot.joint_velocity)
            self.write("/robot/joint_states", joints, time)
            self.write("/robot/imu", ImuSample(robot.time, robot.angular_velocity, robot.projected_gravity), time)
            self.write("/robot/foot_contacts", FootContacts(robot.time, robot.foot_force, loaded), time)
        named = (
            ("/platform/state", states.platform),
            ("/treadmill/state", states.treadmill),
            ("/counterweight/state", states.counterweight),
            ("/tracker/pose", states.tracker),
        )
        for topic, state in named:
            if state is not None and self._is_new(topic, state.time):
                self.write(topic, state, time)
        if robot is not None:
            self._write_fault("/robot/fault", robot.fault, time)
        if states.tracker is not None:
            self._write_fault("/tracker/fault", states.tracker.fault, time)

    def write_commands(self, commands: MachineCommands, time: float) -> None:
        """Take a cycle's commands to all machines."""
        self.write("/platform/command", commands.platform, time)
        self.write("/treadmill/command", commands.treadmill, time)
        self.write("/counterweight/command", commands.counterweight, time)
        self.write("/robot/command", commands.robot, time)

    def close(self) -> None:
        """Write the index and the final metadata. May be called twice; never raises."""
        if self._stream is None:
            return
        try:
            self._finish()
            self._write_metadata()
        except OSError as error:
            self.stop(error.strerror or str(error))

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _finish(self) -> None:
        """Write the file's index and see it to the disk."""
        assert self._stream is not None
        self._writer.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._stream = None

    def _write_fault(self, topic: str, fault: int, time: float) -> None:
        if self._faults.get(topic) != fault:
            self._faults[topic] = fault
            self.write(topic, Fault(time, fault), time)

    def _is_new(self, key: str, time: float) -> bool:
        if self._newest.get(key) == time:
            return False
        self._newest[key] = time
        return True

    def _leave_out(self, topic: str, error: Exception) -> None:
        self._misfits += 1
        self.warning = self.warning or f"log: a message on {topic} was left out: {error!r}"

    def _miss(self, time: float) -> None:
        """Count a message that came after recording had failed."""
        if self._ended is not None and math.isfinite(time):
            self._unrecorded += 1
            self._latest = max(self._latest, time)

    def stop(self, why: str) -> None:
        """End the recording for good, as a write error does. What reached the disk stays readable up to its last whole
        chunk."""
        self.warning = f"log: recording to {self.path} stopped: {why}"
        self._ended = self._chunk_start
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                stream.close()
            except OSError:  # closing flushes, and the disk is still full
                stream.raw.close()  # type: ignore[attr-defined]

    def _write_metadata(self) -> None:
        topics = {
            topic: BagTopic(row.ros_type, self._counts[topic], self._metadata[topic]["topic_type_hash"])
            for topic, row in TOPICS.items()
        }
        write_metadata(self.folder, self._spans, topics)
