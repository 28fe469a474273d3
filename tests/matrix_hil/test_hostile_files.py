"""Files from strangers are data only: whatever is in a log, policy, config or elevation model, reading it succeeds or
raises LunarError; it runs nothing, allocates no more than the file can hold, and writes only where it was told to."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from mcap.data_stream import RecordBuilder
from mcap.records import Attachment, Chunk
from mcap.writer import Writer

from matrix_hil.log import read_log
from matrix_hil.log.export import export
from matrix_hil.log.info import info
from matrix_hil.log.names import file_name
from matrix_hil.log.recover import recover
from matrix_hil.log.topics import TOPICS, Codec, definition
from policy.internal_model.actor import Actor
from policy.policy_file import load_actor, model_config, save_policy
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy
from sim.config import parse
from sim.errors import LunarError
from sim.terrain.dem import DemConfig, dem_relief
from tests.matrix_hil.synthetic_log import write_log

MUTATIONS = 70
MEMORY = 150e6  # bytes that reading a small file may take for a moment


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs") / "run", seconds=0.5)


def mutations(data: bytes, seed: int, count: int = MUTATIONS) -> Iterator[bytes]:
    """Copies with bytes changed, cut, doubled, or with a number replaced by a huge one."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        out = bytearray(data)
        for at in rng.integers(0, len(out), rng.integers(1, 12)):
            out[at] = rng.integers(0, 256)
        at = int(rng.integers(0, len(out)))
        if k % 5 == 1:
            del out[at:]
        elif k % 5 == 2:
            out[at : at + 8] = struct.pack("<Q", int(rng.choice([2**31, 2**32 - 1, 2**40, 2**63, 10**10])))
        elif k % 5 == 3:
            out[at:at] = out[at // 2 : at]
        elif k % 5 == 4:
            out = bytearray(data)
            out[at % 64] ^= 1 << int(rng.integers(8))  # headers deserve most of the damage
        yield bytes(out)


def harmless(read: Callable[[], object]) -> str:
    """What LunarError said; empty on success. Anything else fails the test, as does much memory."""
    tracemalloc.start()
    try:
        read()
        said = ""
    except LunarError as error:
        said = str(error)
        assert "\n" not in said.strip() and said
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY, f"{peak / 1e6:.0f} MB"
    return said


# ---- logs -----------------------------------------------------------------------------------------------------------


def test_damaged_logs(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    read = refused = 0
    for k, data in enumerate(mutations((run / "run.mcap").read_bytes(), 1)):
        path.write_bytes(data)
        said = [harmless(lambda: read_log(path)), harmless(lambda: info(path))]
        if k % 10 == 0:
            said.append(harmless(lambda: recover(path, tmp_path / f"new{k}")))  # noqa: B023
        read += not said[0]
        refused += bool(said[0])
    assert read > 10 and refused > 2


def unpacked(data: bytes) -> bytes:
    """The log without compression and checksums, so that damage reaches the messages."""
    import io

    from mcap.reader import make_reader

    out = io.BytesIO()
    writer = Writer(out, compression=0, enable_crcs=False)  # type: ignore[arg-type]
    writer.start("ros2")
    channels: dict[int, int] = {}
    for schema, channel, message in make_reader(io.BytesIO(data)).iter_messages():
        if channel.id not in channels:
            assert schema is not None
            number = writer.register_schema(schema.name, schema.encoding, schema.data)
            channels[channel.id] = writer.register_channel(channel.topic, "cdr", number, channel.metadata)
        writer.add_message(channels[channel.id], message.log_time, message.data, message.publish_time)
    writer.finish()
    return out.getvalue()


def test_damage_inside_messages(run: Path, tmp_path: Path) -> None:
    data = unpacked((run / "run.mcap").read_bytes())
    path = tmp_path / "plain.mcap"
    path.write_bytes(data)
    assert read_log(path).messages == read_log(run).messages
    for damaged in mutations(data, 2):
        path.write_bytes(damaged)
        harmless(lambda: read_log(path))
        harmless(lambda: info(path))


@given(topic=st.sampled_from(sorted(TOPICS)), data=st.binary(max_size=300))
def test_any_bytes_as_a_message(topic: str, data: bytes) -> None:
    for body in (data, b"\x00\x01\x00\x00" + data):
        try:
            Codec(topic, 0).decode(body)
        except ValueError:
            pass


def record(stream: Path, *records: object) -> Path:
    """An MCAP file of the records given."""
    builder = RecordBuilder()
    for item in records:
        item.write(builder)  # type: ignore[attr-defined]
    stream.write_bytes(bytes((137, 77, 67, 65, 80, 48, 13, 10)) + builder.end())
    return stream


def test_claims_of_gigabytes_allocate_nothing(tmp_path: Path) -> None:
    ten_gb = 10 * 10**9
    small = zstandard.ZstdCompressor().compress(b"x" * 1000)
    chunks = {
        "honest frame": Chunk("zstd", small, 0, 0, 0, ten_gb),
        "empty frame": Chunk("zstd", b"", 0, 0, 0, ten_gb),
        "no compression": Chunk("", b"x", 0, 0, 0, ten_gb),
        "just under the limit": Chunk("zstd", small, 0, 0, 0, 255 * 2**20),
    }
    for name, chunk in chunks.items():
        path = record(tmp_path / "claim.mcap", chunk)
        assert "not one whole chunk" in harmless(lambda: read_log(path)), name  # noqa: B023
        harmless(lambda: info(path))  # noqa: B023
    # the frame's own header claims it, whatever the chunk says
    frame = bytearray(zstandard.ZstdCompressor(write_content_size=True).compress(bytes(2**20)))
    assert frame[4] & 0xC0 == 0x80, "a four-byte content size"
    frame[5 + (not frame[4] & 0x20) : 9 + (not frame[4] & 0x20)] = struct.pack("<I", 2**32 - 1)
    path = record(tmp_path / "frame.mcap", Chunk("zstd", bytes(frame), 0, 0, 0, 2**20))
    harmless(lambda: read_log(path))
    head = bytes((137, 77, 67, 65, 80, 48, 13, 10))
    for opcode in range(1, 16):
        (tmp_path / "long.mcap").write_bytes(head + struct.pack("<BQ", opcode, ten_gb) + bytes(40))
        harmless(lambda: read_log(tmp_path / "long.mcap"))


def test_a_file_that_unpacks_to_an_absurd_size_is_refused(tmp_path: Path) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(16 * 2**20))
    assert len(bomb) < 2000
    path = record(tmp_path / "bomb.mcap", *[Chunk("zstd", bomb, 0, 0, 0, 16 * 2**20)] * 200)
    assert "unpack" in harmless(lambda: read_log(path))


def test_lengths_inside_a_message_are_not_believed() -> None:
    for topic in ("/twin/patch", "/wire/robot/rx", "/robot/joint_states", "/supervisor/state"):
        for at in range(4, 120, 4):
            body = bytearray(200)
            body[:4] = b"\x00\x01\x00\x00"
            body[at : at + 4] = struct.pack("<I", 2**32 - 1)

            def decode(body: bytes = bytes(body), topic: str = topic) -> None:
                try:
                    Codec(topic, 0).decode(body)
                except ValueError as error:
                    raise LunarError(str(error)) from None

            harmless(decode)


def test_names_in_a_log_stay_in_the_folder(tmp_path: Path) -> None:
    """Topics, attachments and metadata.yaml that point elsewhere."""
    outside = tmp_path / "x"
    folder = tmp_path / "a/b/log"
    folder.mkdir(parents=True)
    names = ["../../../x", str(outside), "..", "", "a\0b", "C:\\x", "~/x", "config.json", "CONFIG.json", "x" * 500]
    with open(folder / "log.mcap", "wb") as stream:
        writer = Writer(stream)
        writer.start("ros2")
        for name in names:
            writer.add_attachment(0, 0, name, "", b"hostile")
        pose = "geometry_msgs/msg/PoseStamped"
        schema = writer.register_schema(pose, "ros2msg", definition(pose))
        for topic in ("/tracker/pose", "/../../x", "/tracker/../pose", str(outside)):
            channel = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channel, 1, bytes([0, 1, 0, 0]) + bytes(8) + b"\1" + bytes(63), 1)
        writer.finish()
    (folder / "metadata.yaml").write_text(
        "rosbag2_bagfile_information: {relative_file_paths: [../../../x.mcap, /etc/passwd, log.mcap]}"
    )
    before = sorted(p for p in tmp_path.rglob("*"))
    assert read_log(folder).path == folder / "log.mcap"
    written = export(folder, folder / "out", "csv")
    assert len(written) == len(set(written)) == 1 + len({*names})
    assert all(file.parent == folder / "out" and file.is_file() for file in written)
    new = recover(folder, folder / "new")
    assert set(tmp_path.rglob("*")) - {*before, folder / "out", folder / "new", *written} == {
        folder / "new/new.mcap", folder / "new/metadata.yaml"
    }  # fmt: skip
    assert new["messages"] == 4


@given(texts=st.lists(st.text(max_size=40) | st.sampled_from(["..", "/", "a/b", "a b", "A_B", ".hidden"]), max_size=8))
def test_a_file_name_is_plain_and_its_own(texts: list[str]) -> None:
    taken: set[str] = set()
    names = [file_name(text, taken) for text in texts]
    assert len({n.lower() for n in names}) == len(texts)
    for name in names:
        assert Path(name).name == name and not name.startswith(".") and name.isascii() and len(name) < 120


def test_an_attachment_larger_than_its_record(tmp_path: Path) -> None:
    builder = RecordBuilder()
    Attachment(create_time=0, log_time=0, name="a", media_type="text/plain", data=b"data").write(builder)
    data = bytearray(builder.end())
    at = data.index(struct.pack("<Q", 4) + b"data")
    data[at : at + 8] = struct.pack("<Q", 10**10)
    path = tmp_path / "a.mcap"
    path.write_bytes(bytes((137, 77, 67, 65, 80, 48, 13, 10)) + data)
    assert "not one whole chunk" in harmless(lambda: read_log(path))


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
            said.add(harmless(lambda: read(policy)))  # noqa: B023
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
        {"gravity": float("nan")},
        {"command_low": [0.0]},
        {"command_high": {"a": 1}},
        {"format": [1]},
        {"surprise": 1},
        {"observation": []},
        {"observation": {"frame": [], "ages": [0, 10**12], "command": [], "rate": 50.0, "joints": []}},
    ],
)
def test_cards_that_no_policy_can_have(policy: Path, changes: dict) -> None:
    card = json.loads((policy / "card.json").read_text()) | changes
    (policy / "card.json").write_text(json.dumps(card))
    assert "card" in harmless(lambda: load_actor(policy))
    assert "card" in harmless(lambda: OnnxPolicy(policy))


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, '"', "null", '{"format": 1}', "\0", '{"a":' * 50_000])
def test_cards_that_are_no_cards(policy: Path, text: str) -> None:
    (policy / "card.json").write_text(text)
    assert "card" in harmless(lambda: load_actor(policy))


def test_weights_that_claim_gigabytes(policy: Path) -> None:
    for shape, end in (([10**5, 10**5], 4 * 10**10), ([10**10], 10), ([2**62, 2**62], 8)):
        tensors = {"actor.0.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}
        header = json.dumps(tensors).encode()
        (policy / "policy.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
        assert "cannot be read" in harmless(lambda: load_actor(policy))
    (policy / "policy.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    assert "cannot be read" in harmless(lambda: load_actor(policy))


def test_a_pickle_is_never_opened(policy: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "pwned",)

    for name in ("policy.safetensors", "policy.onnx", "card.json"):
        torch.save({"actor.0.weight": Trap()}, policy / name)
        read = OnnxPolicy if name == "policy.onnx" else load_actor
        assert harmless(lambda: read(policy))  # noqa: B023
    np.save(tmp_path / "dem.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    assert harmless(lambda: relief(tmp_path / "dem.npy"))
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
        harmless(lambda: parse(Config, ["--config", str(path)], "lunar"))


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
    said = harmless(lambda: parse(Config, ["--config", str(path)], "lunar"))
    assert said or text.startswith("sizes")
    assert not Path("pwned").exists()


def test_no_module_is_imported_because_a_config_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\nclass Inner: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for value in ("{class_path: trap.Inner}", "trap.Inner", "{class_path: trap.Inner, init_args: {rate: 1.0}}"):
        (tmp_path / "config.yaml").write_text(f"inner: {value}\n")
        assert harmless(lambda: parse(Config, ["--config", str(tmp_path / "config.yaml")], "lunar"))
    assert not (tmp_path / "pwned").exists()


# ---- elevation models -----------------------------------------------------------------------------------------------


def relief(path: Path) -> np.ndarray:
    return dem_relief(DemConfig(str(path), resolution=1.0), np.linspace(-4, 4, 17), np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["npy", "plain.tif", "packed.tif"])
def test_damaged_elevation_models(tmp_path: Path, kind: str) -> None:
    heights = np.random.default_rng(0).random((48, 48)).astype(np.float32)
    path = tmp_path / f"dem.{kind}"
    if kind == "npy":
        np.save(path, heights)
    else:
        tifffile.imwrite(path, heights, compression="zlib" if kind == "packed.tif" else None)
    assert harmless(lambda: relief(path)) == ""
    said = set()
    for data in mutations(path.read_bytes(), 8, 80):
        path.write_bytes(data)
        said.add(harmless(lambda: relief(path)))
    assert len(said) > 2


def test_elevation_models_that_claim_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "dem.npy"
    for shape in ("(100000, 100000)", "(10**5, 10**5)", "(-1, 5)", "(4611686018427387904, 4)"):
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(100))
        assert "cannot read" in harmless(lambda: relief(path))
    path = tmp_path / "dem.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.float32), compression="zlib", tile=(64, 64), metadata=None)
    data = bytearray(path.read_bytes())
    for tag in (256, 257):  # width and length become 9000: 81 million pixels in a file of some hundred bytes
        at = next(i for i in range(8, len(data) - 12) if data[i : i + 4] == struct.pack("<HH", tag, data[i + 2]))
        data[at + 8 : at + 12] = struct.pack("<HH", 9000, 0)
    path.write_bytes(data)
    assert "too many for its size" in harmless(lambda: relief(path))
