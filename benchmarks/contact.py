"""``lunar bench contact``: speed and errors of contact models of uneven ground.

Robots land at 1 m/s, with 0.5 m/s forwards and legs held by their servos, on flat ground, a fresh crater's rim and
blocky ground, where every one has a foot at a rock. Contact normals and penetration are compared with the exact surface
(bilinear ground and ellipsoids); forces with the same landing in steps of 0.5 ms, on planes through the nearest ground
and the two nearest rocks, all laid anew at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import mujoco
import numpy as np

from benchmarks.contact_models import ContactModel, Ground, Landing, Start
from benchmarks.harness import by_turns, countdown, cpu_seconds, medians, ratio, show_table
from sim.physics.scene import PhysicsConfig
from sim.spec.gravity import lunar_weight
from sim.spec.joints import LEGS, NOMINAL_POSE
from sim.terrain.generators import TerrainConfig

GROUNDS = ("flat", "crater-rim", "blocky")
FINE = 0.0005  # s, physics step of the reference
DURATION = 16  # control steps of a landing
LANDING = 0.2  # s after the first touch in which forces are compared
MANY_ROCKS = 100  # within 9 m of the origin: then robots land on them
MOVING_MEAN = 0.02  # s, of the peak force
PLANES = ContactModel("planes")
MODELS = (
    ContactModel("height field", "height field"),
    PLANES,
    ContactModel("planes, every substep", every_substep=True),
    ContactModel("planes at the nearest ground", closest=1),
    ContactModel("the same, every substep", every_substep=True, closest=1),
    ContactModel("the same, and one rock per foot", closest=1, rocks=1),
    ContactModel("with rocks, every substep", every_substep=True, closest=1, rocks=1),
)
TRUTH = ContactModel("reference", every_substep=True, closest=2, rocks=2)


@dataclass(frozen=True)
class Config:
    """Contact models of uneven ground: control steps per second of a core against errors of normals, forces, depth."""

    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    """The training model."""
    robots: int = 96
    """Landings measured on each ground."""
    copies: int = 6
    """Times as many robots stepped together when speed is measured."""
    rounds: int = 7
    """Interleaved rounds; medians are reported."""
    seed: int = 0
    """Of terrain and landings."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """Fewer robots and rounds; leaves out grounds that it has not begun after 45 s."""


def run(cfg: Config) -> dict[str, list[dict[str, Any]]]:
    """Rows by kind of ground."""
    if cfg.quick:
        cfg = replace(cfg, robots=24, copies=24, rounds=2)  # as many robots in all, or a speed is another
    left = countdown(cfg.quick)
    rows: dict[str, list[dict[str, Any]]] = {}
    for kind in GROUNDS:
        if not rows or left() > 0.0:
            rows[kind] = study(cfg, Ground(TerrainConfig(kind=kind, size=24.0), cfg.seed), left)
    return rows


def study(cfg: Config, ground: Ground, left: Callable[[], float]) -> list[dict[str, Any]]:
    """One row per contact model on this ground."""
    start = landings(cfg, ground, np.random.default_rng(cfg.seed))
    fine = replace(cfg.physics, timestep=FINE, substeps=round(cfg.physics.control_dt / FINE))
    true_peak, true_impulse = _forces(Landing(fine, TRUTH, ground, start))
    rows: list[dict[str, Any]] = []
    for contact_model in MODELS:
        peak, impulse = _forces(Landing(cfg.physics, contact_model, ground, start))
        peak, impulse = np.abs(peak / true_peak - 1), np.abs(impulse / true_impulse - 1)
        rows.append({
            "model": contact_model.name, **_contacts(Landing(cfg.physics, contact_model, ground, start), ground),
            "peak_error": np.median(peak), "peak_error_p95": np.quantile(peak, 0.95),
            "impulse_error": np.median(impulse), "impulse_error_p95": np.quantile(impulse, 0.95),
        })  # fmt: skip
    many = Start(np.tile(start.qpos, (cfg.copies, 1)), np.tile(start.qvel, (cfg.copies, 1)), start.targets)
    runs = [Landing(cfg.physics, contact_model, ground, many) for contact_model in MODELS]
    calls = {m.name: partial(_speed, landing) for m, landing in zip(MODELS, runs, strict=True)}
    speeds = by_turns(calls, cfg.rounds, "bench contact", left)
    for row in rows:
        row["steps_per_cpu_s"] = medians(speeds)[row["model"]]
        row["relative_speed"] = ratio(speeds, row["model"], PLANES.name)
    return rows


def landings(cfg: Config, ground: Ground, rng: np.random.Generator) -> Start:
    """Robots 20 mm above the exact surface; where rocks are many, each with a foot at one."""
    n = cfg.robots
    yaw = rng.uniform(-np.pi, np.pi, n)
    qpos, qvel = np.zeros((n, 19)), np.zeros((n, 18))
    qpos[:, :2] = rng.uniform([0.0, -3.0], [5.0, 3.0], (n, 2))
    qpos[:, 3], qpos[:, 6] = np.cos(yaw / 2), np.sin(yaw / 2)
    qpos[:, 7:] = NOMINAL_POSE + rng.uniform(-0.1, 0.1, (n, 12))
    qvel[:, :3] = np.stack([0.5 * np.cos(yaw), 0.5 * np.sin(yaw), -np.ones(n)], axis=-1)
    near = np.flatnonzero(np.hypot(ground.rocks.x, ground.rocks.y) < 9.0)
    feet = _feet(cfg, ground, qpos, qvel)
    if len(near) > max(n, MANY_ROCKS):
        rock = rng.permutation(near)[:n]
        goal = np.stack([ground.rocks.x[rock], ground.rocks.y[rock]], axis=-1)
        goal += rng.normal(0.0, 0.3, (n, 2)) * ground.rocks.diameter[rock, None]
        qpos[:, :2] += goal - feet[np.arange(n), np.arange(n) % 4, :2]
        feet = _feet(cfg, ground, qpos, qvel)
    radius = 0.022
    for _ in range(4):
        clearance = ground.surface(feet.reshape(-1, 3))[0].reshape(n, 4).min(axis=1) - radius
        qpos[:, 2] += 0.02 - clearance
        feet[..., 2] += (0.02 - clearance)[:, None]
    return Start(qpos, qvel, NOMINAL_POSE)


def _feet(cfg: Config, ground: Ground, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    landing = Landing(cfg.physics, PLANES, ground, Start(qpos, qvel, NOMINAL_POSE))
    landing.start()
    return landing.feet


def _forces(landing: Landing) -> tuple[np.ndarray, np.ndarray]:
    """Peak (N,) in lunar body weights of the moving mean of the feet's force, and impulse (N,) in N*s."""
    dt = landing.cfg.timestep
    landing.start()
    force = np.concatenate([landing.step().copy() for _ in range(DURATION)], axis=1)
    window, samples = round(MOVING_MEAN / dt), round(LANDING / dt)
    peak, impulse = np.zeros(len(force)), np.zeros(len(force))
    for i, row in enumerate(force):
        touch = int(np.argmax(row > 0))
        after = row[touch : touch + samples]
        peak[i] = np.convolve(after, np.ones(window) / window)[: len(after)].max()
        impulse[i] = after.sum() * dt
    return peak / lunar_weight(float(landing.model.body_mass.sum())), impulse


def _contacts(landing: Landing, ground: Ground) -> dict[str, float]:
    """Errors of all foot contacts that carry over 1 N: angle to the exact normal, and depth below the exact surface."""
    model, data = landing.model, mujoco.MjData(landing.model)
    own = landing.batch.get_model(0)
    feet = np.array([model.geom(leg).id for leg in LEGS])
    centres: list[np.ndarray] = []
    normals: list[np.ndarray] = []
    wrench = np.zeros(6)

    def watch() -> None:
        for i in range(landing.batch.nsim):
            landing.batch.get_data(i, data)
            if landing.contact_model.rocks:
                landing.batch.get_model(i, own)
            mujoco.mj_forward(own, data)
            for j in range(data.ncon):
                contact = data.contact[j]
                foot = np.intersect1d(feet, contact.geom)
                mujoco.mj_contactForce(own, data, j, wrench)
                if len(foot) and wrench[0] > 1.0:
                    away = contact.frame[:3] if contact.geom[1] == foot[0] else -contact.frame[:3]
                    normals.append(away.copy())
                    centres.append(data.geom_xpos[foot[0]].copy())

    landing.start()
    for _ in range(DURATION):
        landing.step(watch)
    distance, normal = ground.surface(np.array(centres))
    angle = np.degrees(np.arccos((normal * np.array(normals)).sum(-1).clip(-1, 1)))
    depth = model.geom_size[feet[0], 0] - distance
    return {
        "contacts": len(angle), "normal_deg": np.median(angle), "normal_p95_deg": np.quantile(angle, 0.95),
        "normal_max_deg": angle.max(), "depth_p95_m": np.quantile(depth, 0.95), "depth_max_m": depth.max(),
        "gap_max_m": max(-depth.min(), 0.0),
    }  # fmt: skip


def _speed(landing: Landing) -> float:
    """Control steps in a second of one core, whatever else runs beside it."""
    landing.start()
    taken = cpu_seconds(lambda: [landing.step() for _ in range(DURATION)])
    return landing.batch.nsim * DURATION / taken


def show(results: dict[str, list[dict[str, Any]]]) -> None:
    """A table for each kind of ground."""
    columns = ("contact model", "steps/s", "of planes", "normal, deg", "too deep, mm", "peak, %", "impulse, %")
    caption = (
        "steps in a second of one core, and over those of planes; errors of the normal: median / p95 / most, "
        "of depth: p95 / most, of peak force and impulse: median / p95"
    )
    for kind, rows in results.items():
        cells = [
            (
                r["model"], f"{r['steps_per_cpu_s']:,.0f}", f"{r['relative_speed']:.2f}",
                f"{r['normal_deg']:.1f} / {r['normal_p95_deg']:.1f} / {r['normal_max_deg']:.0f}",
                f"{1e3 * r['depth_p95_m']:.1f} / {1e3 * r['depth_max_m']:.0f}",
                f"{100 * r['peak_error']:.1f} / {100 * r['peak_error_p95']:.0f}",
                f"{100 * r['impulse_error']:.1f} / {100 * r['impulse_error_p95']:.0f}",
            )
            for r in rows
        ]  # fmt: skip
        show_table(f"{kind} ground", columns, cells, caption)
