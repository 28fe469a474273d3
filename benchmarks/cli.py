"""``lunar bench NAME``: measurements as ratios against a named peer run in the same call."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from sim.errors import LunarError

BENCHES = {
    "sim": ("benchmarks.sim", "environment steps per second against its ceiling and its peers"),
    "train": ("benchmarks.train", "training end to end against stock SB3, and where the time goes"),
    "contact": ("benchmarks.contact", "ways to meet uneven ground: speed against errors of normals and forces"),
    "model": ("benchmarks.model", "simplifications of the model: speed against errors in a hop"),
    "faults": (
        "matrix_hil.faults.cli",
        "every fault of links, machines, twin and host: does the rig end safe, in time?",
    ),
    "dhim": ("benchmarks.dhim", "internal models at equal steps: skill on rough ground, errors of the estimates"),
    "estimator": ("benchmarks.estimator", "windows and shapes of encoders: errors on held-out robots"),
    "codec": ("benchmarks.codec", "ten million bytes of noise with frames in it: all found, none invented?"),
    "distill": (
        "benchmarks.distill",
        "students by each method against today's practice and papers' claims; the losses alone",
    ),
    "log": ("benchmarks.log", "writing and reading HIL logs against rosbags; loss at a kill, size of a report"),
}


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar bench``."""
    if not argv or argv[0] not in BENCHES:
        lines = "".join(f"\n  {name:8} {text}" for name, (_, text) in BENCHES.items())
        if argv and argv[0] in ("-h", "--help"):
            print(f"usage: lunar bench NAME [--quick] [--json FILE]\n{lines}")
            return
        raise LunarError(f"name a benchmark: {', '.join(BENCHES)}")
    importlib.import_module(BENCHES[argv[0]][0]).main(argv[1:])
