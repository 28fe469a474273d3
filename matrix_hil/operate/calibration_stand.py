"""What an emulated rig measures while it is calibrated: open hook, marker on the belt, robot aside. No physics."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from matrix_hil.link import SerialDevice
from matrix_hil.virtual.emulator import Emulator, Lockstep
from matrix_hil.virtual.machines import CounterweightEmulator, PlatformEmulator, RobotEmulator, TrackerEmulator
from matrix_hil.virtual.rig import treadmill_emulator
from sim.spec.joints import NOMINAL_POSE

if TYPE_CHECKING:
    from matrix_hil.operate.cli import HilConfig

_LEVEL = np.array([1.0, 0.0, 0.0, 0.0])
_DOWN = np.array([0.0, 0.0, -1.0])


class CalibrationStand:
    """Five emulators with the figures of ``cfg``. ``poll(now)`` moves platform and belt, the marker rides on them.

    Their errors are those of the emulated rig itself (``counterweight.zero``, ``treadmill.scale``, ``tracker.origin``).
    """

    def __init__(self, cfg: HilConfig, seed: int) -> None:
        self.platform = PlatformEmulator(cfg.platform, seed + 1)
        self.treadmill = treadmill_emulator(cfg.treadmill, seed + 2)
        self.counterweight = CounterweightEmulator(cfg.counterweight, seed + 3)
        self.tracker = TrackerEmulator(cfg.tracker, seed + 4)
        self.robot = RobotEmulator(cfg.robot, seed + 5)
        self._load, self._height = cfg.calibration.load, cfg.calibration.marker_height
        self._tick = cfg.robot.line.tick
        self._links: dict[str, Lockstep] = {}
        self._time: float | None = None

    @property
    def emulators(self) -> dict[str, Emulator]:
        """By device name."""
        return {
            "platform": self.platform,
            "treadmill": self.treadmill,
            "counterweight": self.counterweight,
            "tracker": self.tracker,
            "robot": self.robot,
        }

    def lockstep(self, devices: Mapping[str, SerialDevice]) -> dict[str, Lockstep]:
        """From now on emulators and drivers wait for each other's bytes."""
        self._links = {name: Lockstep(devices[name], emulator) for name, emulator in self.emulators.items()}
        return self._links

    def poll(self, now: float) -> None:
        """Move everything up to ``now``, s."""
        if self._time is None:
            self._time = now - self._tick
        while self._time + self._tick <= now + 1e-9:
            self._time += self._tick
            ride = np.array([-self.treadmill.actuated.position, 0.0, self._height])
            self.tracker.measure(self.platform.actuated.pose[:3] + ride, _LEVEL)
            self.counterweight.measure(self._load, 1.0, 0.0)
            self.robot.measure(NOMINAL_POSE, np.zeros(12), np.zeros(3), _DOWN, np.zeros(4))
            for name, emulator in self.emulators.items():
                if name in self._links:
                    self._links[name].poll_emulator(self._time)
                else:
                    emulator.poll(self._time)

    def __enter__(self) -> CalibrationStand:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for emulator in self.emulators.values():
            emulator.close()
