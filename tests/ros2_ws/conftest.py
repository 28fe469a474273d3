"""A small policy to deploy, the built workspace, and a policy node in a process of its own."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from matrix_hil.bringup.runner import command_line, ros_environment
from matrix_hil.bringup.tables import TABLES
from policy.runtime.card import Card
from policy.runtime.weights import KEY
from sim.config import ROOT
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION, ObservationSpec

ABSENT = 3  # build.py's status when ROS 2, cmake or a compiler is absent
WEIGHTS = "0" * 64  # the digest of a network that was never in torch
DOMAINS = range(1, 102)  # those that Linux has ports for


def write_policy(folder: Path, seed: int = 0, spec: ObservationSpec = PRONK_OBSERVATION, gain: float = 1.0) -> Path:
    """A policy of one linear layer and tanh with random weights times ``gain``. It does not look at its last action, so
    that constant sensors and a constant command give constant targets."""
    weight = np.random.default_rng(seed).normal(scale=gain, size=(PRONK_OBSERVATION.size, 12)).astype(np.float32)
    frame = np.cumsum([0, *(c.size for c in PRONK_OBSERVATION.frame)])
    for k in range(len(PRONK_OBSERVATION.ages)):
        start = k * PRONK_OBSERVATION.frame_size
        weight[start + frame[-2] : start + frame[-1]] = 0.0
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["observation", "weight"], ["sum"]), helper.make_node("Tanh", ["sum"], ["action"])],
        "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", PRONK_OBSERVATION.size])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 12])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    folder.mkdir(parents=True, exist_ok=True)
    helper.set_model_props(model, {KEY: WEIGHTS})
    onnx.save(model, folder / "policy.onnx")
    Card(
        weights=WEIGHTS,
        observation=spec,
        robot="go2",
        action_scale=0.35,
        default_pose=NOMINAL_POSE.tolist(),
        kp=30.0,
        kd=0.75,
        gravity=1.62,
        command_low=[-0.5, -0.3, -0.5, 0.1, 0.0],
        command_high=[0.8, 0.3, 0.5, 0.4, 1.0],
        default_command=[0.3, 0.0, 0.0, 0.3, 0.2],
    ).save(folder / "card.json")
    return folder


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="session")
def standing_policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that always asks for its default pose."""
    return write_policy(tmp_path_factory.mktemp("stand"), gain=0.0)


@pytest.fixture(scope="session")
def wrong_policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy whose card was made for another rate."""
    return write_policy(tmp_path_factory.mktemp("wrong"), spec=replace(PRONK_OBSERVATION, rate=100.0))


@pytest.fixture(scope="session")
def ros_env() -> dict[str, str]:
    """Environment of the built workspace, cut off from other machines; skips where ROS 2 or a compiler is absent."""
    if importlib.util.find_spec("rclpy") is None:
        pytest.skip("rclpy cannot be imported: install the wheels with pip install -e '.[ros]' or source ROS 2")
    build = subprocess.run([sys.executable, str(ROOT / "ros2_ws/build.py")], capture_output=True, text=True)
    if build.returncode == ABSENT:
        pytest.skip(build.stderr.strip())
    assert build.returncode == 0, build.stdout + build.stderr
    return ros_environment() | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_LOCALHOST_ONLY": "1"}


@pytest.fixture
def ros(ros_env: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """``ros_env`` with a log folder and a domain of this test's own, also among other runs of the tests."""
    with ExitStack() as stack:
        for domain in random.sample(DOMAINS, len(DOMAINS)):
            lock = stack.enter_context(open(Path(tempfile.gettempdir(), f"lunar-test-domain-{domain}"), "w"))
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
        yield ros_env | {"ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(tmp_path / "ros_log")}


@pytest.fixture
def start_node(ros: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start the policy node as the table does, with further ROS arguments; its output goes to tmp_path/node.log."""
    started: list[subprocess.Popen] = []

    def start(policy: Path, *more: str) -> subprocess.Popen:
        line = [*command_line(TABLES["deploy"][0], {"policy": str(policy)}), *more]
        with open(tmp_path / "node.log", "w") as log:
            started.append(subprocess.Popen(line, env=ros, stdout=log, stderr=subprocess.STDOUT))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture
def probe(ros: dict[str, str], tmp_path: Path) -> Callable[[list[dict]], dict]:
    """Play phases of robot state to the node from another process and return what the node published, see probe.py."""

    def play(phases: list[dict]) -> dict:
        result = tmp_path / "probe.json"
        script = Path(__file__).with_name("probe.py")
        subprocess.run([sys.executable, str(script), json.dumps(phases), str(result)], env=ros, check=True, timeout=540)
        return json.loads(result.read_text())

    return play
