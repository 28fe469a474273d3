"""What a robot's computer runs needs no more than ``lunar[deploy]``: it works where nothing else can be imported."""

from __future__ import annotations

import subprocess
import sys

from sim.config import ROOT

# What the other extras install; numpy, onnxruntime and the base dependencies stay.
ABSENT = (
    "torch", "mujoco", "mujoco_warp", "warp", "gymnasium", "stable_baselines3", "tensorboard", "safetensors", "onnx",
    "onnxscript", "serial", "cobs", "unrealcv", "scipy", "PIL", "mcap", "rosbags", "viser", "plotly", "matplotlib",
    "imageio", "rasterio", "rclpy",
)  # fmt: skip
SCRIPT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError("not on a robot: " + name)

sys.meta_path.insert(0, Absent())

import numpy as np
from policy.runtime.controller import ControllerConfig, PolicyController
from policy.runtime.go2_guard import Go2Guard
from policy.runtime.notify import notify
from policy.runtime.onnx_policy import OnnxPolicy
from policy.runtime.unitree import low_cmd, why_refused
from sim.spec.joints import JOINT_NAMES, NOMINAL_POSE

controller = PolicyController(OnnxPolicy("policy/zoo/pronk"), ControllerConfig(ramp_time=0.1))
guard, modes = Go2Guard(), []
for step in range(20):
    now = 0.02 * step
    controller.on_joint_state(JOINT_NAMES, NOMINAL_POSE, np.zeros(12), now, now)
    controller.on_imu((0.0, 0.0, 0.0, 1.0), 0.0, np.zeros(3), now, now)
    guard.on_state(NOMINAL_POSE, step + 1, now)
    guard.on_command(controller.step(now), now)
    order = guard.motors(now)
    assert why_refused(low_cmd(order.targets, order.kp, order.kd)) == ""
    modes.append(order.mode)
notify("READY=1")
print(modes[0], modes[-1])
"""


def test_a_policy_drives_a_go2_without_simulator_or_training() -> None:
    result = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "stand run\n"
