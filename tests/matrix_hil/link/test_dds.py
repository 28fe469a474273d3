"""A Go2's topics without ROS: the bytes are those of the message files, and both ends meet by ROS's names."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np
import pytest
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from matrix_hil.link import dds
from matrix_hil.link.go2 import Go2Robot
from matrix_hil.messages import RobotCommand
from policy.runtime.unitree import LOW_CMD, LOW_STATE, fill_low_state, joint_values, why_refused
from sim.config import ROOT
from sim.errors import LunarError
from sim.spec.joints import NOMINAL_POSE

DOMAIN = 215 + os.getpid() % 18  # that Linux has ports for and other tests do not use
TYPES = get_typestore(Stores.ROS2_KILTED)
for file in (ROOT / "ros2_ws/src/unitree_go/msg").glob("*.msg"):
    TYPES.register(get_types_from_msg(file.read_text(), f"unitree_go/msg/{file.stem}"))


def same(record: Any, message: Any) -> None:
    """Every value of a message is the record's."""
    for name in record.dtype.names:
        value, said = record[name], getattr(message, name)
        if value.dtype.names and value.shape:
            for one, other in zip(value, said, strict=True):
                same(one, other)
        elif value.dtype.names:
            same(value, said)
        else:
            assert np.array_equal(value, said, equal_nan=value.dtype.kind == "f"), name


@pytest.mark.parametrize(("dtype", "name"), [(LOW_CMD, "LowCmd"), (LOW_STATE, "LowState")])
def test_the_bytes_are_those_of_the_message_files(dtype: np.dtype, name: str) -> None:
    record = np.frombuffer(np.random.default_rng(0).bytes(dtype.itemsize), dtype)[0:1].reshape(())
    places = dds.CdrPlaces(dtype)
    data = places.encode(record.tobytes())
    message = TYPES.deserialize_cdr(data, f"unitree_go/msg/{name}")
    same(record, message)
    assert bytes(TYPES.serialize_cdr(message, f"unitree_go/msg/{name}")) == data
    same(places.decode(data), message)
    with pytest.raises(ValueError, match=f"no {name}"):
        places.decode(data[:-8])


def test_a_robot_is_driven_over_dds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    with Go2Robot("dds://lo") as driver:
        participant = DomainParticipant(DOMAIN)
        states, commands = dds._topic_type(LOW_STATE), dds._topic_type(LOW_CMD)
        say = DataWriter(participant, Topic(participant, "rt/lowstate", states))
        hear = DataReader(participant, Topic(participant, "rt/lowcmd", commands))
        record = np.zeros((), LOW_STATE)
        heard: list[np.ndarray] = []
        begin = time.monotonic()
        while len(heard) < 10:
            now = time.monotonic() - begin
            assert now < 120.0, driver.stats
            upright = np.array([1.0, 0.0, 0.0, 0.0])
            fill_low_state(record, [NOMINAL_POSE] * 3, upright, np.zeros(3), np.zeros(3), np.zeros(4), int(now * 1e3))
            sample = states.__new__(states)
            sample.record = record.tobytes()
            say.write(sample)
            driver.send(RobotCommand(now, NOMINAL_POSE, 40.0, 1.0, "stand"))
            driver.poll(now)
            time.sleep(0.002)
            heard += [np.frombuffer(s.record, LOW_CMD)[0] for s in hear.take(10)]
        assert driver.state is not None and np.allclose(driver.state.joint_position, NOMINAL_POSE)
    assert not any(why_refused(np.asarray(command)) for command in heard)
    assert np.allclose(joint_values(heard[-1])["q"], NOMINAL_POSE) and (joint_values(heard[-1])["kp"] == 40.0).all()


def test_an_interface_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN - 18))
    with pytest.raises(LunarError, match="'nowhere0' in domain"):
        Go2Robot("dds://nowhere0").connect()


def test_without_cyclone_dds_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matrix_hil.link.dds", None)
    with pytest.raises(LunarError, match=r"pip install .*lunar\[go2\]"):
        Go2Robot("dds://lo").connect()
