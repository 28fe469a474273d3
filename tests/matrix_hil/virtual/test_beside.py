"""Virtual rig and stand-in Unreal beside this process: bytes both ways, the truth by shared memory, a clean end."""

from __future__ import annotations

import time

import numpy as np
import pytest

from matrix_hil.config import RigSetup
from matrix_hil.link import DEVICES, TREADMILL, HostClock, SerialDevice
from matrix_hil.link.clock import HOST
from matrix_hil.messages import TreadmillCommand
from matrix_hil.twin import TwinClient, TwinConfig, height_at
from matrix_hil.virtual.process import RigProcess, TwinProcess
from sim.errors import LunarError
from sim.rig import RigConfig
from sim.terrain.generators import TerrainConfig, make_terrain

pytestmark = pytest.mark.wall_clock


def test_machines_answer_and_obey_from_another_process() -> None:
    clock = HostClock(0.5, time.monotonic())
    with RigProcess(RigSetup(), 0, clock) as rig:
        assert set(rig.ports) == set(DEVICES)
        first = rig.truth()
        with SerialDevice(TREADMILL, rig.ports["treadmill"]) as belt:
            until = time.monotonic() + 20.0
            while time.monotonic() < until and (belt.state is None or belt.state.speed < 0.2):
                now = clock()
                belt.send(TreadmillCommand(now, 0.25))
                belt.poll(now)
                time.sleep(0.002)
            assert belt.state is not None and belt.state.speed >= 0.2
            # one clock in both processes: what is stamped there is no older here than it took to come
            assert 0.0 <= clock() - belt.state.time < 5.0
        last = rig.truth()
        assert np.linalg.norm(last.base_quaternion) == pytest.approx(1.0, abs=1e-6)
        assert (last.base_position != first.base_position).any()
    assert rig.process.exitcode == 0


def test_a_rig_that_cannot_be_built_says_why() -> None:
    broken = RigSetup(rig=RigConfig(robot="no-such-robot"))
    with pytest.raises(LunarError, match="no-such-robot"), RigProcess(broken, 0, HOST):
        pass


def test_ground_comes_from_another_process() -> None:
    with TwinProcess(TerrainConfig(kind="rough", size=6.0), 3) as server:
        cfg = TwinConfig(host="127.0.0.1", port=server.port, timeout=30.0, deadline=30.0)
        with TwinClient(cfg) as twin:
            patch = twin.fetch(0.5, -0.3, 0.0)
    true = make_terrain(TerrainConfig(kind="rough", size=6.0), 3)
    assert height_at(patch, 0.5, -0.3) == pytest.approx(float(true.height(np.array(0.5), np.array(-0.3))), abs=0.01)
    assert server.process.exitcode == 0
