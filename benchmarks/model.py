"""``lunar bench model``: what each simplification of the model costs in a hop, and what it saves in time.

24 hops of a trained policy were recorded on flat, rigid ground: states in flight and 1.6 s of joint targets at 50 Hz.
They are replayed open loop, through landing, push-off and the next apex, on variants of the training model. An error is
the difference to the same hop at a physics step of 0.5 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import mujoco
import numpy as np
from mujoco.batch import Batch

from benchmarks.harness import by_turns, countdown, medians, show_table
from sim.physics.scene import HIPS, SHINS, PhysicsConfig, build_scene

RECORDING = Path(__file__).with_name("hops.npz")
CONTROL_DT = 0.02  # s, of the recording
FINE = 0.0005  # s, physics step of the reference


@dataclass(frozen=True)
class Config:
    """Control steps per second of variants of the model against their errors in apex gain and contact impulse."""

    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    """The training model, which each variant changes in one thing."""
    copies: int = 10
    """Times 24 robots stepped together when speed is measured."""
    rounds: int = 5
    """Interleaved rounds; the median is reported."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """Fewer rounds; leaves out what it has not begun after 45 s."""


def _keep(model: mujoco.MjModel) -> None:
    del model


@dataclass(frozen=True)
class Variant:
    """A model to replay hops on."""

    name: str
    timestep: float = 0.005
    """s."""
    edit: Callable[[mujoco.MjModel], None] = _keep
    """Changes the compiled model in place."""
    soil: Literal["rigid", "regolith"] = "rigid"
    """Its errors are against the reference on the same soil."""


@dataclass(frozen=True)
class Hops:
    """Recorded hops."""

    qpos: np.ndarray
    """(H, 19) in flight, before the landing."""
    qvel: np.ndarray
    """(H, 18)."""
    targets: np.ndarray
    """(T, H, 12) rad, joint targets of every control step."""


def _pyramid(model: mujoco.MjModel) -> None:
    model.opt.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL


def _stiff_friction(model: mujoco.MjModel) -> None:
    model.opt.impratio = 10.0


def _solver(solver: mujoco.mjtSolver, iterations: int) -> Callable[[mujoco.MjModel], None]:
    def edit(model: mujoco.MjModel) -> None:
        model.opt.solver, model.opt.iterations = solver, iterations

    return edit


def _euler(model: mujoco.MjModel) -> None:
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER


def _friction_loss(model: mujoco.MjModel) -> None:
    model.dof_frictionloss[6:] = 0.1


def _all_geoms(model: mujoco.MjModel, own: bool) -> None:
    """Every shape of the robot meets the ground, and with ``own`` each other; feet and knees keep their pairs."""
    ground, robot = 1, 2
    planes = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
    paired = np.isin(np.arange(model.ngeom), [model.pair_geom1, model.pair_geom2])
    model.geom_contype[~planes] = robot if own else 0
    model.geom_conaffinity[~planes] = (robot if own else 0) | np.where(paired[~planes], 0, ground)
    model.geom_contype[model.geom("ground_trunk").id] = ground
    for name in (*SHINS, *HIPS):  # they stand for shapes that are here themselves, and lie within them
        geom = model.geom(name).id
        model.geom_contype[geom] = model.geom_conaffinity[geom] = 0
    for body in range(model.nbody):
        geoms = slice(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body])
        model.body_contype[body] = np.bitwise_or.reduce(model.geom_contype[geoms], initial=0)
        model.body_conaffinity[body] = np.bitwise_or.reduce(model.geom_conaffinity[geoms], initial=0)


REFERENCES = (Variant("reference", FINE), Variant("reference on regolith", FINE, soil="regolith"))
NEWTON = mujoco.mjtSolver.mjSOL_NEWTON
VARIANTS = (
    Variant("training model"),
    Variant("all geoms", edit=lambda model: _all_geoms(model, own=False)),
    Variant("all geoms, self-collision", edit=lambda model: _all_geoms(model, own=True)),
    Variant("Newton, at most 3 iterations", edit=_solver(NEWTON, 3)),
    Variant("Newton, at most 10 iterations", edit=_solver(NEWTON, 10)),
    Variant("CG, at most 10 iterations", edit=_solver(mujoco.mjtSolver.mjSOL_CG, 10)),
    Variant("PGS, at most 10 iterations", edit=_solver(mujoco.mjtSolver.mjSOL_PGS, 10)),
    Variant("pyramid", edit=_pyramid),
    Variant("impratio 10", edit=_stiff_friction),
    Variant("joint friction 0.1 N*m", edit=_friction_loss),
    Variant("Euler", edit=_euler),
    Variant("20 ms x 1", 0.020),
    Variant("10 ms x 2", 0.010),
    Variant("4 ms x 5", 0.004),
    Variant("2 ms x 10", 0.002),
    Variant("1 ms x 20", 0.001),
    Variant("1 ms x 20, pyramid", 0.001, _pyramid),
    Variant("regolith", soil="regolith"),
    Variant("regolith, 2 ms x 10", 0.002, soil="regolith"),
)


def load_hops(copies: int = 1) -> Hops:
    """The recording, ``copies`` times over."""
    with np.load(RECORDING, allow_pickle=False) as data:
        qpos, qvel, targets = (data[name].astype(float) for name in ("qpos", "qvel", "targets"))
    return Hops(np.tile(qpos, (copies, 1)), np.tile(qvel, (copies, 1)), np.tile(targets.swapaxes(0, 1), (1, copies, 1)))


class Replay:
    """Many copies of the recorded hops on one model."""

    def __init__(self, cfg: PhysicsConfig, variant: Variant, hops: Hops) -> None:
        self.hops = hops
        self.substeps = round(CONTROL_DT / variant.timestep)
        self.dt = variant.timestep
        soil = replace(cfg.soil, kind=variant.soil)
        model = build_scene(replace(cfg, timestep=variant.timestep, substeps=self.substeps, soil=soil))
        variant.edit(model)
        self.batch = Batch(model, nsim=len(hops.qpos))
        self.qpos, self.qvel, self.ctrl = (self.batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        self.out = np.zeros((len(hops.qpos), self.substeps, model.nsensordata))

    def start(self) -> None:
        """All robots into flight."""
        self.batch.reset(stage=0)
        self.qpos[:], self.qvel[:] = self.hops.qpos, self.hops.qvel

    def step(self, t: int) -> np.ndarray:
        """Control step ``t``; (H, S, 28) sensors, which the next call overwrites."""
        self.ctrl[:] = self.hops.targets[t]
        self.batch.rollout(self.substeps, record=("sensordata",), out={"sensordata": self.out})
        return self.out

    def outcome(self) -> tuple[np.ndarray, np.ndarray]:
        """Apex gain in m and contact impulse in N*s of each hop, (H,): from landing to the next apex."""
        self.start()
        sensors = np.concatenate([self.step(t).copy() for t in range(len(self.hops.targets))], axis=1)
        force, height = sensors[:, :, :4].sum(axis=2), sensors[:, :, 6]
        gain, impulse = np.zeros(len(force)), np.zeros(len(force))
        for i, load in enumerate(force):
            loaded = np.flatnonzero(load > 0)
            lift = int(loaded[np.argmax(np.diff(np.append(loaded, len(load))))])  # before the longest time in the air
            gain[i] = height[i, lift:].max() - height[i, lift]
            impulse[i] = load[: lift + 1].sum() * self.dt
        return gain, impulse

    def speed(self) -> float:
        """Control steps per second over all hops."""
        self.start()
        begin = time.perf_counter()
        for t in range(len(self.hops.targets)):
            self.step(t)
        return self.hops.targets.shape[0] * self.hops.targets.shape[1] / (time.perf_counter() - begin)


def run(cfg: Config) -> dict[str, Any]:
    """``{rows}``, one per variant: speed (median over rounds) and errors (median and 90th percentile over hops)."""
    rounds, left = 2 if cfg.quick else cfg.rounds, countdown(cfg.quick)
    truth = {v.soil: Replay(cfg.physics, v, load_hops()).outcome() for v in REFERENCES}
    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        if rows and left() <= 0.0:
            break
        gain, impulse = Replay(cfg.physics, variant, load_hops()).outcome()
        true_gain, true_impulse = truth[variant.soil]
        apex, push = np.abs(gain - true_gain), np.abs(impulse / true_impulse - 1)
        rows.append({
            "variant": variant.name, "soil": variant.soil,
            "apex_gain_m": np.median(gain), "apex_error_m": np.median(apex), "apex_error_p90_m": np.quantile(apex, 0.9),
            "impulse_error": np.median(push), "impulse_error_p90": np.quantile(push, 0.9),
        })  # fmt: skip
    many = load_hops(cfg.copies)
    turns = {v.name: Replay(cfg.physics, v, many).speed for v in VARIANTS[: len(rows)]}
    speed = medians(by_turns(turns, rounds, "bench model", left))
    for row in rows:
        row["steps_per_s"] = speed[row["variant"]]
        row["relative_speed"] = row["steps_per_s"] / speed[VARIANTS[0].name]
    return {"rows": rows}


def show(results: dict[str, Any]) -> None:
    """One row per variant."""
    columns = ("variant", "steps/s", "relative", "apex gain, mm", "error, mm (p90)", "impulse, % (p90)")
    rows = [
        (
            row["variant"], f"{row['steps_per_s']:,.0f}", f"{row['relative_speed']:.2f}",
            f"{1e3 * row['apex_gain_m']:.0f}",
            f"{1e3 * row['apex_error_m']:.1f} ({1e3 * row['apex_error_p90_m']:.1f})",
            f"{100 * row['impulse_error']:.2f} ({100 * row['impulse_error_p90']:.2f})",
        )
        for row in results["rows"]
    ]  # fmt: skip
    show_table("Variants of the model", columns, rows)
