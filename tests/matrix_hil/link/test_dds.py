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


PERIOD = 0.002  # s of the driver's time that a turn takes, however long it really does
TURNS = 20_000


class Robot:
    """A Go2's end of the topics, standing upright in its nominal pose."""

    def __init__(self) -> None:
        self.participant = DomainParticipant(DOMAIN)
        self.states = dds._topic_type(LOW_STATE)
        self.say = DataWriter(self.participant, Topic(self.participant, "rt/lowstate", self.states))
        self.hear = DataReader(self.participant, Topic(self.participant, "rt/lowcmd", dds._topic_type(LOW_CMD)))

    def speak(self, tick: int) -> None:
        record = np.zeros((), LOW_STATE)
        upright = np.array([1.0, 0.0, 0.0, 0.0])
        fill_low_state(record, [NOMINAL_POSE] * 3, upright, np.zeros(3), np.zeros(3), np.zeros(4), tick)
        sample = self.states.__new__(self.states)
        sample.record = record.tobytes()
        self.say.write(sample)

    def heard(self) -> list[np.ndarray]:
        samples = [s for s in self.hear.take(10) if s.sample_info.valid_data]
        return [np.frombuffer(s.record, LOW_CMD)[0] for s in samples]


def test_a_robot_is_driven_over_dds_and_damped_when_it_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    heard: list[np.ndarray] = []
    with Go2Robot("dds://lo") as driver:
        robot = Robot()
        for turn in range(1, TURNS):
            robot.speak(turn)
            driver.send(RobotCommand(turn * PERIOD, NOMINAL_POSE, 40.0, 1.0, "stand"))
            driver.poll(turn * PERIOD)
            time.sleep(PERIOD)
            heard += robot.heard()
            if sum(bool((joint_values(c)["kp"] == 40.0).all()) for c in heard) >= 10:
                break
        else:
            pytest.fail(f"the robot heard no commands: {driver.stats}")
        assert driver.state is not None and np.allclose(driver.state.joint_position, NOMINAL_POSE)
        assert np.allclose(joint_values(heard[-1])["q"], NOMINAL_POSE)
        del robot.say  # it is switched off
        heard.clear()
        for later in range(turn, turn + TURNS):
            driver.poll(later * PERIOD)
            time.sleep(PERIOD)
            heard += robot.heard()
            if later > turn + 100 and heard and (joint_values(heard[-1])["kp"] == 0.0).all():
                break
        assert (joint_values(heard[-1])["kp"] == 0.0).all() and (joint_values(heard[-1])["kd"] > 0.0).all()
        assert driver.stats.connected
    assert not any(why_refused(np.asarray(command)) for command in heard)


def test_an_interface_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN - 18))
    with pytest.raises(LunarError, match="'nowhere0' in domain"):
        Go2Robot("dds://nowhere0").connect()


def test_a_domain_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "abc")
    with pytest.raises(LunarError, match="ROS_DOMAIN_ID is 'abc'"):
        Go2Robot("dds://lo").connect()


def test_without_cyclone_dds_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matrix_hil.link.dds", None)
    with pytest.raises(LunarError, match=r"pip install .*lunar\[go2\]"):
        Go2Robot("dds://lo").connect()
