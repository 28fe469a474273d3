"""Virtual rig and stand-in Unreal beside this process: bytes both ways, the truth by shared memory, a clean end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from matrix_hil.config import RigSetup
from matrix_hil.link import DEVICES, TREADMILL, HostClock, SerialDevice
from matrix_hil.link.clock import HOST
from matrix_hil.messages import TreadmillCommand
from matrix_hil.twin import TwinClient, TwinConfig, height_at
from matrix_hil.virtual.process import Beside, RigProcess, TwinProcess
from policy.runtime.starter import ENDS
from sim.config import ROOT
from sim.errors import LunarError
from sim.rig.config import RigConfig
from sim.terrain.generators import TerrainConfig, make_terrain

pytestmark = pytest.mark.wall_clock

FORGETFUL = """
import sys
from tests.matrix_hil.virtual.test_beside import wait_for_the_end
from matrix_hil.virtual.process import Beside

if __name__ == "__main__":
    beside = Beside("forgotten", wait_for_the_end).__enter__()
    print(beside.process.pid, flush=True)
    sys.exit(3)
"""


def wait_for_the_end(line: Connection) -> None:
    line.send(("here",))
    line.poll(None)


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


def test_what_ends_a_whole_group_of_processes_leaves_it_until_the_bridge_is_done() -> None:
    with Beside("patient", wait_for_the_end) as beside:
        for number in ENDS:
            os.kill(beside.process.pid or 0, number)
    assert beside.process.exitcode == 0


def test_a_bridge_that_ends_without_a_word_takes_it_along(tmp_path: Path) -> None:
    script = tmp_path / "forgetful.py"
    script.write_text(FORGETFUL)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120.0
    )
    assert result.returncode == 3, result.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(result.stdout), 0)
