"""What an emulated rig measures while it is calibrated: open hook, marker on the belt, robot aside. No physics."""

from __future__ import annotations

import numpy as np

from matrix_hil.config import HilConfig
from matrix_hil.virtual.rig import EmulatedMachines
from sim.spec.joints import NOMINAL_POSE

_LEVEL = np.array([1.0, 0.0, 0.0, 0.0])
_DOWN = np.array([0.0, 0.0, -1.0])


class CalibrationStand(EmulatedMachines):
    """Five emulators with the figures of ``cfg``; the marker rides on platform and belt.

    Their errors are those of the emulated rig itself (``counterweight.zero``, ``treadmill.scale``, ``tracker.origin``).
    """

    def __init__(self, cfg: HilConfig, seed: int) -> None:
        super().__init__(cfg, seed)
        self._load, self._height = cfg.calibration.load, cfg.calibration.marker_height

    def _measure(self) -> None:
        ride = np.array([-self.treadmill.actuated.position, 0.0, self._height])
        self.tracker.measure(self.platform.actuated.pose[:3] + ride, _LEVEL)
        self.counterweight.measure(self._load, 1.0, 0.0)
        self.robot.measure(NOMINAL_POSE, np.zeros(12), np.zeros(3), _DOWN, np.zeros(4))
