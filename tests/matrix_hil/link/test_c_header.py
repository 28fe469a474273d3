"""Firmware that uses docs/matrix_link.h and the host understand each other, byte by byte."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from matrix_hil.link.c_header import _snake, golden, header
from matrix_hil.link.framing import MAX_PAYLOAD, FrameDecoder, encode
from matrix_hil.link.order import WINDOW, FrameOrder
from matrix_hil.link.protocol import LAYOUTS, pack
from sim.config import ROOT

HEADER = Path(ROOT) / "docs" / "matrix_link.h"
COMPILER = shutil.which("cc")

# Decodes standard input, takes every known message apart into its struct, puts it together again, and says what it
# would have sent; then, for every frame, whether it came in order.
ECHO = """
#define MATRIX_LINK_GOLDEN
#include "matrix_link.h"
#include <stdio.h>
int main(void) {
    ml_decoder decoder = {0};
    ml_order order = {0};
    ml_frame frame;
    uint8_t payload[ML_MAX_PAYLOAD], out[ML_MAX_PAYLOAD + ML_OVERHEAD];
    int byte;
    while ((byte = getchar()) != EOF) {
        if (!ml_feed(&decoder, (uint8_t)byte, &frame)) continue;
        memcpy(payload, frame.payload, frame.size);
        switch (frame.type) {
%(cases)s
        }
        size_t n = ml_encode(frame.type, frame.sequence, frame.micros, payload, frame.size, out);
        for (size_t i = 0; i < n; i++) printf("%%02x", out[i]);
        printf(" %%d\\n", ml_in_order(&order, &frame));
    }
    return decoder.crc_errors ? 3 : 0;
}
"""


def test_the_header_is_what_the_host_uses() -> None:
    assert HEADER.read_text() == header(), "run python -m matrix_hil.link.c_header docs/matrix_link.h"


@pytest.mark.parametrize("kind", LAYOUTS, ids=lambda kind: kind.__name__)
def test_header_and_page_show_the_same_golden_frame(kind: type) -> None:
    page = (Path(ROOT) / "docs" / "protocol.md").read_text()
    on_page = re.search(rf"^{kind.__name__}\s+((?:[0-9a-f]{{2,}}\s+)+)", page, re.MULTILINE)
    array = re.search(rf"ML_GOLDEN_{_snake(kind.__name__).upper()}\[\] = {{([^}}]*)}}", HEADER.read_text())
    assert on_page and array
    data = bytes(int(byte, 16) for byte in re.findall(r"0x(\w\w)", array[1]))
    assert data == bytes.fromhex(on_page[1]) == pack(golden(kind), 1)


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The echo program, compiled as strictly as firmware should be."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("firmware")
    names = [_snake(kind.__name__) for kind, layout in LAYOUTS.items() if layout.payload.names]
    cases = "\n".join(
        f"        case ML_{name.upper()}: if (frame.size == ML_{name.upper()}_SIZE) {{ ml_{name} m; "
        f"ml_get_{name}(frame.payload, &m); memset(payload, 1, sizeof payload); ml_put_{name}(payload, &m); }} break;"
        for name in names
    )
    (folder / "echo.c").write_text(ECHO % {"cases": cases})
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wno-unused", "-O1"]
    subprocess.run([COMPILER, *strict, f"-I{HEADER.parent}", "echo.c", "-o", "echo"], cwd=folder, check=True)
    return folder / "echo"


def echo(firmware: Path, data: bytes, code: int = 0) -> list[tuple[bytes, bool]]:
    done = subprocess.run([firmware], input=data, capture_output=True, timeout=60)
    assert done.returncode == code
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    return [(bytes.fromhex(frame), taken == "1") for frame, taken in lines]


def test_firmware_decodes_and_encodes_the_golden_frames(firmware: Path) -> None:
    frames = [pack(golden(kind), 1) for kind in LAYOUTS]
    assert [frame for frame, _ in echo(firmware, b"".join(frames))] == frames


def test_firmware_finds_the_same_frames_between_noise_as_the_host(firmware: Path) -> None:
    random = np.random.default_rng(5)
    sent, stream = [], b""
    for k in range(400):
        size = int(random.integers(0, MAX_PAYLOAD + 1)) if k % 3 else (0, 1, MAX_PAYLOAD)[k // 3 % 3]
        payload = random.bytes(size) if k % 2 else bytes(size)
        sent.append(encode(0x70 + k % 9, int(random.integers(1 << 16)), float(random.uniform(0, 1e6)), payload))
        noise = random.bytes(int(random.integers(0, 600))).replace(
            b"\0", b"\1"
        )  # no block of 16 bytes or more is whole
        stream += noise + sent[-1]
    decoder = FrameDecoder()
    host = [encode(f.type, f.sequence, f.time, f.payload) for f in decoder.feed(stream)]
    assert host == sent
    assert [frame for frame, _ in echo(firmware, stream, code=3 if decoder.crc_errors else 0)] == sent


def test_firmware_takes_the_same_frames_in_order_as_the_host(firmware: Path) -> None:
    numbers = [5, 6, 6, 5, 8, 8 + WINDOW, 9 + 2 * WINDOW, 0, 65535, 8 + WINDOW + 1, 65530, 65533, 2]
    order = FrameOrder()
    stream = b"".join(encode(0x20, n, 1.0 + 0.001 * k, b"") for k, n in enumerate(numbers))
    frames = FrameDecoder().feed(stream)
    expected = [order.take(frame, frame.time) is not None for frame in frames]
    assert [taken for _, taken in echo(firmware, stream)] == expected
    assert expected[:4] == [True, True, False, False]
