"""A foreign policy does here what it does in its own loop, which is written out here step by step."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper

from policy.foreign.cli import SHELF, ImportConfig, find_layout, import_policy
from policy.networks.policy_file import load_network
from policy.runtime.onnx_policy import OnnxPolicy, Proprioception
from sim.errors import LunarError
from sim.spec.joints import JOINT_NAMES

LAYOUTS = sorted(file.stem for file in SHELF.glob("*.yaml"))


def network(path: Path, size: int, rows: int | str = 1, gain: float = 0.2, outputs: int = 12) -> Path:
    """Two layers with random weights, as exporters write them: for one row, named as they like."""
    rng = np.random.default_rng(size)
    first, second = rng.normal(0, gain, (size, 24)), rng.normal(0, gain, (24, outputs))
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["obs", "w1", "b1"], ["h"]),
            helper.make_node("Elu", ["h"], ["e"]),
            helper.make_node("Gemm", ["e", "w2"], ["actions"]),
        ],
        "main_graph",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [rows, size])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [rows, outputs])],
        [
            numpy_helper.from_array(v.astype(np.float32), n)
            for n, v in {"w1": first, "b1": rng.normal(0, gain, 24), "w2": second}.items()
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


class Own:
    """The foreign policy's own loop."""

    def __init__(self, path: Path, name: str | Path) -> None:
        self.layout, _ = find_layout(str(name))
        values = {t.name: numpy_helper.to_array(t).astype(float) for t in onnx.load(path).graph.initializer}
        self.w1, self.b1, self.w2 = values["w1"], values["b1"], values["w2"]
        self.frames: deque[list[np.ndarray]] = deque(maxlen=self.layout.frames)

    def act(self, sensors: Proprioception, command: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Its action, and joint targets in our order."""
        lay = self.layout
        order = [JOINT_NAMES.index(joint) for joint in lay.joints]
        read = {
            "angular_velocity": sensors.angular_velocity,
            "projected_gravity": sensors.projected_gravity,
            "command": command[:3],
            "joint_position": sensors.joint_position[order] - lay.default_pose,
            "joint_velocity": sensors.joint_velocity[order],
            "last_action": last,
        }
        frame = [read[term] * np.array(lay.scales.get(term, [1.0])) for term in lay.terms]
        while len(self.frames) < lay.frames:
            self.frames.append(frame)
        self.frames.append(frame)
        frames = list(self.frames)[:: -1 if lay.newest_first else 1]
        for past in frames:  # the command of now is told in every frame
            past[lay.terms.index("command")] = frame[lay.terms.index("command")]
        parts = zip(*frames, strict=True) if lay.by_term else frames
        seen = np.concatenate([part for row in parts for part in row])
        hidden = np.clip(seen, -lay.clip_observation, lay.clip_observation) @ self.w1 + self.b1
        hidden = np.where(hidden > 0.0, hidden, np.expm1(np.minimum(hidden, 0.0)))
        action = np.clip(hidden @ self.w2, -lay.clip_action, lay.clip_action)
        targets = np.zeros(12)
        targets[order] = np.array(lay.default_pose) + np.array(lay.action_scale) * action
        return action, targets


def sensors(rng: np.random.Generator) -> Proprioception:
    gravity = rng.normal(0, 0.2, 3) + [0.0, 0.0, -1.0]
    return Proprioception(
        rng.normal(0, 1, 3), gravity / np.linalg.norm(gravity), rng.normal(0, 0.5, 12), rng.normal(0, 3, 12)
    )


def compare(path: Path, layout: str | Path, out: Path) -> None:
    import_policy(ImportConfig(onnx=str(path), layout=str(layout), out=str(out)))
    ours, theirs = OnnxPolicy(out), Own(path, layout)
    rng = np.random.default_rng(1)
    pose, spread = np.array(ours.card.default_pose), np.array(theirs.layout.action_scale)
    order = [JOINT_NAMES.index(joint) for joint in theirs.layout.joints]
    last = (pose[order] - theirs.layout.default_pose) / spread  # of a robot that was told to stand as ours do
    command = np.array([0.4, -0.2, 0.3, 0.3, 0.0])
    for _ in range(12):
        now = sensors(rng)
        last, targets = theirs.act(now, command, last)
        np.testing.assert_allclose(ours.act(now, command), targets, atol=2e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_targets_as_in_its_own_loop(layout: str, tmp_path: Path) -> None:
    size = find_layout(layout)[0].size
    compare(network(tmp_path / "theirs.onnx", size), layout, tmp_path / "ours")


@pytest.mark.parametrize("change", [{"by_term": True, "newest_first": False, "frames": 5}, {"clip_action": 0.05},
                                    {"clip_observation": 0.1}])  # fmt: skip
def test_a_layout_of_ones_own(change: dict, tmp_path: Path) -> None:
    content = yaml.safe_load((SHELF / "himloco.yaml").read_text()) | change
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    compare(network(tmp_path / "theirs.onnx", find_layout(str(file))[0].size), file, tmp_path / "ours")


def test_simulations_run_it_in_batches(tmp_path: Path) -> None:
    path = network(tmp_path / "theirs.onnx", find_layout("rl_sar")[0].size)
    import_policy(ImportConfig(onnx=str(path), layout="rl_sar", out=str(tmp_path / "ours")))
    actor, card = load_network(tmp_path / "ours")
    rows = torch.randn(7, card.observation.size)
    single = OnnxPolicy(tmp_path / "ours").infer(rows[3:4].numpy()).action
    np.testing.assert_allclose(actor(rows).action[3], single[0], atol=1e-5)
    assert card.gravity == 9.81 and card.kp == 20.0


@pytest.mark.parametrize(
    ("size", "outputs", "rows", "said"),
    [
        (48, 12, 1, r"inputs 'obs' \(1, 48\) and outputs 'actions' \(1, 12\); the layout asks for one input \(1, 45\)"),
        (45, 10, "batch", r"outputs 'actions' \(batch, 10\)"),
    ],
)
def test_another_network_is_refused_with_its_shapes(
    size: int, outputs: int, rows: int | str, said: str, tmp_path: Path
) -> None:
    path = network(tmp_path / "theirs.onnx", size, rows, outputs=outputs)
    with pytest.raises(LunarError, match=said):
        import_policy(ImportConfig(onnx=str(path), layout="rl_sar", out=str(tmp_path / "ours")))
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"terms": ["base_lin_vel", "command"]}, "'base_lin_vel' is nothing that a legged robot senses"),
        ({"joints": ["FL_hip_joint"] * 12}, "joints must hold each of"),
        ({"default_pose": [0.0, 0.8]}, "default_pose must hold 12 angles"),
        ({"scales": {"command": [0.0]}}, "scales.command"),
        ({"kp": 1e4}, "kp is 10000"),
        ({"rate": 100.0}, "rate is 100 Hz"),
        ({"frames": 0}, "frames is 0"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(change: dict, said: str, tmp_path: Path) -> None:
    content = yaml.safe_load((SHELF / "rl_sar.yaml").read_text()) | change
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    path = network(tmp_path / "theirs.onnx", 45)
    with pytest.raises(LunarError, match=said):
        import_policy(ImportConfig(onnx=str(path), layout=str(tmp_path / "mine.yaml"), out=str(tmp_path / "ours")))


def test_a_folder_with_another_policy_is_kept(tmp_path: Path) -> None:
    first = ImportConfig(onnx=str(network(tmp_path / "a.onnx", 45)), layout="rl_sar", out=str(tmp_path / "ours"))
    import_policy(first)
    import_policy(first)  # the same again is no other
    with pytest.raises(LunarError, match="holds another policy"):
        import_policy(replace(first, onnx=str(network(tmp_path / "b.onnx", 45, gain=0.3))))
