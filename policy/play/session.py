"""A robot and its page, ticking in real time."""

from __future__ import annotations

import contextlib
import math
import queue
import time

import numpy as np

from policy.networks.robot import on_robot
from policy.play.choose import best_policy
from policy.play.config import PlayConfig
from policy.play.controls import Ground, Push, Restart
from policy.play.live_robot import LiveRobot
from policy.play.page import Page
from policy.play.readouts import doubt_text
from policy.runtime.onnx_policy import OnnxPolicy
from policy.runtime.switch import SwitchPolicy
from policy.traverse.pilot import Pilot
from policy.traverse.plan import load_plan
from sim.errors import LunarError
from sim.terrain.generators import TerrainConfig, make_terrain

_LATE = 0.2  # s behind the clock, beyond which the lost time is let go
_RATE_PERIOD = 1.0  # s over which the real-time factor is measured


class Session:
    """A robot and its page; a context manager.

    Raises:
        LunarError: the policy does not exist or fits no robot here, or there is no such terrain.
    """

    def __init__(self, cfg: PlayConfig) -> None:
        self._cfg = cfg
        if cfg.traverse and cfg.robot:
            raise LunarError("traverse and robot: a plan is for its policies' own robot; leave one out")
        self.pilot = Pilot(load_plan(cfg.traverse), "warn") if cfg.traverse else None
        """What steers the robot along a plan, while it does."""
        self.shows: str
        """What is shown, in words for the user."""
        policy: OnnxPolicy | SwitchPolicy
        kind, level, place = cfg.terrain, cfg.level, None
        if self.pilot is None:
            chosen, why = (cfg.policy, "") if cfg.policy else best_policy(kind)
            policy = OnnxPolicy(chosen, monitor="warn")
            self.shows = f"{chosen}, {why}" if why else chosen
            policy.card = on_robot(policy.card, cfg.robot)
            terrain = make_terrain(TerrainConfig(kind=kind, level=level), cfg.seed)
        else:
            plan, policy = self.pilot.plan, self.pilot.policy
            self.shows = f"the plan {cfg.traverse}"
            kind, level, terrain = plan.terrain, plan.level, plan.ground()
            way = plan.points[1] - plan.points[0]
            place = (*plan.points[0].tolist(), math.atan2(way[1], way[0]))
        self.robot = LiveRobot(policy, terrain, cfg.noise, policy.card.gravity, cfg.seed, place)
        self.page = Page(policy.card, terrain, kind, level, self.robot.dt, cfg.port)
        if self.pilot is not None:
            self.page.draw_way(plan.points, plan.choice)
        self._gravity = policy.card.gravity

    def tick(self, rate: float | None = None) -> None:
        """Do what was asked for, one control step, and show it. ``rate`` is the real-time factor, once known."""
        self._act()
        controls = self.page.controls
        if controls.gravity != self._gravity:
            self._gravity = controls.gravity
            self.robot.set_gravity(self._gravity)
        self.robot.broken = controls.broken
        robot, pilot = self.robot, self.pilot
        command = controls.command if pilot is None else pilot.command(robot.position, robot.yaw, robot.loaded)
        self.moment = moment = robot.step(command)
        doing = "**fell** and starts again" if moment.lying else "hopping" if moment.tally.hops else "starting"
        pace = "" if rate is None else f" · {rate:.2f} × real time"
        pace += "" if pilot is None else f" · {pilot.text}"
        watched = self.robot.policy.monitor is not None
        self.page.status.show(f"{doing}{pace}{doubt_text(moment.verdict) if watched else ''}")
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
            self.pilot = None
            self.robot.wander()
            self.page.status.show(f"making {ground.kind} …")
            terrain = make_terrain(TerrainConfig(kind=ground.kind, level=ground.level), self._cfg.seed)
            self.robot.set_terrain(terrain)
            self.page.set_terrain(terrain)
