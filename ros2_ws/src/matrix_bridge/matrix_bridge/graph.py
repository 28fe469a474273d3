"""What the rig's nodes exchange: one row per topic and service, read by the nodes, the security policy and the docs.

Names are relative to the nodes' namespace. Knows no ROS, so that everything may read it.
"""

from __future__ import annotations

from dataclasses import dataclass

from matrix_hil.bringup.tables import TABLES
from matrix_hil.link import DEVICES
from matrix_hil.log import TOPICS

DRIVERS = tuple(f"{machine}_driver" for machine in DEVICES)
COMMANDED = tuple(driver for driver in DRIVERS if driver != "tracker_driver")
"""Drivers of machines that move."""
SUPERVISOR = "sync"
"""The node that alone may command them."""


@dataclass(frozen=True)
class Topic:
    """One row."""

    name: str
    qos: str
    """Name of a profile in ``matrix_bridge.qos``."""
    publishers: tuple[str, ...]
    """Names of nodes. Where a driver and ``sync`` are named, the parameter ``drivers`` says which of them it is."""
    subscribers: tuple[str, ...] = ()
    type: str = ""
    """ROS type of a topic that is not logged."""
    log: str = ""
    """Topic of the log that it becomes."""

    @property
    def ros_type(self) -> str:
        """E.g. ``matrix_msgs/msg/TwinPatch``."""
        return TOPICS[self.log].ros_type if self.log else self.type


def _machine(machine: str) -> tuple[Topic, ...]:
    driver = f"{machine}_driver"
    state = Topic(f"{machine}/state", "stream", (driver, "sync"), ("sync", "recorder"), log=f"/{machine}/state")
    order = Topic(f"{machine}/command", "command", ("sync",), (driver, "recorder"), log=f"/{machine}/command")
    return state, order


def _logged(name: str, publishers: tuple[str, ...], *subscribers: str, qos: str = "stream", log: str = "") -> Topic:
    return Topic(name, qos, publishers, (*subscribers, "recorder"), log=log or f"/{name}")


_ROBOT = ("robot_driver", "sync")
_TRACKER = ("tracker_driver", "sync")
GRAPH = {
    row.name: row
    for row in (
        *_machine("platform"),
        *_machine("treadmill"),
        *_machine("counterweight"),
        _logged("tracker/pose", _TRACKER, "sync"),
        _logged("tracker/fault", _TRACKER, "sync", qos="state"),
        _logged("robot/joint_states", _ROBOT, "sync"),
        _logged("robot/imu", _ROBOT, "sync"),
        _logged("robot/foot_contacts", _ROBOT, "sync"),
        _logged("robot/fault", _ROBOT, "sync", qos="state"),
        _logged("robot/command", ("sync",), "robot_driver", qos="command"),
        Topic("hop_command", "event", (), ("sync",), "matrix_msgs/msg/HopCommand"),
        Topic("estop", "any", (), ("sync",), "std_msgs/msg/Bool"),
        Topic("operator", "any", (), ("sync",), "std_msgs/msg/Empty"),
        Topic("sync/session", "state", ("sync",), COMMANDED, "std_msgs/msg/String"),
        _logged("sync/hop_command", ("sync",), log="/hop_command"),
        _logged("sync/stamp", ("sync",)),
        _logged("policy/doubt", ("sync",)),
        _logged("supervisor/state", ("sync",), qos="state"),
        _logged("world/base_pose", ("sync",), "twin"),
        _logged("twin/patch", ("twin",), "sync", qos="state"),
        _logged("rig/base_pose", ("virtual_rig",)),
    )
}
"""By name. ``hop_command``, ``estop`` and ``operator`` come from the operator's side."""


@dataclass(frozen=True)
class Service:
    """One service of type ``std_srvs/srv/Trigger``."""

    name: str
    server: str
    clients: tuple[str, ...] = ()
    help: str = ""


SERVICES = {
    row.name: row
    for row in (
        Service("arm", "sync", help="idle → armed, if no rule objects; the answer says which does"),
        Service("run", "sync", help="armed or hold → run: the policy drives"),
        Service("hold", "sync", help="run → hold: the robot stands, belt and platform stop"),
        Service("reset", "sync", help="clears a latched reason and the devices' faults, back to idle"),
        Service("estop", "sync", help="e-stop, latched, from anywhere"),
        *(Service(f"{d}/reset", d, ("sync",), "asks the device to clear what it latched") for d in DRIVERS),
    )
}
"""By name."""


@dataclass(frozen=True)
class Action:
    """One action of the operator's."""

    name: str
    server: str
    type: str
    help: str = ""


ACTIONS = {
    row.name: row
    for row in (
        Action("follow_plan", "sync", "matrix_msgs/action/FollowPlan",
               "armed or hold → run, to the goal of the plan that the configuration names; then, or cancelled, hold"),
    )
}  # fmt: skip
"""By name."""
NODES = tuple(process.name for process in TABLES["matrix"] if process.package == "matrix_bridge")
OPERATOR = "operator"
"""Whoever may publish commands and call services: a console, a panel, rqt."""
