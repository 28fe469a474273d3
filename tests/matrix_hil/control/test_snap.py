"""A stop at any phase of a hop: the drum pays nothing out, and the rope does not pull harder than 3 M g."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from matrix_hil.control.counterweight import TrimConfig, WinchTrim, wanted_tension
from sim.rig.config import RigConfig
from sim.rig.signals import RigInputs
from sim.rig.virtual_rig import VirtualRig
from sim.spec.gravity import EARTH, MOON

TICK = 0.001  # s
PHASE = 0.08  # s between the moments at which the rig is stopped
AFTER = 0.5  # s that each stop is watched


class Hop:
    """A robot thrown up on the trimmed rig that lands on its feet, until it stands."""

    def __init__(self, apex_gain: float) -> None:
        self.rig = VirtualRig(RigConfig(), seed=1)
        rope = self.rig.rope.parameters
        self.trim = WinchTrim(TrimConfig(), rope.inertia, rope.passive_force)
        self.force = 0.0
        self.rig.reset()
        height = float(self.rig.outputs().base_position[2]) + 0.01
        self.rig.reset(height=height, velocity=np.array([0.0, 0.0, math.sqrt(2 * MOON * apex_gain)]))

    def run(self, seconds: float) -> None:
        """Go on hopping."""
        for _ in range(round(seconds / TICK)):
            rope = self.rig.rope
            order = self.trim.step(wanted_tension(self.rig.mass), rope.tension, rope.speed, TICK)
            self.force += (order - self.force) * TICK / (0.01 + TICK)
            self.rig.step(RigInputs(winch_force=self.force), TICK)

    def stop(self) -> tuple[float, float]:
        """Highest tension (N) and greatest rope length beyond that at the stop (m), if it is stopped here.

        The brake closes; the robot holds for 30 ms, stands, and damps from 100 ms on, as the supervisor has it.
        """
        rig, rope = self.rig, self.rig.rope
        size = mujoco.mj_stateSize(rig.model, mujoco.mjtState.mjSTATE_INTEGRATION)
        state = np.zeros(size)
        mujoco.mj_getState(rig.model, rig.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        saved = (rope.length, rope.speed, rope.tension)
        held, tensions, lengths = rig.outputs().joint_position, [], []
        for k in range(round(AFTER / TICK)):
            mode = "hold" if k < 30 else "stand" if k < 100 else "damp"
            rig.step(RigInputs(winch_force=self.force, brake=True, mode=mode, targets=held), TICK)
            tensions.append(rope.tension)
            lengths.append(rope.length)
        mujoco.mj_setState(rig.model, rig.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        rope.length, rope.speed, rope.tension = saved
        return max(tensions), max(lengths) - saved[0]


def test_a_stop_at_any_phase_of_a_high_hop_is_soft_and_pays_nothing_out() -> None:
    apex_gain = 0.5
    hop, stops = Hop(apex_gain), []
    for _ in range(round((2.0 * math.sqrt(2 * apex_gain / MOON) + 0.4) / PHASE)):
        stops.append(hop.stop())
        hop.run(PHASE)
    snap, paid_out = np.array(stops).T
    assert paid_out.max() <= 0.0
    assert snap.max() < 3.0 * hop.rig.mass * EARTH
    assert snap.max() > 1.5 * hop.rig.mass * EARTH  # some phase does hit hard: the test sees the worst of them


def test_a_rope_without_its_spring_would_snap_harder() -> None:
    """M g + v sqrt(stiffness M) at touch-down speed."""
    rig = VirtualRig(RigConfig(rope_stiffness=1e4), seed=1)
    rig.reset(height=0.8, velocity=np.array([0.0, 0.0, -1.27]))
    tension = 0.0
    for _ in range(400):
        rig.step(RigInputs(brake=True), TICK)
        tension = max(tension, rig.rope.tension)
    assert tension > 3.0 * rig.mass * EARTH
