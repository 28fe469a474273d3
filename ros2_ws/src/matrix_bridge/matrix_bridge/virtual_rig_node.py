"""The emulated rig in wall time: machines on pseudo-terminals joined by physics, reached through links in a folder."""

from __future__ import annotations

import sys
from contextlib import ExitStack

from matrix_bridge.node import ERROR, OK, BridgeNode, Health, Parameter, run
from matrix_bridge.places import FULL_PACE_CORES, SLOW_PACE, lines, rig_setup, usable_cores
from matrix_hil.link import HostClock, PollThread
from matrix_hil.log import Pose
from matrix_hil.virtual.rig import VirtualMachines


class VirtualRigNode(BridgeNode):
    """Configure opens the lines, activate lets time run, deactivate stops it."""

    prompt = True
    parameters = (
        Parameter("config", "", "YAML file of the rig; configs/hil/virtual.yaml when empty."),
        Parameter("truth_rate", 50.0, "Hz. Of the true pose on rig/base_pose.", (1.0, 200.0)),
    )

    def __init__(self) -> None:
        super().__init__("virtual_rig")
        self._machines: VirtualMachines | None = None
        self._lines, self._threads = ExitStack(), ExitStack()
        self._seen: object = None

    def configure(self) -> None:
        """Make machines and links."""
        cfg = rig_setup(self.value("config"), "virtual")
        self.clock = HostClock(cfg.pace)
        self.get_logger().info(
            f"pace {cfg.pace:g}: the rig lives {cfg.pace:g} s per second of the wall; unless its configuration says one"
            f" it is 1 from {FULL_PACE_CORES} cores on, else {SLOW_PACE:g}, and here are {usable_cores()}"
        )
        self._machines = VirtualMachines(cfg, cfg.seed)
        self._machines.on_wall(self.clock)
        self._lines.enter_context(lines(self._machines.ports, cfg.pace))
        self._pose = self.sender("rig/base_pose")

    def activate(self) -> None:
        """Start physics and firmware."""
        machines = self._machines
        assert machines is not None
        self._threads.enter_context(PollThread("virtual-rig", self.guarded(machines.poll), machines.tick, self.clock))
        self.keep(self.destroy_timer, self.timer(1.0 / self.value("truth_rate"), self._show))

    def deactivate(self) -> None:
        """Stop time; the lines stay open and silent."""
        self._threads.close()

    def release(self) -> None:
        """Take the lines away."""
        self._lines.close()
        if self._machines is not None:
            self._machines.close()
            self._machines = None

    def health(self) -> Health:
        """What each machine really does, whatever anybody was told."""
        m = self._machines
        assert m is not None
        values: dict[str, object] = {f"{name} fault": e.fault for name, e in m.emulators.items()}
        values["robot mode"] = m.robot.actuated.mode
        values["rope brake"] = m.counterweight.actuated.brake
        values["belt moves"] = abs(m.treadmill.actuated.speed) > 0.01
        values["platform moves"] = bool((abs(m.platform.actuated.velocity) > 0.005).any())
        faulty = [name for name, e in m.emulators.items() if e.fault]
        text = f"{', '.join(faulty)}: made itself safe" if faulty else "no machine reports a fault"
        return Health(ERROR if faulty else OK, text, values)

    def _show(self) -> None:
        if self._machines is None or not self.active:
            return
        now, truth = self.now(), self._machines.outputs
        self._pose(Pose(now, truth.base_position, truth.base_quaternion), now)
        seen = self.health()
        if seen != self._seen:  # a change is told at once, not within a second
            self._seen = seen
            self.diagnose()


def main(args: list[str] | None = None) -> int:
    """Entry of ``virtual_rig_node``."""
    return run(VirtualRigNode, args)


if __name__ == "__main__":
    sys.exit(main())
