"""``lunar hil calibrate``: homing, load-cell tare, tracker origin, belt scale, clock offsets, terrain self-check.

The machines move slowly under the same safety supervisor as in a run; rules about a robot in the harness are off, as
there is none. Before: harness off the hook, robot aside (on, and limp), a marker on the belt's centre.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from matrix_hil.link import SerialDevice
from matrix_hil.link.calibration import Calibration, figures, identity
from matrix_hil.operate.calibration_procedure import PERIOD, Session, measure, short
from matrix_hil.operate.calibration_stand import CalibrationStand
from matrix_hil.twin import TwinClient
from matrix_hil.twin.config import EMBEDDED
from matrix_hil.virtual.rig import EMULATED, driver
from matrix_hil.virtual.unreal import ServerConfig, TwinServer
from sim.terrain.generators import make_terrain

if TYPE_CHECKING:
    from matrix_hil.operate.cli import HilConfig


def calibrate(cfg: HilConfig, say: Callable[[str], None], now: float | None = None) -> Calibration:
    """Measure on the machines that ``cfg`` names, emulated ones on a stand of their own; nothing is written.

    Args:
        cfg: the configuration.
        say: told what is going on.
        now: s since 1970; the clock's by default.

    Raises:
        LunarError: see ``measure``.
    """
    real = [name for name, port in cfg.ports.items() if port != EMULATED]
    with ExitStack() as stack:
        stand = stack.enter_context(CalibrationStand(cfg, cfg.seed)) if len(real) < len(cfg.ports) else None
        devices = {
            name: stack.enter_context(
                driver(name, getattr(cfg, name), stand.emulators[name].port if stand and port == EMULATED else port)
            )
            for name, port in cfg.ports.items()
        }
        begin, end = _wall(devices, stand) if real else _simulated(devices, stand)
        session = Session(devices, cfg.safety, begin, end)
        tracked = "tracker" in real
        seen = {name: (name in real) == tracked for name in ("platform", "treadmill")}
        found = measure(session, cfg.calibration, seen, say)
        identities = {name: identity(device, cfg.ports[name]) for name, device in devices.items()}
    return Calibration(time.time() if now is None else now, identities, figures(cfg), **found)


def virtual_calibration(cfg: HilConfig) -> Calibration:
    """Of a rig that is emulated as a whole: the same procedure, shorter, in simulated time.

    The time of the result is 0: such a rig is calibrated anew by every program; runs of one program share it.
    """
    brief = replace(cfg.calibration, average=0.2, platform_step=0.0, belt_travel=0.15)
    return _virtual_calibration(
        cfg.platform, cfg.treadmill, cfg.counterweight, cfg.tracker, cfg.robot, cfg.safety, brief, cfg.seed
    )


@functools.lru_cache(maxsize=8)
def _virtual_calibration(*parts: Any) -> Calibration:
    from matrix_hil.operate.cli import HilConfig

    names = ("platform", "treadmill", "counterweight", "tracker", "robot", "safety", "calibration", "seed")
    return calibrate(HilConfig(**dict(zip(names, parts, strict=True))), lambda text: None, now=0.0)


def _simulated(
    devices: Mapping[str, SerialDevice], stand: CalibrationStand | None
) -> tuple[Callable[[], float], Callable[[float], None]]:
    assert stand is not None
    links = stand.lockstep(devices)
    cycles = 0

    def begin() -> float:
        nonlocal cycles
        cycles += 1
        now = cycles * PERIOD
        stand.poll(now)
        for link in links.values():
            link.poll_device(now)
        return now

    return begin, lambda now: _poll(devices.values(), now)


def _wall(
    devices: Mapping[str, SerialDevice], stand: CalibrationStand | None
) -> tuple[Callable[[], float], Callable[[float], None]]:
    began = time.monotonic()
    due = 0.0

    def begin() -> float:
        nonlocal due
        time.sleep(max(0.0, due - (time.monotonic() - began)))
        now = time.monotonic() - began
        due = max(due + PERIOD, now)
        if stand is not None:
            stand.poll(now)
        _poll(devices.values(), now)
        return now

    return begin, lambda now: _poll(devices.values(), now)


def _poll(devices: Any, now: float) -> None:
    for device in devices:
        device.poll(now)


def terrain_check(cfg: HilConfig) -> dict[str, Any]:
    """Connect to Unreal, or to a stand-in, and find out how its depth is read.

    Raises:
        LunarError: nothing answers, or what is seen contradicts itself or the config.
    """
    with ExitStack() as stack:
        twin = cfg.twin
        if twin.host == EMBEDDED:
            server = stack.enter_context(TwinServer(make_terrain(cfg.terrain, cfg.seed), ServerConfig(port=0)))
            twin = replace(twin, host="127.0.0.1", port=server.port)
        found = stack.enter_context(TwinClient(twin)).calibration
        assert found is not None
        return {
            "unit": found.unit, "kind": found.kind, "height_m": found.ground, "disagreement_m": found.disagreement,
        }  # fmt: skip


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar hil calibrate``."""
    from matrix_hil.operate.cli import HilConfig
    from sim.config import parse

    cfg = parse(HilConfig, argv, prog="lunar hil calibrate", default="hil/virtual.yaml")
    console = Console()
    console.print("harness off the hook, robot aside, marker on the belt's centre; machines will move slowly")
    with console.status("terrain") as line:
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
