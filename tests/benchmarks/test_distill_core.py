"""The core's benchmark: it counts bytes right, and what it reports is there."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks.distill_core import (
    KINDS,
    CoreConfig,
    core,
    gradient,
    measure_core,
    peak_bytes,
    plain,
)
from matrix_hil.cli import main as lunar
from sim.errors import LunarError


def test_the_peak_is_what_is_held_at_once_and_not_what_was_ever_asked_for():
    def call():
        for _ in range(3):
            torch.ones(1000, dtype=torch.float32)  # released before the next
        a = torch.ones(5000, dtype=torch.float32)
        return a + 1

    assert 40_000 <= peak_bytes(call) < 41_000


@pytest.mark.parametrize("kind", KINDS)
def test_the_core_needs_a_tenth_of_plain_torch_at_the_same_gradient(kind):
    g = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(4000, 512, generator=g), torch.randn(4000, 512, generator=g)
    expected = gradient(plain, student, teacher, kind)
    torch.testing.assert_close(
        gradient(core, student, teacher, kind), expected, rtol=0, atol=float(1e-5 * expected.max())
    )
    bytes_plain, bytes_core = (
        peak_bytes(lambda loss=loss: gradient(loss, student, teacher, kind)) - student.nbytes for loss in (plain, core)
    )
    assert bytes_plain >= 3 * student.nbytes
    assert 0 < bytes_core <= bytes_plain / 10
    twice = torch.cat([student, student])
    more = peak_bytes(lambda: gradient(core, twice, twice, kind)) - twice.nbytes
    assert more - bytes_core < 0.02 * student.nbytes  # working memory does not grow with positions x vocabulary


def test_the_command_writes_its_keys(tmp_path, capsys):
    out = tmp_path / "core.json"
    lunar(
        [
            "bench",
            "distill",
            "--suite",
            "core",
            "--core.positions",
            "2000",
            "--core.bins",
            "64",
            "--quick",
            "--json",
            str(out),
        ]
    )
    data = json.loads(out.read_text())
    assert data["command"] == "bench distill"
    assert data["results"]["core"]["speedup"] > 0 and 0 < data["results"]["core"]["memory_ratio"] < 1
    assert "reverse_kl" in capsys.readouterr().out


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(LunarError, match="at least 1"):
        measure_core(CoreConfig(positions=0), 0)


def test_the_peak_of_a_process_is_its_own_and_not_its_parents():
    code = "from policy.distill.job import peak_megabytes; print(peak_megabytes())"
    ballast = np.ones(250_000_000)  # 2 GB
    child = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 50.0 < float(child.stdout) < 0.5 * ballast.nbytes / 1e6
