"""Which ROS 2 processes make up each deployment, written down once: ``lunar up`` and the launch files both read it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sim.files import CONFIGS


@dataclass(frozen=True)
class Process:
    """One ROS 2 node in its own process.

    None is started again when it ends: a robot that hopped when its policy died must not begin to hop by itself, and a
    rig that stopped waits for its operator.
    """

    name: str
    """Node name."""
    package: str
    executable: str
    namespace: str = "/"
    parameters: str = ""
    """Parameter file in lunar_bringup/config; empty when there is none."""
    arguments: tuple[str, ...] = ()
    """Launch arguments that are handed on as parameters of the same name."""
    only: tuple[str, str] | None = None
    """(launch argument, value): the process is started only where the argument has that value."""
    lifecycle: bool = False
    """Whether it is a lifecycle node; later processes start when it has become active."""
    order: int = 0
    """Processes of equal order start together."""
    required: bool = True
    """Whether everything stops when it ends."""
    finite: bool = False
    """Whether it ends by itself when its work is done; everything stops then too, and it is no failure."""
    enclave: str = ""
    """SROS 2 enclave in the shipped policy; empty where it has none. Without security it means nothing."""


POLICY = Process(
    name="policy_node",
    package="lunar_policy",
    executable="policy_node",
    parameters="policy.yaml",
    arguments=("policy",),
    lifecycle=True,
    order=1,
)
POLICY_SIM = replace(POLICY, parameters="policy_sim.yaml")  # its time is /clock
ADAPTER = Process("unitree_adapter", "lunar_policy", "unitree_adapter", parameters="unitree.yaml")
SIM_ROBOT = Process(name="sim_robot", package="lunar_policy", executable="sim_robot")
MACHINES = ("platform", "treadmill", "counterweight", "tracker", "robot")


def _bridge(name: str, executable: str, order: int, *arguments: str, **more: Any) -> Process:
    """A lifecycle node of the rig."""
    return Process(
        name, "matrix_bridge", executable, "/matrix", "matrix.yaml", arguments, lifecycle=True, order=order,
        enclave=f"/matrix/{name}", **more,
    )  # fmt: skip


TABLES: dict[str, tuple[Process, ...]] = {
    # With robot 'generic' the robot's driver is the lab's and runs already.
    "deploy": (
        *(replace(POLICY, only=("robot", robot)) for robot in ("generic", "go2")),
        *(replace(POLICY_SIM, only=("robot", robot)) for robot in ("sim", "sim_go2")),
        replace(ADAPTER, only=("robot", "go2")),
        replace(ADAPTER, parameters="unitree_sim.yaml", only=("robot", "sim_go2")),
        replace(SIM_ROBOT, only=("robot", "sim")),
        Process("sim_go2", "lunar_policy", "sim_go2", only=("robot", "sim_go2")),
    ),
    # A simulated Go2 on the Moon in place of the robot; time is that of its physics.
    "sim": (SIM_ROBOT, POLICY_SIM),
    # The MATRIX rig, real or virtual: what 'lunar hil' does in one process, under an operator's orders.
    "matrix": (
        _bridge("virtual_rig", "virtual_rig_node", 0, "config", only=("rig", "virtual")),
        _bridge("recorder", "recorder_node", 1, "config", "policy", "log", required=False),
        _bridge("twin", "twin_node", 1, "config", required=False),
        *(
            _bridge(f"{machine}_driver", "driver_node", 1, "config", "rig", only=("drivers", "nodes"))
            for machine in MACHINES
        ),
        _bridge("sync", "sync_node", 2, "config", "rig", "policy", "drivers"),
    ),
    # A log as if it happened now; nothing that commands a machine listens there.
    "replay": (
        Process(
            "replay", "matrix_bridge", "replay_node", "/replay", "replay.yaml",
            arguments=("bag", "rate", "loop", "start", "end", "map"), lifecycle=True, finite=True,
        ),
    ),
}  # fmt: skip


SECURE = "secure"
"""The launch argument of tables whose nodes have enclaves."""
SECURITY = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"}
"""What the argument ``secure`` sets in the environment: no node without its keys, no word that is not allowed."""


@dataclass(frozen=True)
class Argument:
    """A launch argument."""

    help: str
    default: str | None = None
    """None when it must be given."""
    choices: tuple[str, ...] = ()
    """Any value when empty."""


ARGUMENTS = {
    "policy": Argument("Folder with policy.onnx and card.json, as 'lunar export' writes it."),
    "robot": Argument(
        "A driver of the lab's own, a Unitree Go2, a simulated robot, or one that speaks the Go2's messages.",
        "generic",
        ("generic", "go2", "sim", "sim_go2"),
    ),
    "rig": Argument("The emulated rig, or the ports that the configuration names.", "virtual", ("virtual", "serial")),
    "drivers": Argument("Drivers inside the sync node, or a node per machine.", "inline", ("inline", "nodes")),
    "config": Argument("YAML file of the rig, as for 'lunar hil --config'.", str(CONFIGS / "hil/virtual.yaml")),
    "log": Argument("Folder for the log; below runs/hil, named after date and time, when empty.", ""),
    SECURE: Argument(
        "Only what the shipped SROS 2 policy allows; the keys are in the folder ROS_SECURITY_KEYSTORE.",
        "false",
        ("true", "false"),
    ),
    "bag": Argument("Log folder that 'lunar hil' or the recorder wrote, or an .mcap file."),
    "rate": Argument("Seconds of the log per second.", "1.0"),
    "loop": Argument("Start again at the end.", "false", ("true", "false")),
    "start": Argument("s after the log's first message to begin at.", "0.0"),
    "end": Argument("s after the log's first message to end at; 0 is the log's end.", "0.0"),
    "map": Argument("Names by which topics are published: FROM:=TO,… such as /rig2:=/ or /imu:=/robot/imu.", ""),
}


def arguments_of(table: str) -> list[str]:
    """Names of the launch arguments of a table, sorted."""
    chosen = {p.only[0] for p in TABLES[table] if p.only}
    secure = {SECURE} if any(p.enclave for p in TABLES[table]) else set()
    return sorted(chosen | secure | {name for p in TABLES[table] for name in p.arguments})
