"""``lunar hil calibrate``: homing, load-cell tare, tracker origin, belt scale, clock offsets, terrain self-check.

The machines move slowly under the same safety supervisor as in a run; rules about a robot in the harness are off, as
there is none. Before: harness off the hook, robot aside (on, and limp), a marker on the belt's centre.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from matrix_hil.config import HilConfig
from matrix_hil.rig import calibrate
from matrix_hil.run.calibration import short
from matrix_hil.run.ground import reachable
from matrix_hil.twin import TwinClient
from policy.runtime.starter import ENDS
from sim.config import parse
from sim.terminal import LastingTerminal


def terrain_check(cfg: HilConfig) -> dict[str, Any]:
    """Connect to Unreal, or to a stand-in, and find out how its depth is read.

    Raises:
        LunarError: nothing answers, or what is seen contradicts itself or the config.
    """
    with reachable(cfg) as twin, TwinClient(twin) as client:
        found = client.calibration
        assert found is not None
        return {
            "unit": found.unit, "kind": found.kind, "height_m": found.ground, "disagreement_m": found.disagreement,
        }  # fmt: skip


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Whatever asks for an end is a Ctrl-C, which leaves the machines safe."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar hil calibrate``."""
    cfg = parse(HilConfig, argv, prog="lunar hil calibrate", default="hil/virtual.yaml")
    console = LastingTerminal()
    console.print("harness off the hook, robot aside, marker on the belt's centre; machines will move slowly")
    with _interruptible(), console.status("terrain") as line:
        ground = terrain_check(cfg)
        found = replace(calibrate(cfg, line.update), ground=ground)
    found.save(cfg.calibration.file)
    values = {
        "load cell offset": f"{found.load_cell_offset:+.2f} N",
        "belt scale": f"{found.belt_scale:.4f}",
        "tracker origin": f"{short(np.array(found.tracker_origin))} m",
        "clock offsets": json.dumps({name: round(value, 4) for name, value in (found.clock_offset or {}).items()}),
        "platform seen by the tracker": f"within {1e3 * max((found.checks or {'': 0.0}).values(), default=0.0):.1f} mm",
        "terrain": f"depth in {ground['unit']}, {ground['kind']}, agrees to {1e3 * ground['disagreement_m']:.1f} mm",
    }
    for name, value in values.items():
        console.print(f"  {name:30}{value}", highlight=False)
    console.print(f"written to {cfg.calibration.file}; it holds for {cfg.calibration.max_age / 3600:g} h")
