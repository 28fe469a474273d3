"""A Go2's DDS topics as a line of the maker's C structures, without ROS. Needs the package ``lunar[go2]``."""

from __future__ import annotations

import os
import time
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import serial
from cyclonedds.core import DDSException, Policy, Qos
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import array, float32, int8, int16, int32, uint8, uint16, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

from policy.runtime.unitree import BMS_CMD, BMS_STATE, IMU_STATE, LOW_CMD, LOW_STATE, MOTOR_CMD, MOTOR_STATE, seal
from sim.errors import LunarError

_NAMES = {
    BMS_CMD: "BmsCmd", BMS_STATE: "BmsState", IMU_STATE: "IMUState", LOW_CMD: "LowCmd", LOW_STATE: "LowState",
    MOTOR_CMD: "MotorCmd", MOTOR_STATE: "MotorState",
}  # fmt: skip
_PRIMITIVES = {"u1": uint8, "i1": int8, "u2": uint16, "i2": int16, "u4": uint32, "i4": int32, "f4": float32}
_HEADER = bytes((0, 1, 0, 0))  # of CDR: little-endian, no options
_STREAM = Qos(Policy.Reliability.BestEffort, Policy.History.KeepLast(1))
_COMMANDS = Qos(Policy.Reliability.Reliable(duration(milliseconds=10)), Policy.History.KeepLast(1))
_OTHERS = Qos(Policy.Reliability.BestEffort, Policy.History.KeepLast(1), Policy.IgnoreLocal.Process)
_CONFIG = """<CycloneDDS><Domain><General><Interfaces><NetworkInterface name="{}"/></Interfaces>{}</General>{}</Domain>
</CycloneDDS>"""
# The loopback interface has no multicast: participants are looked for by their port numbers.
_LOOPBACK = (
    "<AllowMulticast>false</AllowMulticast>",
    "<Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>"
    '<Peers><Peer address="127.0.0.1"/></Peers></Discovery>',
)
_CONFIGURED: dict[tuple[int, str], Domain] = {}  # a process configures a domain once


class CdrPlaces:
    """Where each byte of a C structure without strings and sequences lies in its CDR, which aligns values, not
    structures."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        source: list[int] = []
        target: list[int] = []
        self.size = 0
        for offset, size in _values(dtype, 0):
            self.size += -self.size % size
            source.extend(range(offset, offset + size))
            target.extend(range(self.size, self.size + size))
            self.size += size
        self._source, self._target = np.array(source), np.array(target)

    def encode(self, record: bytes) -> bytes:
        """CDR, header included, of the bytes of a structure."""
        body = np.zeros(self.size + -self.size % 4, np.uint8)
        body[self._target] = np.frombuffer(record, np.uint8)[self._source]
        return _HEADER + body.tobytes()

    def decode(self, data: bytes) -> np.ndarray:
        """The record, shape (), of its CDR.

        Raises:
            ValueError: too short, or not little-endian CDR.
        """
        if len(data) < len(_HEADER) + self.size or data[1] & 1 != 1:
            raise ValueError(f"{len(data)} bytes are no {_NAMES[self.dtype]}")
        record = np.zeros(self.dtype.itemsize, np.uint8)
        record[self._source] = np.frombuffer(data, np.uint8)[len(_HEADER) :][self._target]
        return record.view(self.dtype)[0:1].reshape(())


def _values(dtype: np.dtype, offset: int) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of all values of a structure in the order of its fields."""
    if dtype.subdtype is not None:
        element, shape = dtype.subdtype
        for i in range(shape[0]):
            yield from _values(element, offset + i * element.itemsize)
    elif dtype.fields is not None:
        for part, at in ((f[0], f[1]) for f in dtype.fields.values()):
            yield from _values(part, offset + at)
    else:
        yield offset, dtype.itemsize


def _idl(dtype: np.dtype) -> Any:
    """Cyclone DDS's type of a structure, a field or an array."""
    if dtype.subdtype is not None:
        element, shape = dtype.subdtype
        return array[_idl(element), shape[0]]  # type: ignore[misc]
    if dtype.fields is None:
        return _PRIMITIVES[dtype.str[1:]]
    fields = {name: _idl(part[0]) for name, part in dtype.fields.items()}
    name = _NAMES[dtype]
    typename = {"typename": f"unitree_go::msg::dds_::{name}_"}
    return types.new_class(name, (IdlStruct,), typename, lambda space: space["__annotations__"].update(fields))


def _topic_type(dtype: np.dtype) -> Any:
    """As ``_idl``, but a sample is its record's bytes, which go past Cyclone's own coder: that takes milliseconds.

    A record that is read gets a CRC of ours: DDS guards its bytes itself, and a robot may leave the field empty.
    """
    places, made = CdrPlaces(dtype), _idl(dtype)

    def deserialize(data: bytes, *_: Any, **__: Any) -> Any:
        sample = made.__new__(made)
        sample.record = seal(places.decode(data)).tobytes()
        return sample

    made.deserialize = deserialize
    made.deserialize_key = lambda *_, **__: None  # of a sample without data: there is no key
    made.serialize = lambda sample, *_, **__: places.encode(sample.record)
    return made


class Go2Line:
    """LowState in, LowCmd out, with what ``SerialDevice`` asks of a port. ROS_DOMAIN_ID says in which domain.

    Args:
        interface: of the network, as ``ip addr`` names it.

    Raises:
        LunarError: there is no such interface, or ROS_DOMAIN_ID is no number.
    """

    write_timeout = 0.0

    def __init__(self, interface: str) -> None:
        named = os.environ.get("ROS_DOMAIN_ID", "0")
        if not named.isdecimal():
            raise LunarError(f"ROS_DOMAIN_ID is '{named}'; it must be a whole number")
        domain = int(named)
        others = [used for at, used in _CONFIGURED if at == domain and used != interface]
        if others:
            raise LunarError(
                f"this program uses DDS domain {domain} on {others[0]} already: {interface} cannot join it"
            )
        if (domain, interface) not in _CONFIGURED:
            config = _CONFIG.format(interface, *(_LOOPBACK if interface == "lo" else ("", "")))
            try:
                _CONFIGURED[domain, interface] = Domain(domain, config)
            except DDSException:
                raise LunarError(
                    f"robot.port is dds://{interface}, but DDS cannot use a network interface '{interface}' in domain"
                    f" {domain}; 'ip addr' lists those that there are"
                ) from None
        participant = DomainParticipant(domain)
        states = Topic(participant, "rt/lowstate", _topic_type(LOW_STATE))
        self._command_type = _topic_type(LOW_CMD)
        commands = Topic(participant, "rt/lowcmd", self._command_type)
        self._states = DataReader(participant, states, _STREAM)
        self._commands = DataWriter(participant, commands, _COMMANDS)
        self._others = DataReader(participant, commands, _OTHERS)

    @property
    def masters(self) -> int:
        """How many command the motors, this line included.

        Raises:
            SerialException: DDS cannot say.
        """
        try:
            return 1 + len(self._others.get_matched_publications())
        except DDSException as error:
            raise serial.SerialException(str(error)) from None

    def read(self, size: int) -> bytes:
        """The newest state if it has not been read; ``size`` is not heeded.

        Raises:
            SerialException: DDS cannot be read.
        """
        try:
            samples = self._states.take(1)
        except ValueError:
            return b""  # no LowState, whoever sent it
        except DDSException as error:
            raise serial.SerialException(str(error)) from None
        return b"".join(s.record for s in samples if s.sample_info.valid_data)  # the others say that a writer has gone

    def write(self, data: bytes) -> None:
        """Publish a LOW_CMD record.

        Raises:
            SerialException: it could not be published; SerialTimeoutException, it could not yet.
        """
        sample = self._command_type.__new__(self._command_type)
        sample.record = data
        try:
            self._commands.write(sample)
        except DDSException as error:
            late = error.code == DDSException.DDS_RETCODE_TIMEOUT
            raise (serial.SerialTimeoutException if late else serial.SerialException)(str(error)) from None

    def flush(self) -> None:
        """Give a robot that has lost something the time to ask for it."""
        time.sleep(0.05)

    def close(self) -> None:
        """Leave the domain."""
        del self._others, self._commands, self._states
