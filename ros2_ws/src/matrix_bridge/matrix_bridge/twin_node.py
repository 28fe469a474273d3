"""Reads the ground of the virtual world around the robot's place in it, and publishes it as patches of height."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

import numpy as np

from matrix_bridge.node import OK, RIG, WARN, BridgeNode, Health, Parameter, run
from matrix_bridge.places import check_same_pace, rig_setup
from matrix_hil.link import HostClock
from matrix_hil.link.threads import before_others
from matrix_hil.run.ground import reachable
from matrix_hil.twin import TwinClient

_SMOOTH = 0.2  # s over which the robot's speed over the ground is averaged


class TwinNode(BridgeNode):
    """Configure connects to Unreal, or starts the stand-in; active, it asks for the ground ahead of the robot."""

    parameters = (
        Parameter("config", "", "YAML file of the rig; configs/hil/virtual.yaml when empty."),
        RIG,
        Parameter("rate", 20.0, "Hz. How often a new patch is looked for.", (1.0, 100.0)),
    )

    def __init__(self) -> None:
        super().__init__("twin")
        self._stack = ExitStack()
        self._client: TwinClient | None = None
        self._place: tuple[float, np.ndarray] | None = None
        self._velocity = np.zeros(2)
        self._sent = -1.0

    def configure(self) -> None:
        """Connect and calibrate."""
        cfg = rig_setup(self.value("config"), self.value("rig"))
        check_same_pace(cfg)
        self.clock = HostClock(cfg.pace)
        twin = self._stack.enter_context(reachable(cfg))
        self._client = self._stack.enter_context(TwinClient(twin, self.now))
        self._place = (self.now(), np.array([cfg.sync.start_x, cfg.sync.start_y]))
        self._patch = self.sender("twin/patch")
        self.receive("world/base_pose", self._on_pose)

    def activate(self) -> None:
        """Start to look."""
        self.keep(self.destroy_timer, self.timer(1.0 / self.value("rate"), self._look))

    def release(self) -> None:
        """Disconnect."""
        self._client = None
        self._stack.close()

    def health(self) -> Health:
        """Age of the newest patch and what Unreal answers."""
        assert self._client is not None
        stats, patch = self._client.stats, self._client.latest()
        age = float("inf") if patch is None else self.now() - patch.time
        values = {"patch age (s)": f"{age:.3f}", "requests": stats.requests, "errors": stats.errors}
        values |= {"latency (s)": f"{stats.last_latency:.4f}", "last error": stats.last_error}
        late = self.active and age > 1.0
        return Health(WARN if late else OK, f"no ground: {stats.last_error}" if late else "ground in sight", values)

    def _on_pose(self, fields: dict[str, Any], stamp: float) -> None:
        place = fields["position"][:2]
        if not np.isfinite(place).all():
            return  # anybody's: the speed that follows from it would be none for ever
        if self._place is not None and 0.0 < (dt := stamp - self._place[0]) < 1.0:
            share = min(1.0, dt / _SMOOTH)
            self._velocity += share * ((place - self._place[1]) / dt - self._velocity)
        self._place = (stamp, place)

    def _look(self) -> None:
        if self._client is None or self._place is None or not self.active:
            return
        (x, y), (vx, vy) = self._place[1].tolist(), self._velocity.tolist()
        self._client.request(x, y, vx, vy)
        patch = self._client.latest()
        if patch is not None and patch.time != self._sent:
            self._sent = patch.time
            self._patch(patch, self.now())


def main(args: list[str] | None = None) -> int:
    """Entry of ``twin_node``."""
    before_others()
    return run(TwinNode, args)


if __name__ == "__main__":
    sys.exit(main())
