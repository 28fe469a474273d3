"""A simulated Go2 in lunar gravity that speaks the robot's low-level interface: LowCmd in, LowState out at 500 Hz.

For trying ``unitree_adapter`` without hardware. Needs the package ``lunar[sim]``. It obeys commands with the right CRC,
head and mode only.
"""

from __future__ import annotations

import sys

from unitree_go.msg import LowCmd, LowState

from lunar_policy.node import STREAM, run
from lunar_policy.simulated import SimulatedRobot
from policy.runtime.unitree import fill_low_state, from_message, joint_values, why_refused


class SimGo2(SimulatedRobot):
    """Limp until the first command."""

    def __init__(self) -> None:
        super().__init__("sim_go2", timestep=0.002, command_timeout=0.1)
        self._message = LowState()
        self._state = self.create_publisher(LowState, "lowstate", STREAM)
        self.create_subscription(LowCmd, "lowcmd", self._on_command, 10)
        self._refused = ""
        self._obeyed = b""
        self.limp()

    def publish(self) -> None:
        """The low-level state."""
        robot = self.robot
        fill_low_state(
            self._message,
            (robot.joint_position, robot.joint_velocity, robot.joint_torque),
            robot.orientation,
            robot.angular_velocity,
            robot.specific_force,
            robot.foot_force,
            tick=round(self.time * 1e3),
        )
        self._state.publish(self._message)

    def _on_command(self, message: LowCmd) -> None:
        record = from_message(message)
        refused = why_refused(record)
        if refused != self._refused and refused:
            self.get_logger().warning(f"command refused: {refused}")
        self._refused = refused
        if not refused:
            v, before, self._obeyed = joint_values(record), self._obeyed, record.tobytes()
            repeated = self._obeyed == before
            self.command(v["q"], v["kp"], v["kd"], v["tau"] + v["kd"] * v["dq"], repeated=repeated)


def main(args: list[str] | None = None) -> int:
    """Entry of ``sim_go2``."""
    return run(SimGo2, args)


if __name__ == "__main__":
    sys.exit(main())
