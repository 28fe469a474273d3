"""``lunar replay``: what can be done with a HIL log; by itself, one self-contained HTML report."""

from __future__ import annotations

from collections.abc import Sequence

from matrix_hil.log.cli import dispatch

MODES = {
    "look": ("matrix_hil.replay.look.cli", "an HTML report with a 3-D replay; what LOG alone means"),
    "rerun": ("matrix_hil.replay.rerun", "its inputs through policy, sync and safety again; what differs"),
    "resim": ("matrix_hil.replay.resim", "the simulator from its states: the gap, and a fitted robot"),
    "drive": ("matrix_hil.replay.redrive", "publish the log to ROS 2 again, with /clock"),
}


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar replay``."""
    dispatch("lunar replay", MODES, argv, default="look")
