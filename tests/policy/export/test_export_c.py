"""The C header is the policy: compiled with all warnings as errors, fed the same sensors, it gives the same targets."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from matrix_hil.cli import main as lunar
from policy.export.c import FLAGS, TOLERANCE, compiled, infer, write_header
from policy.export.c_code import quantise, translate
from policy.export.cli import ExportConfig, export
from policy.networks.actor import Actor
from policy.networks.config import EncoderConfig, ModelConfig
from policy.networks.policy_file import ZOO, load_actor, save_policy
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy, Proprioception
from sim.errors import LunarError
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION, ScanGrid
from tests.policy.unchecked import write_unchecked

AGES = (0, 1, 2, 3, 5, 10)
INT8_TOLERANCE = 0.05
"""Of an action of the zoo's policy, whose actions reach ±5; times the action scale, 0.0175 rad."""
ENCODERS = {
    "long": EncoderConfig(ages=(0, 5, 10), estimates=("vx", "vy", "height"), latent=8, frame=(16,), hidden=(24,)),
    "short": EncoderConfig(ages=(0, 1, 2, 3), estimates=("vz",), latent=4, given="long", frame=(), hidden=(24,)),
}


def make(folder: Path, model: ModelConfig, ages=AGES) -> Path:
    """A policy with random weights, and its ONNX file."""
    torch.manual_seed(3)
    card = replace(Card.load(ZOO / "pronk" / "card.json"), observation=replace(PRONK_OBSERVATION, ages=ages))
    card = replace(card, model=asdict(model))
    actor = Actor(model, card.observation)
    nn.init.normal_(actor.head[-1].weight, std=0.3)
    save_policy(folder, actor, card)
    export(ExportConfig(policy=str(folder)))
    return folder


@dataclass
class Exported:
    """A policy's folder, its float header compiled, and what writing that and the int8 header reported."""

    folder: Path
    header: Path
    library: ctypes.CDLL
    result: dict
    int8: dict

    def onnx(self) -> OnnxPolicy:
        return OnnxPolicy(self.folder, Card.load(self.folder / "card.json").observation)


@pytest.fixture(scope="module")
def policies(tmp_path_factory) -> dict[str, Exported]:
    """A plain policy, a small one of another history, and one with two horizons."""
    root = tmp_path_factory.mktemp("policies")
    folders = {
        "pronk": ZOO / "pronk",
        "small": make(root / "small", ModelConfig(hidden=(64, 32)), (0, 1, 4)),
        "two_horizons": make(root / "two horizons", ModelConfig(hidden=(32, 16), encoders=ENCODERS)),
    }
    exported = {}
    for name, folder in folders.items():
        out = root / f"c_{name}"
        out.mkdir()
        result = write_header(folder, out / "policy.h")
        int8 = write_header(folder, out / "policy_int8.h", int8=True)
        exported[name] = Exported(folder, out / "policy.h", compiled(out / "policy.h", name, out), result, int8)
    return exported


WHICH = ["pronk", "small", "two_horizons"]


def sensors(rng: np.random.Generator) -> Proprioception:
    gravity = rng.normal([0, 0, -3], 1.0)
    return Proprioception(
        rng.normal(0, 2, 3), gravity / np.linalg.norm(gravity), NOMINAL_POSE + rng.normal(0, 0.4, 12),
        rng.normal(0, 5, 12),
    )  # fmt: skip


def pointer(values) -> ctypes.c_void_p:
    return values.ctypes.data_as(ctypes.c_void_p)


class OnChip:
    """A compiled header with one robot's state."""

    def __init__(self, library: ctypes.CDLL, estimates: int) -> None:
        self.library = library
        self.state = np.full(self.library.state_bytes(), 0xA5, np.uint8)
        self.targets, self.estimate = np.full(12, 9.0, np.float32), np.full(max(1, estimates), 9.0, np.float32)
        self.reset()

    def reset(self) -> None:
        self.library.reset(pointer(self.state))

    def act(self, s: Proprioception, command: np.ndarray) -> int:
        given = [s.angular_velocity, s.projected_gravity, s.joint_position, s.joint_velocity, command]
        given = [np.ascontiguousarray(v, np.float32) for v in given]
        return self.library.act(*map(pointer, (self.state, *given, self.targets, self.estimate)))


@pytest.mark.parametrize("which", WHICH)
def test_the_header_maps_observations_as_onnx_does(policies, which):
    policy = policies[which].onnx()
    x = np.random.default_rng(1).standard_normal((50, policy.card.observation.size)).astype(np.float32)
    action, estimate = infer(policies[which].library, x, 12, len(policy.card.estimates))
    expected = policy.infer(x)
    np.testing.assert_allclose(action, expected.action, atol=TOLERANCE)
    np.testing.assert_allclose(estimate, expected.estimate, atol=TOLERANCE)
    assert policies[which].result["difference"] <= TOLERANCE and np.abs(action).max() > 0.5
    assert estimate.shape[1] == (4 if which == "two_horizons" else 0)


@pytest.mark.parametrize("which", WHICH)
def test_a_robot_with_the_header_moves_as_one_with_onnx(policies, which):
    """Its history, its command's range and its last action are the same over a trial, and over a second one."""
    policy = policies[which].onnx()
    chip = OnChip(policies[which].library, len(policy.card.estimates))
    rng = np.random.default_rng(2)
    for trial in range(2):
        chip.reset()
        policy.reset()
        for _ in range(30):
            s, command = sensors(rng), rng.normal(0, 1, 5)  # outside the range of training too
            expected = policy.act(s, command)
            assert chip.act(s, command) == 1
            np.testing.assert_allclose(chip.targets, expected, atol=TOLERANCE, err_msg=f"trial {trial}")
            if policy.card.estimates:
                np.testing.assert_allclose(chip.estimate, policy.output.estimate, atol=TOLERANCE)


@pytest.mark.parametrize(
    "sensor", ["angular_velocity", "projected_gravity", "joint_position", "joint_velocity", "command"]
)
def test_what_is_no_number_changes_nothing(policies, sensor):
    chip = OnChip(policies["small"].library, 0)
    rng = np.random.default_rng(3)
    assert chip.act(sensors(rng), np.zeros(5)) == 1
    before, targets = chip.state.copy(), chip.targets.copy()
    for bad in (np.nan, np.inf):
        s, command = sensors(rng), np.zeros(5)
        (command if sensor == "command" else getattr(s, sensor))[-1] = bad
        assert chip.act(s, command) == 0
    np.testing.assert_array_equal(chip.state, before)
    np.testing.assert_array_equal(chip.targets, targets)


def test_int8_is_near_and_a_quarter_of_the_size(policies):
    assert policies["pronk"].int8["flash_bytes"] < 0.27 * policies["pronk"].result["flash_bytes"]
    for exported in policies.values():
        assert 1e-4 < exported.int8["difference"] <= INT8_TOLERANCE


def test_a_small_student_fits_in_64_kb_as_compiled(policies, tmp_path):
    result = policies["small"].result
    source = tmp_path / "robot.c"
    source.write_text(
        f'#include "{policies["small"].header}"\n'
        "int step(small_state *s, const float *v, float *t);\n"
        "int step(small_state *s, const float *v, float *t) "
        "{ return small_act(s, v, v + 3, v + 6, v + 18, v + 30, t, 0); }\n"
    )
    subprocess.run(["cc", *FLAGS, "-c", str(source), "-o", str(tmp_path / "robot.o")], check=True)
    text, data, bss = map(int, subprocess.check_output(["size", str(tmp_path / "robot.o")], text=True).split()[6:9])
    assert data == bss == 0  # nothing but what can stay in flash
    assert result["flash_bytes"] <= text <= result["flash_bytes"] + 6000 <= 64 * 1024
    assert result["ram_bytes"] < 4096


def test_float_and_int8_headers_of_one_policy_live_in_one_program(policies, tmp_path):
    folder, both = policies["small"].header.parent, tmp_path / "both.c"
    both.write_text(
        '#include "policy.h"\n#include "policy_int8.h"\n#include "policy.h"\nint main(void) { return 0; }\n'
    )
    subprocess.run(["cc", *FLAGS, f"-I{folder}", str(both), "-o", str(tmp_path / "both"), "-lm"], check=True)
    fast = subprocess.run(
        ["cc", "-std=c99", "-ffast-math", f"-I{folder}", "-c", str(both), "-o", str(tmp_path / "fast.o")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert fast.returncode and "fast math" in fast.stderr


def test_no_number_goes_in_and_none_comes_out_of_whole_numbers_either(policies, tmp_path):
    """The largest input sets the steps of the others: one that is no number must not vanish there."""
    folder = policies["small"].folder
    write_header(folder, tmp_path / "policy_int8.h", int8=True)
    library = compiled(tmp_path / "policy_int8.h", "small_int8", tmp_path)
    x = np.random.default_rng(4).standard_normal((3, load_actor(folder)[0].size)).astype(np.float32)
    x[0, 5], x[1, 5] = np.nan, np.inf
    action, _ = infer(library, x, 12, 0)
    assert not np.isfinite(action[:2]).any() and np.isfinite(action[2]).all()


def test_each_weight_is_rounded_by_at_most_half_a_step_of_its_row():
    w = np.random.default_rng(0).normal(0, 1, (9, 40)) * np.logspace(-3, 3, 9)[:, None]
    w[4] = 0
    q, scale = quantise(w)
    assert q.dtype == np.int8 and (np.abs(q).max(1)[[0, 8]] == 127).all()
    assert (np.abs(q * scale[:, None] - w) <= 0.501 * scale[:, None]).all()


def test_the_command_writes_both_headers(policies, tmp_path, capsys):
    lunar(["export", "--policy", str(policies["small"].folder), "--out", str(tmp_path), "--c"])
    assert (tmp_path / "policy.h").is_file() and (tmp_path / "policy_int8.h").is_file()
    assert "kB flash" in capsys.readouterr().out


def test_what_c_cannot_say_is_refused(policies, tmp_path):
    actor, card = load_actor(policies["small"].folder)
    actor.head[1] = nn.Tanh()
    with pytest.raises(LunarError, match=r"does not know 'Tanh\(\)'"):
        translate(actor)
    seeing = make_seeing(tmp_path / "seeing")
    with pytest.raises(LunarError, match="for which a robot needs a map"):
        write_header(seeing, tmp_path / "policy.h")
    actor, card = load_actor(policies["small"].folder)
    with torch.no_grad():
        actor.head[0].weight[0, 0] = torch.nan
    write_unchecked(tmp_path / "nan", actor, card)
    for int8 in (False, True):
        with pytest.raises(LunarError, match=r"'head.0.weight' holds what is no number"):
            write_header(tmp_path / "nan", tmp_path / "policy.h", int8)


def make_seeing(folder: Path) -> Path:
    card = Card.load(ZOO / "pronk" / "card.json")
    model, spec = ModelConfig(scan=ScanGrid(), hidden=(8,)), replace(card.observation, scan=ScanGrid())
    save_policy(folder, Actor(model, spec), replace(card, observation=spec, model=asdict(model)))
    return folder
