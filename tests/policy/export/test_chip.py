"""The exported C on a microcontroller's instruction set: what it answers, what it needs, and that both are measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from matrix_hil.cli import main as lunar
from policy.export import chip
from policy.export.c import TOLERANCE, write_header
from policy.networks.config import ModelConfig
from policy.networks.policy_file import ZOO
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy
from sim.errors import LunarError
from tests.policy.export.test_export_c import ENCODERS, make

needs_chip = pytest.mark.skipif(
    not all(map(shutil.which, (chip.GCC, chip.SIZE, chip.QEMU))), reason=f"needs Debian's {chip.PACKAGES}"
)
INT8_TOLERANCE = 0.1
"""Of an action, over trials in which the history holds the policy's own last actions."""
FAKE = """
#include <string.h>
typedef struct {{ int started; }} fake_state;
static void fake_reset(fake_state *s) {{ memset(s, 0, sizeof *s); }}
static int fake_act(fake_state *s, const float *w, const float *g, const float *q, const float *v, const float *c,
                    float *targets, float *estimate)
{{
    {body}
    (void)s, (void)w, (void)g, (void)q, (void)v, (void)c, (void)estimate;
    targets[0] = 0.0f;
    return {answer};
}}
"""
LOOP = '__asm__ volatile("ldr r0, =100000\\n1: subs r0, r0, #1\\n bne 1b" ::: "r0", "cc");'
STACK = "volatile char taken[6000]; int i; for (i = 0; i < 6000; ++i) taken[i] = 1;"


def policy_of(folder: Path) -> OnnxPolicy:
    return OnnxPolicy(folder, Card.load(folder / "card.json").observation)


def fake(tmp_path: Path, body: str = "", answer: int = 1) -> dict:
    """What is measured of a program of which that is known."""
    header = tmp_path / "fake.h"
    header.write_text(FAKE.format(body=body, answer=answer))
    return chip.on_chip(header, "fake", policy_of(ZOO / "student_small"), "cortex-m4f")


@needs_chip
@pytest.mark.parametrize("target", chip.CHIPS)
def test_a_policy_with_internal_models_answers_on_the_chip_as_onnx_does(target, tmp_path):
    folder = make(tmp_path / "two horizons", ModelConfig(hidden=(32, 16), encoders=ENCODERS))
    for int8, tolerance in ((False, TOLERANCE), (True, INT8_TOLERANCE)):
        written = write_header(folder, tmp_path / "policy.h", int8)
        found = chip.on_chip(tmp_path / "policy.h", written["name"], policy_of(folder), target)
        assert found["difference"] <= tolerance
        assert written["flash_bytes"] < found["flash_bytes"] < written["flash_bytes"] + 8000
        assert 0 < found["stack_bytes"] < written["ram_bytes"] < found["ram_bytes"] + found["stack_bytes"]


@needs_chip
@pytest.mark.parametrize("name", ["student_small", "student_medium"])
def test_students_keep_their_rate_five_times_over(name, tmp_path):
    for int8, tolerance in ((False, TOLERANCE), (True, INT8_TOLERANCE)):
        written = write_header(ZOO / name, tmp_path / "policy.h", int8)
        found = chip.on_chip(tmp_path / "policy.h", written["name"], policy_of(ZOO / name), "cortex-m4f")
        assert found["difference"] <= tolerance and found["margin"] >= 5.0
        assert found["margin"] == pytest.approx(168e6 / 50 / (chip.CYCLES * found["instructions"]))


@needs_chip
def test_instructions_and_stack_are_those_of_the_step(tmp_path):
    idle, loop, stack = (fake(tmp_path, body) for body in ("", LOOP, STACK))
    assert loop["instructions"] - idle["instructions"] == pytest.approx(200_000, abs=2 * chip.TICK)
    assert stack["stack_bytes"] - idle["stack_bytes"] == pytest.approx(6000, abs=200)


@needs_chip
def test_a_program_that_ends_early_or_does_not_compile_is_an_error(tmp_path):
    with pytest.raises(LunarError, match="ended after 0 of 50 control steps"):
        fake(tmp_path, answer=0)
    with pytest.raises(LunarError, match="does not compile for mps2-an386"):
        fake(tmp_path, "not C;")


@needs_chip
@pytest.mark.parametrize("what", ["FLASH", "RAM"])
def test_what_does_not_fit_is_said_in_kilobytes(what, tmp_path, monkeypatch):
    monkeypatch.setattr(chip, what, 8)
    written = write_header(ZOO / "student_small", tmp_path / "policy.h")
    found = chip.on_chip(tmp_path / "policy.h", written["name"], policy_of(ZOO / "student_small"), "cortex-m7")
    assert found["excess_bytes"] > 4000 and "too large by" in chip.describe(found, "cortex-m7")


@needs_chip
def test_the_command_runs_both_headers(tmp_path, capsys):
    out, data = tmp_path / "robot", tmp_path / "chip.json"
    lunar(["export", "student_small", "--out", str(out), "--target", "cortex-m7", "--json", str(data)])
    assert " ".join(capsys.readouterr().out.split()).count("times to spare at 50 Hz") == 2
    results = json.loads(data.read_text())["results"]
    assert results["c_int8"]["cortex-m7"]["flash_bytes"] < 0.4 * results["c"]["cortex-m7"]["flash_bytes"]


def test_missing_tools_are_named_with_their_packages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(chip.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit) as left:
        lunar(["export", "student_small", "--out", str(tmp_path / "x"), "--target", "cortex-m7"])
    assert left.value.code
    assert "arm-none-eabi-gcc, which is not installed: apt install gcc-arm-none-eabi" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
