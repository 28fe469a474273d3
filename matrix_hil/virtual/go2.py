"""The emulated robot as a Go2: the same joints, but it says LowState and obeys LowCmd."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from matrix_hil.config import Robot
from matrix_hil.link.go2 import GO2, records
from matrix_hil.messages import RobotCommand
from matrix_hil.virtual.emulator import BITS_PER_BYTE
from matrix_hil.virtual.machines import RobotEmulator
from policy.runtime.unitree import LOW_CMD, LOW_STATE, fill_low_state, joint_values, seal, why_refused
from sim.spec.joints import NOMINAL_POSE

_BAUD = 100_000_000  # bit/s, of its Ethernet


class Go2Emulator(RobotEmulator):
    """It reports no fault and latches none: it goes limp when LowCmd stops coming, and obeys the next one.

    That a Go2 goes limp by itself is a guess. Foot forces are in newtons, each a count; heading, joint torque and
    acceleration, of which the rig knows nothing, are zero.
    """

    spec = GO2
    transmit_buffer = 8192

    def __init__(self, cfg: Robot, seed: int, stance: np.ndarray = NOMINAL_POSE) -> None:
        super().__init__(replace(cfg, line=replace(cfg.line, baud=_BAUD)), seed, stance)
        self.refused = ""
        """Why the newest command was not obeyed."""
        self._bytes = bytearray()

    def _feed(self, data: bytes) -> None:
        self._bytes += data
        found, _, _ = records(self._bytes, LOW_CMD)
        for record in found:
            self._line_in = max(self._line_in, self._polled) + LOW_CMD.itemsize * BITS_PER_BYTE / self.line.baud
            self.refused = why_refused(record)
            if not self.refused and not self._estop_input:
                v = joint_values(record)
                kp, kd = float(v["kp"].max()), float(v["kd"].max())
                self._take(RobotCommand(self._arrival(), v["q"], kp, kd, "run" if kp > 0.0 else "damp"))

    def _trip(self, bit: int) -> None:
        self._queue.clear()
        self._heard = self._commanded = None
        self._enter("damp")

    def _report(self, now: float) -> None:
        if now + 1e-9 < self._start_time + (self._states + 1) * self.spec.period:
            return
        self._states += 1
        position, velocity, turn, down, force = self._measured
        record = fill_low_state(
            np.zeros((), LOW_STATE),
            (position, velocity, np.zeros(12)),
            _upright(down),
            turn,
            np.zeros(3),
            force,
            tick=round(now * 1e3),
        )
        self._queue_out(seal(record).tobytes())


def _upright(down: np.ndarray) -> np.ndarray:
    """(4,) w, x, y, z of the shortest turn that gives the unit vector of gravity ``down`` (3,) in the base frame."""
    x, y, z = down
    if z > 1.0 - 1e-9:
        return np.array([0.0, 1.0, 0.0, 0.0])
    q = np.array([1.0 - z, -y, x, 0.0])
    return q / np.linalg.norm(q)
