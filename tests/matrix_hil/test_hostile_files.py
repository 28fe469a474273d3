"""Files from strangers are data only: whatever is in a policy, config or elevation model, reading it succeeds or raises
LunarError; it runs nothing and allocates no more than the file can hold. Logs are in test_hostile_logs.py."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from policy.networks.actor import Actor
from policy.networks.policy_file import load_actor, model_config, save_policy
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy
from sim.config import parse
from sim.terrain.dem import DemConfig, dem_relief
from tests.matrix_hil.hostile import MUTATIONS, mutations, thrifty

# ---- policies -------------------------------------------------------------------------------------------------------


@pytest.fixture
def policy(standing_policy: Path) -> Path:
    """A folder with card, ONNX and weights that fit."""
    card = Card.load(standing_policy / "card.json")
    save_policy(standing_policy, Actor(model_config(card.model), card.observation), card)
    load_actor(standing_policy)
    return standing_policy


def test_damaged_policies(policy: Path) -> None:
    for name, seed in (("card.json", 4), ("policy.safetensors", 5), ("policy.onnx", 6)):
        path = policy / name
        good = path.read_bytes()
        said = set()
        for data in mutations(good, seed, 40 if name == "policy.onnx" else MUTATIONS):
            path.write_bytes(data)
            read = OnnxPolicy if name == "policy.onnx" else load_actor
            said.add(thrifty(lambda: read(policy)))  # noqa: B023
        assert len(said) > 1, name
        path.write_bytes(good)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"hidden": [10**9, 10**9]}},
        {"model": {"hidden": [4096] * 1000}},
        {"model": {"hidden": "512"}},
        {"model": {"encoders": {"long": {"estimates": "vx", "ages": [0]}}}},
        {"model": {"encoders": {"long": {"estimates": [], "latent": 10**9}}}},
        {"model": []},
        {"default_pose": [0.0] * 10**5},
        {"default_pose": ["a"] * 12},
        {"kp": "30"},
        {"kp": 10**400},
        {"kp": 1e4},
        {"kp": -30.0},
        {"kd": 500.0},
        {"action_scale": 50.0},
        {"action_scale": -0.35},
        {"default_pose": [0.0, 0.9, -2.7227] * 4},  # at a stop
        {"default_pose": [0.0, 0.9, 0.0] * 4},
        {"default_pose": [1.0472, 0.9, -1.8, *[0.0, 0.9, -1.8] * 3]},
        {"robot": "other", "default_pose": [0.0, 0.9, -4.0] * 4},
        {"gravity": float("nan")},
        {"command_low": [0.0]},
        {"command_high": {"a": 1}},
        {"command_low": [0.6, 0.0, 0.0, 0.0, 0.0], "command_high": [0.0, 1.0, 1.0, 1.0, 1.0]},
        {"default_command": [99.0] * 5},
        {"format": [1]},
        {"surprise": 1},
        {"observation": []},
        {"observation": {"frame": [], "ages": [0, 10**12], "command": [], "rate": 50.0, "joints": []}},
    ],
)
def test_cards_that_no_policy_can_have(policy: Path, changes: dict) -> None:
    card = json.loads((policy / "card.json").read_text()) | changes
    (policy / "card.json").write_text(json.dumps(card))
    assert "card" in thrifty(lambda: load_actor(policy))
    assert "card" in thrifty(lambda: OnnxPolicy(policy))


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, '"', "null", '{"format": 1}', "\0", '{"a":' * 50_000])
def test_cards_that_are_no_cards(policy: Path, text: str) -> None:
    (policy / "card.json").write_text(text)
    assert "card" in thrifty(lambda: load_actor(policy))


def test_weights_that_claim_gigabytes(policy: Path) -> None:
    for shape, end in (([10**5, 10**5], 4 * 10**10), ([10**10], 10), ([2**62, 2**62], 8)):
        tensors = {"actor.0.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}
        header = json.dumps(tensors).encode()
        (policy / "policy.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
        assert "cannot be read" in thrifty(lambda: load_actor(policy))
    (policy / "policy.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    assert "cannot be read" in thrifty(lambda: load_actor(policy))


def test_a_pickle_is_never_opened(policy: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "pwned",)

    for name in ("policy.safetensors", "policy.onnx", "card.json"):
        torch.save({"actor.0.weight": Trap()}, policy / name)
        read = OnnxPolicy if name == "policy.onnx" else load_actor
        assert thrifty(lambda: read(policy))  # noqa: B023
    np.save(tmp_path / "dem.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    assert thrifty(lambda: relief(tmp_path / "dem.npy"))
    assert not (tmp_path / "pwned").exists()


# ---- configs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inner:
    """Part."""

    rate: float = 1.0
    """Hz."""


@dataclass(frozen=True)
class Config:
    """A config."""

    name: str = ""
    """Text."""
    inner: Inner = field(default_factory=Inner)
    """Part."""
    sizes: tuple[int, ...] = (1, 2)
    """Numbers."""


def test_damaged_configs(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    good = b"name: virtual  # a comment\ninner:\n  rate: 200.0\nsizes: [1, 2, 3]\n"
    for data in mutations(good, 7, 30):
        path.write_bytes(data)
        thrifty(lambda: parse(Config, ["--config", str(path)], "lunar"))


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a [x,x,x,x]\n" + "".join(f"a{k}: &a{k} [*a,*a,*a,*a]\n" for k in range(9)),
        "inner: &x {rate: *x}",
        "name: !!python/object/apply:os.system ['touch pwned']",
        "inner: {class_path: os.system, init_args: {command: touch pwned}}",
        "inner: {class_path: subprocess.Popen, init_args: {args: [touch, pwned]}}",
        "name: " + "[" * 50_000,
        "name: " + "x" * 2_000_000,
        "sizes: [" + "9" * 5000 + "]",
        "inner: 1.e400",
    ],
)
def test_configs_run_nothing_and_unfold_to_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    said = thrifty(lambda: parse(Config, ["--config", str(path)], "lunar"))
    assert said or text.startswith("sizes")
    assert not Path("pwned").exists()


def test_no_module_is_imported_because_a_config_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\nclass Inner: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for value in ("{class_path: trap.Inner}", "trap.Inner", "{class_path: trap.Inner, init_args: {rate: 1.0}}"):
        (tmp_path / "config.yaml").write_text(f"inner: {value}\n")
        assert thrifty(lambda: parse(Config, ["--config", str(tmp_path / "config.yaml")], "lunar"))
    assert not (tmp_path / "pwned").exists()


# ---- elevation models -----------------------------------------------------------------------------------------------


def write_tiff(path: Path, heights: np.ndarray, **packing: object) -> None:
    rows, cols = heights.shape
    shape = {"count": 1, "height": rows, "width": cols, "dtype": heights.dtype}
    with rasterio.open(
        path, "w", driver="GTiff", transform=rasterio.Affine.scale(1.0, -1.0), **shape, **packing
    ) as file:
        file.write(heights, 1)


def relief(path: Path) -> np.ndarray:
    return dem_relief(DemConfig(str(path), resolution=1.0), np.linspace(-4, 4, 17), np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["npy", "plain.tif", "packed.tif"])
def test_damaged_elevation_models(tmp_path: Path, kind: str) -> None:
    heights = np.random.default_rng(0).random((48, 48)).astype(np.float32)
    path = tmp_path / f"dem.{kind}"
    if kind == "npy":
        np.save(path, heights)
    else:
        write_tiff(path, heights, **({"compress": "DEFLATE"} if kind == "packed.tif" else {}))
    assert thrifty(lambda: relief(path)) == ""
    said = set()
    for data in mutations(path.read_bytes(), 8, 80):
        path.write_bytes(data)
        said.add(thrifty(lambda: relief(path)))
    assert len(said) > 2


def test_elevation_models_that_claim_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "dem.npy"
    for shape in ("(100000, 100000)", "(10**5, 10**5)", "(-1, 5)", "(4611686018427387904, 4)"):
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(100))
        assert "cannot read" in thrifty(lambda: relief(path))
    path = tmp_path / "dem.tif"
    packing = {"compress": "DEFLATE", "tiled": True, "blockxsize": 64, "blockysize": 64}
    write_tiff(path, np.zeros((64, 64), np.float32), **packing)
    data = bytearray(path.read_bytes())
    for tag in (256, 257):  # width and length become 9000: 81 million pixels in a file of some hundred bytes
        at = next(i for i in range(8, len(data) - 12) if data[i : i + 4] == struct.pack("<HH", tag, data[i + 2]))
        data[at + 8 : at + 12] = struct.pack("<HH", 9000, 0)
    path.write_bytes(data)
    assert "too many for its size" in thrifty(lambda: relief(path))
