"""``lunar bench NAME``: measurements as ratios against a named peer run in the same call.

A benchmark is a module with a ``Config``, ``run(cfg) -> results`` and ``show(results)``; ``DEFAULT`` names its
file below configs/, if it has one, and ``VERSION`` (1) goes up whenever a change makes older results incomparable.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from sim.config import parse
from sim.errors import LunarError
from sim.results import write_results

BENCHES = {
    "sim": "environment steps per second against its ceiling and its peers",
    "gpu": "MuJoCo Warp: the C engine's physics? steps per second by robots, the host's waits, an update",
    "train": "training end to end against stock SB3, and where the time goes",
    "contact": "contact models of uneven ground: speed against errors of normals and forces",
    "robots": "quadrupeds by their files: do they load, stand, and hop with a policy of another robot?",
    "model": "simplifications of the model: speed against errors in a hop",
    "faults": "every fault of links, machines, twin and host: does the rig end safe, in time?",
    "endure": "minutes of virtual HIL over five seeds of ground: any trip, does memory grow?",
    "attacks": "a red team: pages, ROS, lines, twin, logs, cards, observations; what moves a machine?",
    "monitor": "a policy's monitor against other scores: false trips per hour, faults caught, claims",
    "traverse": "plans of a traverse against one option for all and rules per segment: arrivals, energy",
    "maps": "filters for height maps: unsafe ground called safe, rocks lost and invented, with limits",
    "dhim": "internal models at equal steps: skill on rough ground, errors of the estimates",
    "estimator": "windows and shapes of encoders: errors on held-out robots",
    "codec": "ten million bytes of noise with frames in it: all found, none invented?",
    "distill": "students by each method against today's practice and papers' claims; the losses alone",
    "subset": "few hops that stand for many or show the rare: log-det against rivals; a paper's claims",
    "log": "writing and reading HIL logs against rosbags; loss at a kill, size of a report",
}


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar bench``."""
    name = argv[0] if argv else ""
    if name in ("-h", "--help"):
        lines = "".join(f"\n  {name:9} {text}" for name, text in BENCHES.items())
        print(f"usage: lunar bench NAME [--quick] [--json FILE]\n{lines}")
        print("\nlunar bench report writes the figures of README and docs from the files in benchmarks/measured")
    elif name == "report":
        importlib.import_module("benchmarks.report").main(argv[1:])
    elif name in ("faults", "attacks"):
        importlib.import_module(f"benchmarks.{name}.cli").main(argv[1:])
    elif name in BENCHES:
        bench = importlib.import_module(f"benchmarks.{name}")
        cfg = parse(bench.Config, argv[1:], f"lunar bench {name}", default=getattr(bench, "DEFAULT", None))
        results = bench.run(cfg)
        if cfg.json:
            policies = [cfg.policy] if getattr(cfg, "policy", "") else []
            version = getattr(bench, "VERSION", 1)
            write_results(cfg.json, f"bench {name}", getattr(cfg, "seed", 0), results, policies, version)
        bench.show(results)
    else:
        raise LunarError(f"name a benchmark: {', '.join(BENCHES)}")
