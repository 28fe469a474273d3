"""``lunar replay LOG``: one self-contained HTML report of a log: a 3-D replay, linked plots and key figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matrix_hil.log import Log, read_log
from matrix_hil.log.notes import end_of, refuse_unknown
from matrix_hil.replay.logged import logged_robot
from matrix_hil.replay.look.about import made_with, one_hop
from matrix_hil.replay.look.measure import measure
from matrix_hil.replay.look.page import run_page
from matrix_hil.replay.look.plots import plots
from matrix_hil.replay.look.scene import RigShape, replay_html
from sim.config import parse
from sim.errors import LunarError
from sim.output import write_whole
from sim.results import write_results
from sim.robots.load import robot_model


@dataclass(frozen=True)
class ReplayConfig:
    """Make an HTML report of a HIL log."""

    log: str = ""
    """Folder that ``lunar hil`` wrote, or the .mcap file in it; may also be given as the first argument."""
    out: str = ""
    """HTML file to write; report.html beside the log when empty."""
    json: str = ""
    """File for the results as data; none when empty."""
    quick: bool = False
    """Draw the replay with 8 frames per second."""
    map: str = ""
    """``FROM:=TO,…``: names by which topics are read, e.g. /rig2:=/ or /go2/imu:=/robot/imu."""
    robot: str = ""
    """Name, folder or MJCF of the robot that was on the rig (docs/robots.md), where the log does not tell it."""
    frame_rate: float = 25.0
    """Hz. Frames per second of the replay; lowered for runs of over a minute."""
    rig: RigShape = field(default_factory=RigShape)


def run(cfg: ReplayConfig) -> dict[str, Any]:
    """``write_report``, and say where it is and what of the log is missing; return the results."""
    out, log, results = write_report(cfg)
    print(out)
    end_of(log)
    return results


def write_report(cfg: ReplayConfig) -> tuple[Path, Log, dict[str, Any]]:
    """Write the report and, if asked for, the JSON file.

    Returns:
        The report's path, the log and the results.

    Raises:
        LunarError: no log is named, it cannot be read, it holds nothing of a rig, or the report cannot be written.
    """
    if not 0.1 <= cfg.frame_rate <= 100.0:
        raise LunarError(f"frame_rate is {cfg.frame_rate}, it must lie between 0.1 and 100 Hz")
    log = read_log(cfg.log, cfg.map)
    refuse_unknown(log)
    model = robot_model(logged_robot(log, cfg.robot))
    report = measure(log, float(model.body_mass.sum()))
    results = report.results()
    rate = min(cfg.frame_rate, 8.0) if cfg.quick else cfg.frame_rate
    replay, about = replay_html(report, model, cfg.rig, rate), (made_with(report), one_hop(report, model))
    document = run_page(report, results, plots(report), replay, about)
    out = Path(cfg.out) if cfg.out else log.path.parent / "report.html"
    write_whole({out: document})
    if cfg.json:
        write_results(cfg.json, "replay", 0, results)
    return out, log, results


def main(argv: Sequence[str]) -> None:
    """``lunar replay [look] LOG [--out FILE] [--json FILE] [--map FROM:=TO]``."""
    run(parse(ReplayConfig, argv, "lunar replay", first=("log",)))
