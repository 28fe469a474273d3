"""``lunar export --target``: the exported C on the instruction set of a microcontroller, compiled and run under QEMU.

What runs is the whole policy: the ring of past frames, scaling, encoders, network and joint targets. QEMU executes the
chip's instructions and counts them (``-icount``: each takes 1 ns of virtual time, which SysTick reads); it knows
nothing of pipelines and flash, so that time is instructions times an assumed number of cycles.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from policy.export.chip_template import LINKER, PROGRAM
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy, Proprioception
from sim.errors import LunarError

GCC, SIZE, QEMU = "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"
PACKAGES = "gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm"
FLASH, RAM = 1024, 128
"""kB of the chip that the linker fills: an STM32F405's, on which flight controllers run."""
CLOCK = 168e6
"""Hz of that chip; an M7 seldom runs slower."""
CYCLES = 2.0
"""Assumed per instruction. By the Cortex-M4's table of cycles a multiply-add with both loads is 1.5 on average, waits
for flash come to it; an M7 issues two instructions at a time."""
TICK = 40
"""Instructions, each 1 ns of virtual time, that SysTick at the board's 25 MHz takes for one."""
_LONGEST = 300.0
"""s that compiler and emulator may take."""
TRIAL = 25
"""Control steps; there are two trials, so that the history is begun anew."""


@dataclass(frozen=True)
class Chip:
    """A processor as the compiler and QEMU know it."""

    board: str
    """Of QEMU."""
    flags: tuple[str, ...]
    """Of the compiler."""


CHIPS = {
    "cortex-m4f": Chip("mps2-an386", ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16")),
    "cortex-m7": Chip("mps2-an500", ("-mcpu=cortex-m7", "-mfpu=fpv5-d16")),
}


def check_tools() -> None:
    """Raise LunarError where compiler or emulator is missing."""
    if missing := [tool for tool in (GCC, SIZE, QEMU) if not shutil.which(tool)]:
        raise LunarError(f"--target needs {missing[0]}, which is not installed: apt install {PACKAGES}")


def on_chip(header: Path, name: str, policy: OnnxPolicy, target: str, seed: int = 0) -> dict[str, Any]:
    """Compile a header for ``target``, run two trials of random sensors under QEMU and compare with ONNX.

    Args:
        header: of ``write_header``; ``name`` begins its functions' names.
        policy: the same policy; its history is lost.
        target: of ``CHIPS``.

    Returns:
        ``flash_bytes`` of the whole program and ``ram_bytes`` of its variables, both by the linker;
        ``stack_bytes``, the most that was used; ``instructions`` of a control step, the most of all;
        ``milliseconds`` of those, ``rate`` of control in Hz, and ``margin``, how many steps fit into its period;
        ``difference`` from ONNX's actions and estimates, the largest. Of a program too large for the chip
        ``excess_bytes`` alone.

    Raises:
        LunarError: tools are missing, the header does not compile, or the program does not run to its end.
    """
    check_tools()
    chip, card = CHIPS[target], policy.card
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        program = folder / "policy.elf"
        if excess := _link(folder, program, header, name, card, chip):
            return {"excess_bytes": excess}
        sections = subprocess.run([SIZE, str(program)], capture_output=True, text=True, check=True, timeout=60)
        code, data, bss = map(int, sections.stdout.splitlines()[1].split()[:3])
        sensors, expected = _trials(policy, seed)
        answers = _run(folder, program, chip, sensors, expected.shape[1])
    found, ticks, stack = answers[:, :-2], answers[:, -2], answers[:, -1]
    joints = found[:, : card.action_size]
    joints[:] = (joints - np.asarray(card.default_pose)) / card.action_scale
    instructions = TICK * float(ticks.max())
    seconds = CYCLES * instructions / CLOCK
    return {
        "flash_bytes": code + data, "ram_bytes": data + bss, "stack_bytes": int(stack.max()),
        "instructions": int(instructions), "milliseconds": 1e3 * seconds, "rate": card.observation.rate,
        "margin": 1.0 / (card.observation.rate * seconds),
        "difference": float(np.abs(found - expected).max()),
    }  # fmt: skip


def describe(found: dict[str, Any], target: str) -> str:
    """What ``on_chip`` returned, as a line."""
    if "excess_bytes" in found:
        return f"{target}: too large by {found['excess_bytes'] / 1024:.0f} kB for {FLASH} kB flash and {RAM} kB RAM"
    flash, ram, stack = (found[f"{kind}_bytes"] / 1024 for kind in ("flash", "ram", "stack"))
    return (
        f"{target} under QEMU: {flash:.0f} kB flash, {ram:.1f} kB RAM and {stack:.1f} kB stack, "
        f"{found['instructions'] / 1e3:.0f} k instructions; at {CYCLES:g} cycles each and {CLOCK / 1e6:.0f} MHz "
        f"{found['milliseconds']:.2f} ms, {found['margin']:.1f} times to spare at {found['rate']:.0f} Hz; difference "
        f"from ONNX {found['difference']:.1e}"
    )


def _link(folder: Path, program: Path, header: Path, name: str, card: Card, chip: Chip) -> int:
    """Bytes that are missing on the chip."""
    places, at = [], 1
    for size in (*(c.size for c in card.observation.frame if c.name != "last_action"), len(card.observation.command)):
        places.append(f"in + {at}")
        at += size
    estimates = len(card.estimates)
    fields = {
        "NAME": name, "HEADER": header.resolve(), "SENSORS": at - 1, "JOINTS": card.action_size, "ESTIMATES": estimates,
        "ARGUMENTS": ", ".join(places), "ESTIMATE": f"out + {card.action_size}" if estimates else 0,
        "FLASH": f"{FLASH}K", "RAM": f"{RAM}K",
    }  # fmt: skip
    for file, text in (("program.c", PROGRAM), ("chip.ld", LINKER)):
        filled = re.sub(r"\$(\w+)\$", lambda m: str(fields[m[1]]), text)
        (folder / file).write_text(filled, encoding="utf-8")
    command = [
        GCC, *chip.flags, "-mthumb", "-mfloat-abi=hard", "-std=c99", "-Wall", "-Wextra", "-O2", "-ffunction-sections",
        "-Wl,--gc-sections", "-nostartfiles", "--specs=nano.specs", "-T", str(folder / "chip.ld"),
        str(folder / "program.c"), "-o", str(program), "-lm",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST)
    except subprocess.TimeoutExpired:
        raise LunarError(f"{GCC} did not compile {header} within {_LONGEST:g} s") from None
    if done.returncode == 0:
        return 0
    if excess := [int(size) for size in re.findall(r"overflowed by (\d+) bytes", done.stderr)]:
        return max(excess)
    lines = done.stderr.strip().splitlines()
    raise LunarError(f"{header} does not compile for {chip.board}: {lines[0] if lines else GCC}")


def _trials(policy: OnnxPolicy, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What the program reads (P, 1 + sensors), float32, and ONNX's actions and estimates (P, 12 + E)."""
    rng, card = np.random.default_rng(seed), policy.card
    low, high = np.asarray(card.command_low), np.asarray(card.command_high)
    read: list[np.ndarray] = []
    expected: list[np.ndarray] = []
    for step in range(2 * TRIAL):
        if begins := step % TRIAL == 0:
            policy.reset()
        up, command = rng.normal([0, 0, -3], 1.0), rng.uniform(low, high)
        joints = np.asarray(card.default_pose) + rng.normal(0, 0.4, card.action_size)
        drawn = (rng.normal(0, 2, 3), up / np.linalg.norm(up), joints, rng.normal(0, 5, card.action_size), command)
        given = [value.astype(np.float32) for value in drawn]
        read.append(np.concatenate([np.full(1, begins, np.float32), *given]))
        policy.act(Proprioception(*given[:4]), given[4])
        assert policy.output
        expected.append(np.concatenate([policy.output.action.ravel(), policy.output.estimate.ravel()]))
    return np.stack(read), np.stack(expected)


def _run(folder: Path, program: Path, chip: Chip, sensors: np.ndarray, outputs: int) -> np.ndarray:
    """(P, outputs + 2) what the program wrote."""
    (folder / "sensors").write_bytes(sensors.tobytes())
    command = [
        QEMU, "-M", chip.board, "-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0",
        "-semihosting-config", "enable=on,target=native", "-kernel", str(program),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_LONGEST, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise LunarError(f"the program did not end within {_LONGEST:g} s under {QEMU} ({chip.board})") from None
    answers = folder / "answers"
    values = np.fromfile(answers, np.float32) if answers.exists() else np.empty(0, np.float32)
    if len(values) != len(sensors) * (outputs + 2):
        raise LunarError(
            f"the program ended after {len(values) // (outputs + 2)} of {len(sensors)} control steps under {QEMU} "
            f"({chip.board}): {done.stderr.strip() or 'it wrote no reason'}"
        )
    return values.reshape(len(sensors), -1)
