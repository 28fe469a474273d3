"""A driver's node when DDS does not answer: a call into it may block for seconds after a peer was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.wall_clock

SCRIPT = """
import sys
import threading
import time

import rclpy
from matrix_bridge.driver_node import DriverNode
from matrix_bridge.places import lines, rig_setup

from matrix_hil.link import HostClock, PollThread
from matrix_hil.messages import TreadmillCommand
from matrix_hil.virtual.rig import VirtualMachines

told, answer = threading.Event(), threading.Event()


class Blocked(DriverNode):
    def _publisher_of(self, machine, weight):
        def publish(state, now):
            told.set()
            answer.wait()  # as a write to the shared memory of a process that is dead

        return publish


cfg = rig_setup(sys.argv[1], "virtual")
clock = HostClock(cfg.pace)
machines = VirtualMachines(cfg, cfg.seed)
machines.on_wall(clock)
belt = machines.treadmill


def until(seen):
    while not seen():
        time.sleep(0.01)


rclpy.init(args=sys.argv)
with lines(machines.ports, cfg.pace), PollThread("rig", machines.poll, machines.tick, clock):
    node = Blocked()
    node.trigger_configure()
    node.trigger_activate()
    told.wait()
    until(lambda: node._watched.device.state is not None)
    while belt.last_command is None:
        node._watched.send(TreadmillCommand(clock(), 0.4), clock())
        time.sleep(0.01)
    until(lambda: belt.last_command.speed == 0.0)  # nobody commands any more
    print("fault", belt.fault)
    end = threading.Thread(target=node.trigger_deactivate)
    end.start()
    until(lambda: not node._watched.device.stats.connected)
    print("closed, DDS blocked:", end.is_alive() and not answer.is_set())
    answer.set()
    end.join()
    node.close()
machines.close()
"""


def test_the_watchdog_of_a_driver_does_not_wait_for_dds(ros: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "rig.yaml"
    config.write_text("pace: 0.25\ntreadmill: {line: {watchdog: 0.5}}\n")
    more = ["-p", "machine:=treadmill", "-p", f"config:={config}"]
    line = [sys.executable, "-c", SCRIPT, str(config), "--ros-args", *more]
    result = subprocess.run(line, env=ros, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["fault 0", "closed, DDS blocked: True"], result.stderr
