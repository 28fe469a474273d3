"""``lunar export --c``: a policy as one C99 header for a microcontroller, from sensors to joint targets.

The header needs nothing but the standard library and allocates nothing. ``NAME_act`` does what
``policy.runtime.onnx_policy.OnnxPolicy.act`` does: it scales the sensors and the command, keeps the frames at the
observation's ages, runs the network and returns joint targets. A check compiles it and compares it with the policy.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policy.export.c_code import Program, number, translate
from policy.export.c_template import FUNCTIONS, HEADER, LAYERS, LIBRARY
from policy.networks.actor import Actor
from policy.networks.policy_file import load_actor
from policy.networks.student import Student
from policy.runtime.card import ESTIMATES, Card
from sim.errors import LunarError
from sim.output import write_whole
from sim.spec.observation import ObservationSpec

TOLERANCE = 1e-4
"""Largest difference of an action from torch's that the float header may have; of the int8 header it is measured."""
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")


def write_header(folder: Path, out: Path, int8: bool = False, card: Card | None = None) -> dict[str, Any]:
    """Write ``out``, a header for the policy in ``folder``, and check it against torch where a C compiler is found.

    Args:
        int8: store the layers' weights in a byte each.
        card: of the policy on another robot; the folder's by default.

    Returns:
        ``path``; ``name``, with which all that it defines begins; ``flash_bytes`` of constants; ``ram_bytes`` of a
        robot's state and the stack; ``difference`` from torch's actions and estimates on random observations, None
        without a compiler.

    Raises:
        LunarError: the policy cannot be read, does what C has no words for here, or the float header differs.
    """
    actor, own = load_actor(folder)
    card = card or own
    if card.observation.scan:
        raise LunarError(f"policy {folder} sees the ground ahead, for which a robot needs a map; distil it first")
    name = _identifier(f"{folder.resolve().name}{'_int8' if int8 else ''}")
    program = translate(actor, int8)
    write_whole({out: header(name, card, program)})
    difference = None
    if compiler := shutil.which("cc"):
        difference = _difference(out, name, actor, card, compiler)
        if not int8 and difference > TOLERANCE:
            raise LunarError(f"{out} differs from the torch policy by {difference:.2g}, more than {TOLERANCE}")
    spec, joints = card.observation, card.action_size
    floats = 2 * joints + 3 * len(spec.command) + len(spec.ages)
    stack = program.size + spec.size + spec.frame_size + joints + max(1, len(card.estimates))
    stack += program.widest // 2 if int8 else 0
    return {
        "path": str(out),
        "name": name,
        "flash_bytes": sum(values.nbytes for values in program.arrays.values()) + 4 * floats,
        "ram_bytes": 4 * (_history(card) * spec.frame_size + joints + 2 + stack),
        "difference": difference,
    }


def header(name: str, card: Card, program: Program) -> str:
    """The text of the header."""
    spec = card.observation
    estimates = len(card.estimates)
    body = "\n".join(f"    {statement}" for statement in program.statements).replace("@", f"{name}_")
    used = "".join(text for function, text in FUNCTIONS.items() if f"{name}_{function}_(" in body)
    estimate_copy = f"if (estimate) memcpy(estimate, x + {program.estimate}, {estimates} * sizeof *x);"
    fields = {
        "NAME": name,
        "GUARD": f"{name.upper()}_H",
        "MACRO": name.upper(),
        "WEIGHTS": card.weights,
        "CARD": _describe(card),
        "OBSERVATION": spec.size,
        "FRAME": spec.frame_size,
        "AGES": len(spec.ages),
        "HISTORY": _history(card),
        "COMMANDS": len(spec.command),
        "JOINTS": card.action_size,
        "ESTIMATES_OR_1": max(1, estimates),
        "ESTIMATES": estimates,
        "WORK": program.size,
        "CONSTANTS": "\n".join(_constant(f"{name}_{n}", a) for n, a in program.arrays.items()),
        "AGE_LIST": ", ".join(map(str, spec.ages)),
        "LOW": _floats(card.command_low),
        "HIGH": _floats(card.command_high),
        "COMMAND_SCALE": _floats([c.scale for c in spec.command]),
        "POSE": _floats(card.default_pose),
        "OFFSET": _floats(card.default_pose),
        "ACTION_SCALE": number(card.action_scale),
        "LAYERS": (LAYERS + used).replace("WIDEST", str(program.widest)).replace("NAME", name),
        "LOOP": "    int i;\n" if "for (i" in body else "",
        "BODY": body,
        "ACTION_AT": program.action,
        "ESTIMATE_COPY": estimate_copy if estimates else "(void)estimate;",
        "ARGUMENTS": ",\n".join(
            f"{' ' * 27}const float {c.name}[{c.size}]" for c in spec.frame if c.name != "last_action"
        ).strip(),
        "CHECKS": " ||\n        ".join(
            f"!{name}_finite_({c.name}, {c.size})" for c in spec.frame if c.name != "last_action"
        ),
        "FRAME_CODE": "\n".join(_frame_code(spec)),
    }
    return re.sub(r"\$(\w+)\$", lambda m: str(fields[m[1]]), HEADER)


def compiled(path: Path, name: str, folder: Path, compiler: str = "cc") -> ctypes.CDLL:
    """The header's ``reset``, ``infer`` and ``act`` as a library in ``folder``, compiled with every warning an error.

    Raises:
        LunarError: it does not compile.
    """
    source, library = folder / "header.c", folder / "header.so"
    source.write_text(LIBRARY.replace("NAME", name).replace("PATH", str(path.resolve())), encoding="utf-8")
    command = [compiler, *FLAGS, "-shared", "-fPIC", str(source), "-o", str(library), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise LunarError(f"{path} does not compile: {done.stderr.strip().splitlines()[0] if done.stderr else command}")
    loaded = ctypes.CDLL(str(library))
    loaded.state_bytes.restype = ctypes.c_size_t
    return loaded


def infer(
    library: ctypes.CDLL, observations: np.ndarray, actions: int, estimates: int
) -> tuple[np.ndarray, np.ndarray]:
    """Actions (N, 12) and estimates (N, E) of a compiled header for observations (N, size)."""
    action = np.empty((len(observations), actions), np.float32)
    estimate = np.empty((len(observations), max(1, estimates)), np.float32)
    for row, a, e in zip(observations.astype(np.float32), action, estimate, strict=True):
        library.infer(*(v.ctypes.data_as(ctypes.c_void_p) for v in (row, a, e)))
    return action, estimate[:, :estimates]


def _difference(path: Path, name: str, actor: Actor | Student, card: Card, compiler: str) -> float:
    x = np.random.default_rng(0).standard_normal((200, actor.size)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        found = infer(compiled(path, name, Path(folder), compiler), x, card.action_size, len(card.estimates))
        expected = actor(torch.from_numpy(x))
    pairs = zip(found, (expected.action, expected.estimate), strict=True)
    return max(float(np.abs(ours - theirs.numpy()).max()) for ours, theirs in pairs if ours.size)


def _history(card: Card) -> int:
    return max(card.observation.ages) + 1


def _identifier(text: str) -> str:
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).lower()
    return name if name[:1].isalpha() else f"policy_{name}"


def _describe(card: Card) -> str:
    estimates = ", ".join(f"{name} {ESTIMATES[name]}" for name in card.estimates) or "none"
    return (
        f"robot {card.robot}, trained at {card.gravity:g} m/s^2; kp {card.kp:g} N*m/rad, kd {card.kd:g} N*m*s/rad\n"
        f" * call at {card.observation.rate:g} Hz; joints: {', '.join(card.observation.joints[:3])}, ... in the order\n"
        f" * FL, FR, RL, RR; estimates: {estimates}"
    )


def _floats(values: Any) -> str:
    return ", ".join(number(float(v)) for v in values)


def _constant(name: str, values: np.ndarray) -> str:
    whole = values.dtype == np.int8
    words = [str(v) if whole else re.sub(r"(?<!\d)0\.", ".", number(float(v))) for v in values]
    width = 28 if whole else 9
    lines = [",".join(words[k : k + width]) + "," for k in range(0, len(words), width)]
    return "\n".join([f"static const {'signed char' if whole else 'float'} {name}[{len(words)}] = {{", *lines, "};"])


def _frame_code(spec: ObservationSpec) -> list[str]:
    lines, at = [], 0
    for channel in spec.frame:
        source = {"joint_position": "(joint_position[i] - offset[i])", "last_action": "s->last_action[i]"}.get(
            channel.name, f"{channel.name}[i]"
        )
        lines.append(
            f"    for (i = 0; i < {channel.size}; ++i) frame[{at} + i] = {source} * {number(channel.scale)}; "
            f"/* {channel.unit} */"
        )
        at += channel.size
    return lines
