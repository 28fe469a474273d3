"""Resets and randomisation of robots, and pushes while they run."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sim.errors import LunarError
from sim.mdp.config import PushConfig, RandomisationConfig, ResetConfig
from sim.physics.base import Physics
from sim.physics.scene import PhysicsConfig
from sim.spec.gravity import EARTH
from sim.tensors import constant

CLEARANCE = 0.02  # m between the feet of a standing start and the ground
UNFAIR = 1e3  # m, more than any ground rises


class Pushes:
    """Who of ``count`` robots is pushed when.

    Raises:
        LunarError: ranges that make no sense.
    """

    IN_STANCE, IN_FLIGHT = 1, 2

    def __init__(self, cfg: PushConfig, count: int, dt: float, device: torch.device) -> None:
        for name, (low, high) in (("impulse", cfg.impulse), ("period", cfg.period)):
            if not 0.0 <= low <= high:
                raise LunarError(f"pushes.{name}: [{low}, {high}] is not a range from 0 on")
        self.cfg = cfg
        self.dt = dt
        self.enabled = cfg.impulse[1] > 0.0
        self.factor = 1.0
        """1. Of the impulses, which training stages change."""
        self.kind = torch.zeros(count, dtype=torch.uint8, device=device)
        """(N,) of the push in the newest control step: IN_STANCE, IN_FLIGHT, or 0 for none."""
        self._wait = torch.zeros(count, device=device)
        self._next = torch.zeros(count, dtype=torch.uint8, device=device)

    def start(self, ids: Tensor, generator: torch.Generator) -> None:
        """New trials of robots ``ids``."""
        count = (len(ids),)
        self.kind[ids] = 0
        self._wait[ids] = _uniform(self.cfg.period, count, generator)
        in_flight = _uniform((0.0, 1.0), count, generator) < 0.5
        self._next[ids] = self.IN_STANCE + in_flight.to(torch.uint8)

    def draw(self, in_flight: Tensor, generator: torch.Generator) -> Tensor:
        """Forces (N, 2) N over the coming control step for robots that are ``in_flight`` (N,) or not."""
        count = self._wait.shape
        impulse, direction, wait = (
            _uniform(limits, count, generator) for limits in (self.cfg.impulse, (0.0, 2.0 * math.pi), self.cfg.period)
        )
        self._wait -= self.dt
        phase = self.IN_STANCE + in_flight.to(torch.uint8)
        hit = (self._wait <= 0.0) & (phase == self._next)
        self.kind = self._next * hit
        self._wait = torch.where(hit, wait, self._wait)
        self._next = torch.where(hit, self.IN_STANCE + self.IN_FLIGHT - self._next, self._next)
        force = hit * self.factor * impulse / self.dt
        return torch.stack([force * direction.cos(), force * direction.sin()], dim=1)


def reset_states(
    cfg: ResetConfig, physics: Physics, level: Tensor, generator: torch.Generator, places: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Start states: qpos (n, 19) and qvel (n, 18), robots spread with any heading over the maps ``level`` (n,), or put
    at ``places`` (n, 3), x and y in m and yaw in rad."""
    count, device = len(level), generator.device
    qpos = torch.zeros(count, 19, device=device)
    qvel = torch.zeros(count, 18, device=device)
    yaw = _uniform((-math.pi, math.pi), (count,), generator)
    if places is not None:
        qpos[:, :2], yaw = places[:, :2], places[:, 2]
    elif not physics.terrain.is_flat:
        qpos[:, :2] = _places(cfg, physics, level, yaw, generator)
    nominal = constant(physics.robot.nominal_pose, device)
    qpos[:, 7:] = nominal + _uniform((-cfg.joint_noise, cfg.joint_noise), (count, 12), generator)
    ground = physics.terrain_height(qpos[:, None, :2] + _turned(physics.robot.hips, yaw), level).amax(1)
    air = _uniform((0.0, 1.0), (count,), generator) < cfg.air_fraction
    above = air * _uniform(cfg.air_height, (count,), generator)
    qpos[:, 2] = ground + physics.robot.standing_height + CLEARANCE + above
    lean = _uniform((-cfg.tilt_noise, cfg.tilt_noise), (2, count), generator)
    if cfg.trouble_fraction:
        trouble = _uniform((0.0, 1.0), (count,), generator) < cfg.trouble_fraction
        kneels = trouble & (_uniform((0.0, 1.0), (count,), generator) < 0.5)
        lean = torch.where(trouble, _uniform((-cfg.trouble_tilt, cfg.trouble_tilt), (2, count), generator), lean)
        qvel[:, 3:6] = trouble[:, None] * _uniform((-cfg.trouble_spin, cfg.trouble_spin), (count, 3), generator)
        qpos[:, 7:] += kneels[:, None] * (constant(physics.robot.kneeling_pose, device) - nominal)
        sinks = kneels * (physics.robot.standing_height - physics.robot.kneeling_height)
        # the lower side must not start in the ground
        qpos[:, 2] += trouble * (float(np.linalg.norm(physics.robot.hips, axis=1).max()) * lean.abs().sum(0)) - sinks
    qpos[:, 3:7] = _turn(yaw, *lean)
    forward = air * _uniform(cfg.forward_speed, (count,), generator)
    qvel[:, 0], qvel[:, 1] = forward * torch.cos(yaw), forward * torch.sin(yaw)
    qvel[:, 2] = air * _uniform(cfg.air_speed, (count,), generator)
    return qpos, qvel


def _turn(yaw: Tensor, roll: Tensor, pitch: Tensor) -> Tensor:
    """(n, 4) quaternions w x y z: yaw, then pitch, then roll, each (n,) rad."""
    (cy, sy), (cp, sp), (cr, sr) = ((torch.cos(a / 2), torch.sin(a / 2)) for a in (yaw, pitch, roll))
    w, x = cy * cp * cr + sy * sp * sr, cy * cp * sr - sy * sp * cr
    return torch.stack([w, x, cy * sp * cr + sy * cp * sr, sy * cp * cr - cy * sp * sr], dim=1)


def _places(cfg: ResetConfig, physics: Physics, level: Tensor, yaw: Tensor, generator: torch.Generator) -> Tensor:
    """(n, 2) m, where to start in the middle of the maps ``level``: on fair ground, some before an obstacle."""
    shape = (len(level), cfg.candidates)
    x0, x1, y0, y1 = physics.terrain.extent
    x = _uniform((0.7 * x0 + 0.3 * x1, 0.3 * x0 + 0.7 * x1), shape, generator)
    y = _uniform((0.7 * y0 + 0.3 * y1, 0.3 * y0 + 0.7 * y1), shape, generator)
    places = torch.stack([x, y], dim=2)
    front = float(physics.robot.hips[:, 0].max())
    points = np.concatenate([physics.robot.hips, [[front + d, 0.0] for d in (0.3, 0.45, 0.6)]])
    looked_at = places[:, :, None] + _turned(points, yaw)[:, None]
    height = physics.terrain_height(looked_at.flatten(1, 2), level).unflatten(1, (cfg.candidates, len(points)))
    feet, ahead = height[..., :4], height[..., 4:].amax(2)
    spread = feet.amax(2) - feet.amin(2)
    seeks = _uniform((0.0, 1.0), (len(level), 1), generator) < cfg.obstacle_fraction
    first = torch.arange(cfg.candidates, 0, -1, device=yaw.device).expand(shape)
    merit = torch.where(seeks, ahead - feet.mean(2), first.float())
    merit = torch.where(spread <= cfg.fair_ground, merit + UNFAIR, -spread)
    return places[torch.arange(len(level), device=yaw.device), merit.argmax(1)]


def check_randomisation(cfg: RandomisationConfig, physics: PhysicsConfig) -> None:
    """Refuse ranges that no robot can have, and those that contradict ``physics``.

    Raises:
        LunarError: it names the range and what it may hold.
    """
    bounds = {
        "gravity": (0.0, math.inf), "friction": (0.0, math.inf), "rig_inertia": (0.0, math.inf),
        "rig_friction": (0.0, 0.99), "added_mass": (-math.inf, math.inf), "stiffness": (0.0, math.inf),
        "damping": (0.0, math.inf), "joint_friction": (0.0, math.inf), "joint_damping": (0.0, math.inf),
        "strength": (0.01, math.inf), "delay": (0.0, physics.control_dt),
    }  # fmt: skip
    _check_shares(cfg)
    for name, (least, most) in bounds.items():
        limits = getattr(cfg, name)
        where = f"randomisation.{name}" if limits else f"physics.{name}"
        low, high = limits or (getattr(physics, name),) * 2
        if not least <= low <= high <= most:
            raise LunarError(f"{where}: [{low}, {high}] is not a range within [{least}, {most}]")
        usual = getattr(physics, name, low)
        # a card tells the gravity, so that its range must always hold it; friction may be left at its default
        asked = name == "gravity" or (name == "friction" and usual != PhysicsConfig.friction)
        if asked and not low <= usual <= high:
            raise LunarError(f"{where}: [{low}, {high}] does not hold physics.{name} {usual}: change one of them")


def _check_shares(cfg: RandomisationConfig) -> None:
    for name in ("gravity", "joint_friction", "joint_damping"):
        share, given = getattr(cfg, f"{name}_share"), any(getattr(cfg, name) or ())
        if not 0.0 <= share <= 1.0:
            raise LunarError(f"randomisation.{name}_share is {share}; it is a share of the robots, 0 to 1")
        if share < 1.0 and not given:
            raise LunarError(f"randomisation.{name}_share is {share}, but {name} is no range to draw from")


def randomise(
    cfg: RandomisationConfig, physics: Physics, ids: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw what ``cfg`` lets differ, and soil, for robots ``ids`` (n,) just reset; return their friction (n,) and
    ``State.joint_rub`` (n, 2)."""
    count = (len(ids),)
    rub = torch.zeros(len(ids), 2, device=generator.device)
    if _varies(cfg.added_mass, 0.0) or any(cfg.com_offset):
        load = physics.robot.mass_ratio * _uniform(cfg.added_mass, count, generator)
        physics.set_payload(ids, load, *(_in_box(b, count, generator) for b in (cfg.added_mass_place, cfg.com_offset)))
    effective = _uniform(cfg.gravity or (physics.cfg.gravity,) * 2, count, generator)
    if cfg.gravity_share < 1.0:
        elsewhere = _uniform((0.0, 1.0), count, generator) < cfg.gravity_share
        effective = torch.where(elsewhere, effective, physics.cfg.gravity)
    on_rig = _uniform((0.0, 1.0), count, generator) < cfg.rig_share
    physics.set_gravity(ids, effective, on_rig * (EARTH - effective))
    if _varies(cfg.rig_inertia, 0.0) or _varies(cfg.rig_friction, 0.0):
        inertia, friction = (_uniform(limits, count, generator) for limits in (cfg.rig_inertia, cfg.rig_friction))
        physics.set_rope(ids, on_rig * inertia, on_rig * friction)
    friction = _uniform(cfg.friction or (physics.cfg.friction,) * 2, count, generator)
    physics.set_friction(ids, friction)
    motors = (cfg.stiffness, cfg.damping, cfg.strength, cfg.delay)
    if any(_varies(limits, usual) for limits, usual in zip(motors, (1.0, 1.0, 1.0, 0.0), strict=True)):
        physics.set_motors(ids, *(_uniform(limits, count, generator) for limits in motors))
    if _varies(cfg.joint_friction, 0.0) or _varies(cfg.joint_damping, 0.0):
        rubs = _uniform((0.0, 1.0), count, generator) < cfg.joint_friction_share
        coulomb, viscous = (_uniform(limits, count, generator) for limits in (cfg.joint_friction, cfg.joint_damping))
        if cfg.joint_damping_share < 1.0:
            viscous = viscous * (_uniform((0.0, 1.0), count, generator) < cfg.joint_damping_share)
        rub = torch.stack([rubs * coulomb, viscous], dim=1)
        size = physics.robot.torque_ratio
        physics.set_joints(ids, size * rub[:, 0], size * physics.robot.time_ratio * rub[:, 1])
    soil = physics.cfg.soil
    if soil.kind == "regolith":
        soft = torch.ones(count, device=generator.device)
        if soil.share < 1.0:
            soft = (_uniform((0.0, 1.0), count, generator) < soil.share).float()
        physics.set_soil(ids, soft * soil.spread ** _uniform((-1.0, 1.0), count, generator))
    return friction, rub


def _varies(limits: tuple[float, float], usual: float) -> bool:
    return limits != (usual, usual)


def _in_box(half: tuple[float, float, float], count: tuple[int], generator: torch.Generator) -> Tensor:
    """(n, 3) points, uniform in a box around the origin."""
    return torch.stack([_uniform((-h, h), count, generator) for h in half], dim=1)


def _uniform(limits: tuple[float, float], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    low, high = limits
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _turned(points: np.ndarray, yaw: Tensor) -> Tensor:
    """(n, k, 2) m, horizontal ``points`` (k, 2) of the base frames of upright robots turned by ``yaw`` (n,)."""
    c, s = torch.cos(yaw)[:, None], torch.sin(yaw)[:, None]
    x, y = constant(points, yaw.device).unbind(1)
    return torch.stack([c * x - s * y, s * x + c * y], dim=2)
