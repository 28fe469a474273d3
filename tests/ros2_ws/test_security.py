"""With security on, only ``sync`` may command a machine: the middleware itself refuses anybody else."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from matrix_hil.bringup.tables import SECURITY
from sim.config import ROOT

POLICY = ROOT / "ros2_ws/src/lunar_bringup/config/sros2/policy.xml"
PUBLISH = """
import sys
import rclpy
from matrix_msgs.msg import PlatformCommand
from std_msgs.msg import Bool
name, topic = sys.argv[1:3]
rclpy.init(args=["--ros-args", "--enclave", f"/matrix/{name}"])
node = rclpy.create_node(name, namespace="/matrix", start_parameter_services=False)
node.create_publisher(Bool if topic == "estop" else PlatformCommand, topic, 1)
"""


@pytest.fixture(scope="session")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys for the shipped policy; skips where ROS 2's security tools are absent."""
    if importlib.util.find_spec("sros2") is None or shutil.which("ros2") is None:
        pytest.skip("sros2 and the ros2 command line are absent; they come with a ROS 2 installation only")
    folder = tmp_path_factory.mktemp("keys")
    subprocess.run(["ros2", "security", "create_keystore", str(folder)], check=True)
    subprocess.run(["ros2", "security", "generate_artifacts", "-k", str(folder), "-p", str(POLICY)], check=True)
    return folder


@pytest.mark.parametrize(
    ("node", "topic", "allowed"),
    [
        ("sync", "platform/command", True),
        ("operator", "estop", True),
        ("operator", "platform/command", False),
        ("twin", "platform/command", False),
        ("nobody", "platform/command", False),
    ],
)
def test_who_may_publish(ros: dict[str, str], keystore: Path, node: str, topic: str, allowed: bool) -> None:
    env = ros | SECURITY | {"ROS_SECURITY_KEYSTORE": str(keystore)}
    done = subprocess.run([sys.executable, "-c", PUBLISH, node, topic], env=env, capture_output=True, text=True)
    assert (done.returncode == 0) == allowed, done.stderr
