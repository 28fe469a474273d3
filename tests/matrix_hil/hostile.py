"""What tests of hostile files share: how bytes are damaged, and what reading them may do."""

from __future__ import annotations

import re
import resource
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from sim.errors import LunarError

MUTATIONS = 70
HUGE = 2  # of five mutations the one that has a number replaced by a huge one
MEMORY = 150_000_000  # bytes that reading a small file may take for a moment


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
        elif k % 5 == HUGE:
            out[at : at + 8] = struct.pack("<Q", int(rng.choice([2**31, 2**32 - 1, 2**40, 2**63, 10**10])))
        elif k % 5 == 3:
            out[at:at] = out[at // 2 : at]
        elif k % 5 == 4:
            out = bytearray(data)
            out[at % 64] ^= 1 << int(rng.integers(8))  # headers deserve most of the damage
        yield bytes(out)


def harmless(read: Callable[[], object]) -> str:
    """What LunarError said; empty on success. Anything else fails the test, as does asking for much memory at once,
    since the system gives this process no more."""
    held = int(re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY, limits[1]))
    try:
        read()
    except LunarError as error:
        said = str(error)
        assert "\n" not in said.strip() and said
        return said
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)
    return ""


def thrifty(read: Callable[[], object]) -> str:
    """`harmless`, every allocation counted (slow), also of what asks for too much and lives with a refusal."""
    tracemalloc.start()
    try:
        said = harmless(read)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY, f"{peak / 1e6:.0f} MB"
    return said


def reader(k: int) -> Callable[[Callable[[], object]], str]:
    """How to read mutation ``k`` of a file that takes long: in full count where it claims much."""
    return thrifty if k % 5 == HUGE else harmless
