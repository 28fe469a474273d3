"""Moves one joint after the other of a simulated Go2 through the real messages, as bytes on the wire.

Usage: ``go2_joints.py RESULT``. RESULT gets ``{"moved": [[rad, ...], ...], "refused": str}``: row i is how far each
joint moved when joint i was sent 0.25 rad away, both in project order.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from unitree_go.msg import LowCmd, LowState

from policy.runtime.unitree import (
    fill_low_state,
    from_message,
    joint_values,
    low_cmd,
    read_low_state,
    to_message,
    why_refused,
)
from sim.physics.scene import PhysicsConfig
from sim.physics.single import SingleRobot
from sim.spec.joints import NOMINAL_POSE


def main() -> None:
    """A robot that floats, so that a joint's motion leaves the others alone."""
    moved = []
    for joint in range(12):
        robot = SingleRobot(PhysicsConfig(gravity=0.0, timestep=0.002))
        targets = NOMINAL_POSE.copy()
        targets[joint] += 0.25
        command = to_message(low_cmd(targets, kp=60.0, kd=3.0), LowCmd())
        record = from_message(deserialize_message(serialize_message(command), LowCmd))
        assert why_refused(record) == ""
        v = joint_values(record)
        robot.command(v["q"], v["kp"], v["kd"], v["tau"] + v["kd"] * v["dq"])
        for _ in range(200):
            robot.step()
        state = fill_low_state(
            LowState(),
            (robot.joint_position, robot.joint_velocity, robot.joint_torque),
            robot.orientation,
            robot.angular_velocity,
            robot.specific_force,
            robot.foot_force,
            tick=400,
        )
        reading = read_low_state(deserialize_message(serialize_message(state), LowState))
        moved.append((reading.joint_position - NOMINAL_POSE).tolist())
    command.motor_cmd[3].q += 0.1
    refused = why_refused(from_message(deserialize_message(serialize_message(command), LowCmd)))
    Path(sys.argv[1]).write_text(json.dumps({"moved": np.round(moved, 6).tolist(), "refused": refused}))


if __name__ == "__main__":
    main()
