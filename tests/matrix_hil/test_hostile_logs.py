"""Logs from strangers are data only: reading one succeeds or raises LunarError; it runs nothing, allocates no more than
the file can hold, and writes only where it was told to."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from mcap.data_stream import RecordBuilder
from mcap.records import Attachment, Chunk
from mcap.writer import Writer

from matrix_hil.log import read_log
from matrix_hil.log.export import export, file_name
from matrix_hil.log.info import info
from matrix_hil.log.keep import choose, read_day, windows_of, write_excerpts
from matrix_hil.log.recover import recover
from matrix_hil.log.topics import TOPICS, Codec, definition
from sim.errors import LunarError
from tests.matrix_hil.hostile import mutations, reader, thrifty
from tests.matrix_hil.synthetic_log import MASS, write_log


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs") / "run", seconds=0.5)


def test_damaged_logs(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    read = refused = 0
    for k, data in enumerate(mutations((run / "run.mcap").read_bytes(), 1)):
        path.write_bytes(data)
        said = [reader(k)(lambda: read_log(path)), reader(k)(lambda: info(path))]
        if k % 10 == 0:
            said.append(reader(k)(lambda: recover(path, tmp_path / f"new{k}")))  # noqa: B023
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
    for k, damaged in enumerate(mutations(data, 2)):
        path.write_bytes(damaged)
        reader(k)(lambda: read_log(path))
        reader(k)(lambda: info(path))


def test_damage_inside_hops(tmp_path: Path) -> None:
    """What chooses hops reads numbers that may be anything, stamps among them."""
    data = unpacked((write_log(tmp_path / "run", seconds=4.0) / "run.mcap").read_bytes())
    path = tmp_path / "plain.mcap"

    def keep(out: Path) -> None:
        day = read_day(path, "", MASS)
        choice = choose(day.hops.values, 1) if len(day.hops) else None
        write_excerpts(day, {out: windows_of(day, [kept.row for kept in choice.kept])} if choice else {})

    found = []
    for k, damaged in enumerate(mutations(data, 3, count=30)):
        path.write_bytes(damaged)
        found.append(reader(k)(lambda: keep(tmp_path / f"kept{k}")))  # noqa: B023
    assert found.count("") > 5


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
        assert "not one whole chunk" in thrifty(lambda: read_log(path)), name  # noqa: B023
        thrifty(lambda: info(path))  # noqa: B023
    # the frame's own header claims it, whatever the chunk says
    frame = bytearray(zstandard.ZstdCompressor(write_content_size=True).compress(bytes(2**20)))
    assert frame[4] & 0xC0 == 0x80, "a four-byte content size"
    frame[5 + (not frame[4] & 0x20) : 9 + (not frame[4] & 0x20)] = struct.pack("<I", 2**32 - 1)
    path = record(tmp_path / "frame.mcap", Chunk("zstd", bytes(frame), 0, 0, 0, 2**20))
    thrifty(lambda: read_log(path))
    head = bytes((137, 77, 67, 65, 80, 48, 13, 10))
    for opcode in range(1, 16):
        (tmp_path / "long.mcap").write_bytes(head + struct.pack("<BQ", opcode, ten_gb) + bytes(40))
        thrifty(lambda: read_log(tmp_path / "long.mcap"))


def test_a_file_that_unpacks_to_an_absurd_size_is_refused(tmp_path: Path) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(16 * 2**20))
    assert len(bomb) < 2000
    path = record(tmp_path / "bomb.mcap", *[Chunk("zstd", bomb, 0, 0, 0, 16 * 2**20)] * 200)
    assert "unpack" in thrifty(lambda: read_log(path))


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

            thrifty(decode)


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
    assert len(written) == len(set(written)) == 4 + len({*names})
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
    assert "not one whole chunk" in thrifty(lambda: read_log(path))
