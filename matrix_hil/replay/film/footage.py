"""What a film shows: a robot's motion at equal steps, taken from a policy in simulation or from a HIL log."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import mujoco
import numpy as np

from matrix_hil.log import Log, read_log
from matrix_hil.log.signals import held, interpolated
from matrix_hil.replay.film.config import FilmConfig
from matrix_hil.replay.logged import logged_robot
from matrix_hil.replay.look.measure import patch_field, rotations
from policy.runtime.card import ESTIMATES
from policy.runtime.onnx_policy import OnnxPolicy
from sim.errors import LunarError
from sim.robots.load import robot_model
from sim.spec.gravity import lunar_weight
from sim.spec.joints import JOINT_NAMES, LEGS
from sim.terrain.generators import TerrainConfig, make_terrain
from sim.terrain.height_field import HeightField

DT = 0.02
"""s between samples."""
_MARGIN = 14.0  # m of ground around a log's path, as far as nothing else is known
_BLEND = 3.0  # m beyond the known ground within which it goes over into its mean
_MOST = 900.0  # m, longest side of a log's ground


@dataclass(frozen=True)
class Trace:
    """A quantity that can be drawn over the film."""

    unit: str
    values: np.ndarray
    """(n, k), k lines."""
    names: tuple[str, ...]


@dataclass(frozen=True)
class Footage:
    """n samples, ``DT`` apart, in the world's frame or the rig's."""

    title: str
    robot: str
    """Name or MJCF."""
    qpos: np.ndarray
    """(n, 19) position in m, quaternion (w, x, y, z), joints in rad."""
    feet: np.ndarray
    """(n, 4, 3) m, centres of the feet."""
    loaded: np.ndarray
    """(n, 4) bool."""
    terrain: HeightField | None
    """None on the rig."""
    platform: np.ndarray = field(default_factory=lambda: np.zeros((0, 6)))
    """(n, 6) pose of the plate in m and rad, on the rig."""
    travel: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(n,) m of belt, on the rig."""
    traces: dict[str, Trace] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.qpos)


def of_policy(policy: str, cfg: FilmConfig, progress: Callable[[float], None]) -> Footage:
    """What ``policy`` does in simulation; ``progress`` is told the share that is done.

    Raises:
        LunarError: no such policy or terrain, or it falls before ``begin``.
    """
    from policy.networks.robot import on_robot
    from policy.play.live_robot import LiveRobot  # brings torch
    from sim.mdp.config import NoiseConfig

    driver = OnnxPolicy(policy)
    driver.card = on_robot(driver.card, cfg.robot)
    kind = cfg.terrain or "crater-rim"
    terrain = make_terrain(TerrainConfig(kind=kind, level=cfg.level), cfg.seed)
    robot = LiveRobot(driver, terrain, NoiseConfig(), driver.card.gravity, cfg.seed)
    skipped, steps = round(cfg.begin / robot.dt), max(2, round(cfg.duration / robot.dt))
    command, weight = cfg.command.array(), lunar_weight(robot.physics.mass)
    moments = []
    for k in range(skipped + steps):
        moment = robot.step(command)
        if k >= skipped:
            moments.append(moment)
        progress((k + 1) / (skipped + steps))
    qpos = np.array([m.qpos for m in moments])
    height = np.array([[m.qpos[2] - m.ground] for m in moments])
    traces = {
        "height": Trace("m", height, ("base above ground",)),
        "forces": Trace("lunar weights", np.array([m.foot_force for m in moments]) / weight, LEGS),
    }
    if moments[0].estimate:
        name = "vz" if "vz" in moments[0].estimate else next(iter(moments[0].estimate))
        pairs = [[m.truth.get(name, math.nan), m.estimate.get(name, math.nan)] for m in moments]
        traces["estimates"] = Trace(ESTIMATES[name], np.array(pairs), (name, "policy's estimate"))
    return Footage(
        title=f"{Path(policy).name} on {Path(kind).stem}",
        robot=driver.card.physics_robot,
        qpos=qpos,
        feet=np.array([m.foot_position for m in moments]),
        loaded=np.array([m.loaded for m in moments]),
        terrain=terrain,
        traces=traces,
    )


def of_log(path: str, cfg: FilmConfig) -> list[Footage]:
    """What a log shows, as ``cfg.view`` asks.

    Raises:
        LunarError: it cannot be read, holds no joints or no pose of the base, or ends before ``begin``.
    """
    log = read_log(path)
    start = min(float(s.log_time[0]) for s in log.series.values())
    end = min(cfg.begin + cfg.duration, log.duration)
    if end - cfg.begin < 2 * DT:
        raise LunarError(f"log {log.path} lasts {log.duration:.1f} s: nothing is left after --begin {cfg.begin:g}")
    time = start + np.arange(cfg.begin, end, DT)
    views, robot = [], logged_robot(log, cfg.robot)
    if cfg.view in ("both", "moon"):
        views.append(_from_log(log, robot, time, "/world/base_pose", _seen_ground(log, cfg)))
    if cfg.view in ("both", "rig"):
        pose = "/rig/base_pose" if "/rig/base_pose" in log else "/tracker/pose"
        views.append(_from_log(log, robot, time, pose, None))
    return views


def _from_log(log: Log, robot: str, time: np.ndarray, pose: str, terrain: HeightField | None) -> Footage:
    joints, base = log["/robot/joint_states"], log[pose]
    position = interpolated(time, base.log_time, base.position)
    quaternion = rotations(time, base.log_time, base.quaternion)
    angles = interpolated(time, joints.log_time, joints.position)
    qpos = np.nan_to_num(np.concatenate([position, quaternion, angles], axis=1))
    model = robot_model(robot)
    feet = _feet(model, qpos)
    loaded = np.zeros((len(time), 4), dtype=bool)
    traces = {}
    if terrain is not None:
        ground = terrain.height(position[:, 0], position[:, 1])
        traces["height"] = Trace("m", (position[:, 2] - ground)[:, None], ("base above ground",))
    if "/robot/foot_contacts" in log:
        contacts = log["/robot/foot_contacts"]
        loaded = held(time, contacts.log_time, contacts.loaded).astype(bool)
        force = held(time, contacts.log_time, contacts.force) / lunar_weight(float(model.body_mass.sum()))
        traces["forces"] = Trace("lunar weights", force, LEGS)
    platform, travel = np.zeros((len(time), 6)), np.zeros(len(time))
    if terrain is None and "/platform/state" in log:
        platform = interpolated(time, log["/platform/state"].log_time, log["/platform/state"].pose)
    if terrain is None and "/treadmill/state" in log:
        travel = interpolated(time, log["/treadmill/state"].log_time, log["/treadmill/state"].position)
    where = "on the rig" if terrain is None else "on the Moon"
    return Footage(where, robot, qpos, feet, loaded, terrain, platform, travel, traces)


def _feet(model: mujoco.MjModel, qpos: np.ndarray) -> np.ndarray:
    """(n, 4, 3) m."""
    data = mujoco.MjData(model)
    root = int(model.jnt_qposadr[model.body_jntadr[model.body_rootid[model.joint(JOINT_NAMES[0]).bodyid[0]]]])
    address = [*range(root, root + 7), *(int(model.joint(name).qposadr[0]) for name in JOINT_NAMES)]
    feet = np.empty((len(qpos), 4, 3))
    for k, state in enumerate(qpos):
        data.qpos[address] = state
        mujoco.mj_kinematics(model, data)
        feet[k] = [data.geom(leg).xpos for leg in LEGS]
    return feet


def _seen_ground(log: Log, cfg: FilmConfig) -> HeightField:
    """The terrain that was named, or what the twin saw, going over into a plane where it did not look."""
    if cfg.terrain:
        return make_terrain(TerrainConfig(kind=cfg.terrain, level=cfg.level), cfg.seed)
    path = log["/world/base_pose"].position[:, :2]
    low, high = np.nanmin(path, axis=0) - _MARGIN, np.nanmax(path, axis=0) + _MARGIN
    if not np.isfinite([low, high]).all() or (high - low).max() > _MOST:
        raise LunarError(f"log {log.path}: the robot's path spans no area that can be drawn; name --terrain")
    fields = []
    if "/twin/patch" in log:
        fields = [f for k in range(len(log["/twin/patch"])) if (f := patch_field(log["/twin/patch"], k)) is not None]
    if not fields:
        return HeightField(np.zeros((2, 2)), float((high - low).max()), (float(low[0]), float(low[1])))
    step = max(min(f.resolution for f in fields), float((high - low).max()) / 1200.0)
    x, y = np.meshgrid(np.arange(low[0], high[0], step), np.arange(low[1], high[1], step))
    z = np.full(x.shape, np.nan)
    for one in fields:
        x0, x1, y0, y1 = one.extent
        inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        z[inside] = one.height(x[inside], y[inside])
    return HeightField(_continued(z, step), step, (float(low[0]), float(low[1])))


def _continued(z: np.ndarray, step: float) -> np.ndarray:
    """``z`` with its gaps filled: the nearest height near what is known, the mean far from it."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    unknown = ~np.isfinite(z)
    distance, (row, col) = distance_transform_edt(unknown, return_indices=True)
    share = np.clip(distance * step / _BLEND, 0.0, 1.0)
    filled = z[row, col] * (1.0 - share) + np.nanmean(z) * share
    return np.where(unknown, gaussian_filter(filled, 0.3 / step), z)
