"""Drives of the supervisor: what it was given and what it decided, cycle by cycle, small enough to stand beside tests.

``python -m benchmarks.faults.drives FOLDER`` records those of ``DRIVES`` anew: after a change that is meant to decide
otherwise, and then the diff of the decisions is what is to be reviewed. One JSON document a line, in gzip; numbers are
given are rounded to 1e-5, and the decisions are those for the rounded numbers, so that they come out bit by bit.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.catalogue import catalogue
from benchmarks.faults.cli import FaultsConfig
from benchmarks.faults.disobeys import disobedience
from benchmarks.faults.trial import Trial, rig_of
from matrix_hil import messages
from matrix_hil.config import RunPlan
from matrix_hil.messages import MachineCommands, MachineStates, TwinPatch
from matrix_hil.rig import open_rig
from matrix_hil.safety.limits import SafetyConfig
from matrix_hil.safety.supervisor import Supervisor
from matrix_hil.virtual.unreal import ServerConfig, TwinServer
from sim.errors import LunarError
from sim.terrain.generators import make_terrain

DRIVES: dict[str, str] = {
    "healthy": "",
    "platform-wrong-sequence": "platform: wrong sequence",
    "treadmill-delayed": "treadmill: delayed by 0.2 s",
    "tracker-stuck": "tracker: stuck value",
    "tracker-jump": "tracker: jumps by 0.2 m",
    "action-nan": "robot: the policy's action is not a number",
    "ground-jump": "twin: ground jumps by 0.4 m",
    "clock-back": "host: clock jumps back by 5 s",
    "estop-in-flight": "operator: e-stop at apex",
    "runaway-rope": "disobeys: rope stuck at maximum",
}
"""Name of the fault, in the catalogue of ``lunar bench faults``, by name of the drive; none for an empty one."""

_DIGITS = 5
_ORDERS = ("arm", "run", "hold", "estop", "reset")
_STATES = {f.name: getattr(messages, f"{f.name.capitalize()}State") for f in fields(MachineStates)}
_COMMANDS = {f.name: getattr(messages, f"{f.name.capitalize()}Command") for f in fields(MachineCommands)}
_LONGEST = 420  # cycles that are kept of a drive


@dataclass
class Drive:
    """Rows of one drive: ``given`` to the supervisor and ``decided`` by it, as JSON has them."""

    given: list[dict[str, Any]] = field(default_factory=list)
    decided: list[dict[str, Any]] = field(default_factory=list)

    def save(self, file: Path) -> None:
        """Write it."""
        with gzip.GzipFile(file, "wb", mtime=0) as out:
            for rows in zip(self.given, self.decided, strict=True):
                out.write((json.dumps(rows, separators=(",", ":")) + "\n").encode())


def load(file: Path) -> Drive:
    """Read what ``Drive.save`` wrote."""
    drive = Drive()
    with gzip.open(file, "rt") as lines:
        for line in lines:
            given, decided = json.loads(line)
            drive.given.append(given)
            drive.decided.append(decided)
    return drive


def decide(given: list[dict[str, Any]], cfg: SafetyConfig) -> Iterator[dict[str, Any]]:
    """What a new supervisor with limits ``cfg`` decides of these rows."""
    supervisor, patch = Supervisor(cfg), None
    for row in given:
        for order in row["orders"]:
            getattr(supervisor, order)(row["now"])
        if "patch" in row:
            patch = TwinPatch(**_arrays(row["patch"])) if row["patch"] else None
        states = MachineStates(**{n: _STATES[n](**_arrays(v)) for n, v in row["states"].items()})
        wanted = MachineCommands(**{n: _COMMANDS[n](**_arrays(v)) for n, v in row["wanted"].items()})
        sent, judged = supervisor.step(states, wanted, row["now"], patch, row["failure"])
        commands = {name: _plain(command, exact=True) for name, command in vars(sent).items()}
        silenced = sorted(supervisor.silenced)
        yield {"state": judged.state, "reason": judged.reason, "blocked": supervisor.blocked, "silenced": silenced} | {
            "sent": commands
        }


def record(name: str, cfg: FaultsConfig, server: TwinServer, folder: Path) -> Drive:
    """Drive the virtual rig, with the fault of that name or none, and note the supervisor's part in it.

    Raises:
        LunarError: with rounded numbers the supervisor decides otherwise.
    """
    faults = {f.name: f for f in (*catalogue(cfg.seed), *disobedience())}
    fault = faults[DRIVES[name]] if DRIVES[name] else None
    inject, when = (fault.inject, fault.when) if fault else (lambda trial: None, None)
    trial = Trial(inject, when, server, after=0.2)
    policy = cfg.policy
    if fault is not None and fault.policy:
        from benchmarks.faults.broken_policy import write_broken

        policy = str(write_broken(Path(cfg.policy), folder / "broken-policy"))
    plan = RunPlan(duration=1.2 if fault is None else 20.0, stand=0.1, down=0.3)
    setup = rig_of(server, policy=policy, command=cfg.command, plan=plan, seed=cfg.seed)
    setup = replace(setup, twin=replace(setup.twin, extent=1.0))  # little ground for small files
    with open_rig(setup, record=None) as rig:
        drive, reasons = _watch(rig.loop.supervisor)
        trial.run(rig)
    del drive.given[_LONGEST:]
    drive.decided = list(decide(drive.given, setup.safety))
    if [d["reason"][:3] for d in drive.decided] != [r[:3] for r in reasons[: len(drive.given)]]:
        raise LunarError(f"{name}: with rounded numbers the supervisor decides otherwise")
    return drive


def _watch(supervisor: Supervisor) -> tuple[Drive, list[str]]:
    """A drive that fills itself with what this supervisor is given, and the reasons that it gives."""
    drive, reasons, orders = Drive(), list[str](), list[str]()
    step, last = supervisor.step, [None]

    def watched(states: Any, wanted: Any, now: float, patch: Any = None, failure: str = "", doubt: str = "") -> Any:
        row: dict[str, Any] = {"now": _number(now), "orders": list(orders)}
        orders.clear()
        if patch is not last[0]:
            last[0] = patch
            row["patch"] = _plain(patch) if patch is not None else None
        row["states"] = {n: _plain(s) for n, s in vars(states).items() if s is not None}
        row["wanted"] = {n: _plain(c) for n, c in vars(wanted).items()}
        drive.given.append(row | {"failure": failure})
        result = step(states, wanted, now, patch, failure, doubt)
        reasons.append(result[1].reason)
        return result

    def noted(name: str) -> Any:
        order = getattr(supervisor, name)

        def give(now: float) -> Any:
            orders.append(name)
            return order(now)

        return give

    supervisor.step = watched  # type: ignore[method-assign]
    for name in _ORDERS:
        setattr(supervisor, name, noted(name))
    return drive, reasons


def _number(value: float) -> float:
    return round(float(value), _DIGITS)


def _plain(message: Any, exact: bool = False) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in vars(message).items():
        if isinstance(value, (str, bool, int)):
            plain[name] = value
        else:
            number = np.asarray(value, dtype=float)
            plain[name] = (number if exact else np.round(number, _DIGITS)).tolist()
    return plain


def _arrays(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.array(value, dtype=float) if isinstance(value, list) else value for name, value in plain.items()}


def main(folder: Path) -> None:
    """Record all drives into ``folder``."""
    cfg = FaultsConfig()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(TwinServer(make_terrain(cfg.terrain, cfg.seed), ServerConfig(port=0)))
        for name in DRIVES:
            began = time.monotonic()
            drive = record(name, cfg, server, scratch)
            file = folder / f"{name}.jsonl.gz"
            drive.save(file)
            reason = next((d["reason"] for d in drive.decided if d["reason"]), "no trip")
            size, seconds = file.stat().st_size // 1000, time.monotonic() - began
            print(f"{name}: {len(drive.given)} cycles, {size} kB, {reason} ({seconds:.0f} s)")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
