"""``lunar play``: a policy on one robot, live in a browser on this computer."""

from __future__ import annotations

import contextlib
import os
import queue
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from policy.play.controls import Ground, Push, Restart
from policy.play.live_robot import LiveRobot
from policy.play.page import Page
from policy.runtime.onnx_policy import OnnxPolicy
from sim.config import parse
from sim.mdp.observations import NoiseConfig
from sim.terminal import Terminal
from sim.terrain.generators import TerrainConfig, make_terrain

_LATE = 0.2  # s behind the clock, beyond which the lost time is let go
_RATE_PERIOD = 1.0  # s over which the real-time factor is measured


@dataclass(frozen=True)
class PlayConfig:
    """Watch a policy hop in a browser, live: steer it, push it, change gravity and ground. Ctrl-C ends it."""

    policy: str = "policy/zoo/dual"
    """Folder with policy.onnx and card.json."""
    terrain: str = "mare"
    """Preset in configs/terrain/ to begin with."""
    level: int = 9
    """0 to 9, its difficulty."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Of the sensors, by default as in training."""
    seed: int = 0
    """Of ground, places and noise."""
    port: int = 8080
    """Of the page on 127.0.0.1; when it is taken, the next free one. 0 takes any."""
    browser: bool = True
    """Open the page in the desktop's browser, where there is one."""


class Session:
    """A robot and its page; a context manager.

    Raises:
        LunarError: the policy does not exist or fits no robot here, or there is no such terrain.
    """

    def __init__(self, cfg: PlayConfig) -> None:
        self._cfg = cfg
        policy = OnnxPolicy(cfg.policy)
        terrain = make_terrain(TerrainConfig(kind=cfg.terrain, level=cfg.level), cfg.seed)
        self.robot = LiveRobot(policy, terrain, cfg.noise, policy.card.gravity, cfg.seed)
        self.page = Page(policy.card, terrain, cfg.terrain, cfg.level, self.robot.dt, cfg.port)
        self._gravity = policy.card.gravity

    def tick(self, rate: float | None = None) -> None:
        """Do what was asked for, one control step, and show it. ``rate`` is the real-time factor, once known."""
        self._act()
        controls = self.page.controls
        if controls.gravity != self._gravity:
            self._gravity = controls.gravity
            self.robot.set_gravity(self._gravity)
        self.moment = moment = self.robot.step(controls.command)
        doing = "**fell** and starts again" if moment.lying else "hopping" if moment.tally.hops else "starting"
        self.page.status.show(doing if rate is None else f"{doing} · {rate:.2f} × real time")
        self.page.show(moment)

    def run(self) -> None:
        """Tick in real time until Ctrl-C."""
        dt = self.robot.dt
        due = since = time.monotonic()
        ticks, rate = 0, None
        while True:
            self.tick(rate)
            ticks += 1
            due += dt
            now = time.monotonic()
            if now - since >= _RATE_PERIOD:
                rate, ticks, since = ticks * dt / (now - since), 0, now
            if now < due:
                time.sleep(due - now)
            elif now > due + _LATE:
                due = now

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()

    def _act(self) -> None:
        ground: Ground | None = None
        with contextlib.suppress(queue.Empty):
            while True:
                match self.page.controls.actions.get_nowait():
                    case Push(impulse):
                        self.robot.push(np.array(impulse))
                    case Restart():
                        self.robot.restart()
                    case Ground() as ground:  # a slider that moves asks for many: the last counts
                        pass
        if ground is not None:
            self.page.status.show(f"making {ground.kind} …")
            terrain = make_terrain(TerrainConfig(kind=ground.kind, level=ground.level), self._cfg.seed)
            self.robot.set_terrain(terrain)
            self.page.set_terrain(terrain)


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar play``."""
    cfg = parse(PlayConfig, argv, "lunar play")
    console = Terminal()
    with Session(cfg) as session, contextlib.suppress(KeyboardInterrupt):
        url = session.page.url
        console.print(f"{url} shows {cfg.policy}; Ctrl-C ends it", soft_wrap=True)
        if cfg.browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(url)
        session.run()
