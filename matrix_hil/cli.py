"""The ``lunar`` command. A subcommand's module is imported only when it is called."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from sim.errors import LunarError
from sim.results import revision
from sim.terminal import complain

ROOT = Path(__file__).resolve().parent.parent

COMMANDS = {
    "train": ("policy.training.cli", "train a pronking policy by PPO"),
    "eval": ("policy.evaluation.cli", "measure a policy's hops on fixed suites"),
    "play": ("policy.play.cli", "watch and steer a policy live in a browser"),
    "distill": ("matrix_hil.replay.distill", "compress a policy into a student for a small computer"),
    "export": ("policy.export.cli", "write a policy as C, or its ONNX file anew"),
    "import": ("policy.foreign.cli", "bring a walking policy that others trained, as an ONNX file"),
    "monitor": ("policy.monitor.cli", "fit or measure what asks whether a policy knows its state"),
    "traverse": ("policy.traverse.cli", "which policy and gait where, so that the battery lasts and the robot arrives"),
    "hil": ("matrix_hil.operate.cli", "run a policy against the (virtual) MATRIX rig"),
    "fidelity": ("matrix_hil.fidelity.cli", "measure how lunar the rig's gravity is, scheme by scheme"),
    "replay": ("matrix_hil.replay.cli", "look at a HIL log, run it again, re-simulate it, or publish it"),
    "film": ("matrix_hil.replay.film.cli", "make a moving picture of a policy or of a HIL log"),
    "log": ("matrix_hil.log.cli", "summarise, recover, export, compare or thin out HIL logs"),
    "bench": ("benchmarks.cli", "measure speed against peers"),
    "up": ("matrix_hil.bringup.cli", "start a table of ROS 2 processes"),
    "terrain": ("sim.terrain.cli", "picture a terrain, or write it for Unreal Engine"),
    "twin": ("matrix_hil.virtual.unreal.cli", "serve a terrain to any UnrealCV client"),
}


def usage() -> str:
    """What ``lunar --help`` prints."""
    lines = "\n".join(f"  {name:8} {text}" for name, (_, text) in COMMANDS.items())
    more = "'lunar COMMAND --help' lists its options."
    return f"usage: lunar COMMAND [--config FILE] [--key value ...]\n       lunar --version\n\n{lines}\n\n{more}"


def main(argv: Sequence[str] | None = None) -> None:
    """Entry of the console script: exit status 0, 2 for what the user can mend, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a letter shows another
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        sys.exit(0 if argv else 2)
    if argv[0] == "--version":
        print(f"lunar {version('lunar')}, revision {revision()}")
        return
    if argv[0] not in COMMANDS:
        print(f"lunar: unknown command '{argv[0]}'; choose from {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    try:
        if argv[0] == "bench":
            _find_benchmarks()
        importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:])
    except LunarError as error:
        complain(f"lunar {argv[0]}: {error}")
        sys.exit(2)
    except OSError as error:  # what a command does with files says more; this is for all the others
        what = f"{error.filename}: " if error.filename else ""
        complain(f"lunar {argv[0]}: {what}{error.strerror or error}")
        sys.exit(2)
    except KeyboardInterrupt:
        complain(f"lunar {argv[0]}: interrupted")
        sys.exit(130)


def _find_benchmarks() -> None:
    """Benchmarks belong to a checkout and are not installed: put the checkout that this file lies in on the path."""
    if not (ROOT / "benchmarks").is_dir():
        raise LunarError("benchmarks are run from a checkout of the project; this is an installed package without them")
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
