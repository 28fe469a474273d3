"""A serial adapter that is pulled and comes back under its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from matrix_hil.config import Treadmill
from matrix_hil.link import TREADMILL, SerialDevice
from matrix_hil.messages import TreadmillCommand
from matrix_hil.virtual.machines import TreadmillEmulator

TICK = 0.005


class Bench:
    """A driver, and a drive behind a name that may lead elsewhere later."""

    def __init__(self, name: Path) -> None:
        self.name, self.now = name, 0.0
        self.drive: TreadmillEmulator | None = None
        self.plug()
        self.device = SerialDevice(TREADMILL, str(name))

    def plug(self) -> None:
        self.drive = TreadmillEmulator(Treadmill(), 0)
        self.name.unlink(missing_ok=True)
        self.name.symlink_to(self.drive.port)

    def pull(self) -> None:
        assert self.drive is not None
        self.drive.close()
        self.drive = None

    def run(self, ticks: int = 200) -> int:
        """States that came."""
        fresh = 0
        for _ in range(ticks):
            self.now += TICK
            if self.drive is not None:
                self.drive.poll(self.now)
            fresh += self.device.poll(
                self.now, wait=0.02 if self.drive is not None and self.device.stats.connected else 0.0
            )
            self.device.send(TreadmillCommand(self.now, 0.1))
        return fresh


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "tty")
    with bench.device:
        yield bench
    if bench.drive is not None:
        bench.pull()


def test_a_reset_opens_a_line_that_is_there_again(bench: Bench) -> None:
    assert bench.run() > 100
    bench.pull()
    assert bench.run() == 0 and not bench.device.stats.connected
    bench.device.reset()
    assert bench.run(20) == 0 and "cannot be opened" in bench.device.stats.error, "it is not there yet"
    bench.plug()
    assert bench.run(20) == 0, "nothing is opened before the operator says so"
    bench.device.reset()
    assert bench.run() > 100 and bench.device.stats.connected and not bench.device.stats.error
    assert bench.drive is not None and bench.drive.actuated.speed > 0.05


def test_a_reset_does_not_open_a_line_that_was_closed(bench: Bench) -> None:
    bench.run()
    bench.device.disconnect()
    bench.device.reset()
    assert not bench.device.stats.connected
