"""Every option of a world does something: each leaf of the config is changed, and robots or ground notice, or the value
is refused. An option that is silently ignored lies to whoever sets it, and the policy's card repeats the lie."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.mdp.config import CurriculumConfig, PushConfig, RandomisationConfig, ResetConfig
from sim.physics.scene import PhysicsConfig
from sim.robots.load import ROBOTS
from sim.spec.observation import ScanGrid
from sim.tasks.config import FallConfig, WorldConfig, default_rewards
from sim.terrain.craters import PlacedCrater
from sim.terrain.dem import DemConfig
from sim.terrain.generators import TerrainConfig, load_terrain, make_terrain
from sim.terrain.slope import SlopeConfig

STEPS = 11
LAYERED = replace(load_terrain("mare"), size=8.0, resolution=0.1, level=8, slope=SlopeConfig(angle=3.0))
# A world in which everything happens within ``STEPS``: trials end, levels change, pushes come, robots differ.
BUSY = WorldConfig(
    num_envs=6,
    episode_length=0.1,
    terrain=TerrainConfig(kind="mare", size=4.0, resolution=0.5),
    randomisation=RandomisationConfig(
        gravity=(1.4, 1.9), rig_share=0.5, friction=(0.5, 1.0), rig_inertia=(0.1, 0.3), rig_friction=(0.0, 0.05),
        added_mass=(0.0, 1.0), com_offset=(0.01, 0.01, 0.01), stiffness=(0.9, 1.1), damping=(0.9, 1.1),
        strength=(0.9, 1.0), joint_friction=(0.1, 0.3), joint_friction_share=0.5, joint_damping=(0.1, 0.3),
        delay=(0.0, 0.01),
    ),
    pushes=PushConfig(impulse=(1.0, 5.0), period=(0.02, 0.06)),
    commands=replace(WorldConfig().commands, period=0.06),
    curriculum=CurriculumConfig(enabled=True, promote_hops=0.0, promote_distance=0.3, demote_distance=-1.0),
    fall=FallConfig(tilt=0.1, tilt_in_flight=0.1),
    resets=ResetConfig(trouble_fraction=0.5),
    rewards=default_rewards() | {"level": 1.0, "crouch": -1.0},
)  # fmt: skip
NO_RANGES = replace(BUSY.randomisation, gravity=None, friction=None)
STANDING = {
    "terrain": TerrainConfig(), "curriculum.enabled": False, "resets": ResetConfig(air_fraction=0.0),
    "fall": FallConfig(),
    "shaping.soft_impact": 0.0, "episode_length": 1.0, "randomisation": NO_RANGES, "physics.gravity": 9.81,
    "num_envs": 24, "resets.joint_noise": 0.0, "resets.tilt_noise": 0.0,
}  # fmt: skip
COLLAPSING = STANDING | {"physics.kp": 0.0, "physics.gravity": 30.0}
# What must be so for an option to matter, by the beginning of its path.
SETTINGS: dict[str, dict[str, Any]] = {
    "physics.gravity": {"randomisation": NO_RANGES},
    "physics.friction": {"randomisation": NO_RANGES},
    "physics.soil.k_": {"physics.soil.kind": "regolith"},
    "physics.soil.damping": {"physics.soil.kind": "regolith"},
    "physics.soil.spread": {"physics.soil.kind": "regolith"},
    "physics.soil.share": {"physics.soil.kind": "regolith"},
    "rewards.push_off": STANDING,
    "rewards.impact": STANDING,
    "shaping.push_off_speed": STANDING,
    "shaping.soft_impact": STANDING,
    "rewards.crouch": COLLAPSING,
    "shaping.crouch_height": COLLAPSING,
    "rewards.limb_contact": COLLAPSING,
    "rewards.trunk_load": COLLAPSING,
    "shaping.trunk_most": COLLAPSING,
    "curriculum.return_to": {
        "num_envs": 12,
        "curriculum.start": 9,
        "curriculum.promote_distance": -10.0,
        "fall": FallConfig(),
    },
    "fall.tilt_in_flight": {},
    "fall.tilt": {"fall": FallConfig(tilt=0.05)},
}
HIGH = "high.xml"  # a robot that is not the Go2
VALUES: dict[str, Any] = {
    "terrain.kind": "rough",
    "other_terrains": ("highland",),
    "physics.robot": HIGH,
    "physics.kp": 45.0,
    "physics.kd": 1.0,
    "action_scale": 0.5,
    "physics.timestep": 0.004,
    "physics.substeps": 2,
    "physics.gravity": 3.7,
    "physics.friction": 0.1,
    "physics.backend": "warp",  # refused where Warp is not installed; it is not, for this test
    "physics.soil.kind": "regolith",
    "physics.soil.share": 0.5,
    "pushes.period": (0.0, 0.02),
    "ages": (0, 1, 3),
    "scan": ScanGrid(),
    "curriculum.promote_hops": 100.0,
    "curriculum.promote_distance": 100.0,
    "curriculum.demote_distance": 100.0,
    "fall.lying_time": 0.0,
    "curriculum.return_to": 9,
    "resets.fair_ground": -1.0,
    "resets.obstacle_fraction": 1.0,
    "randomisation.joint_friction_share": 1.0,
    "randomisation.gravity_share": 0.5,
    "randomisation.joint_damping_share": 0.5,
    "shaping.trunk_most": 0.001,
    "commands.period": 0.0,
    "shaping.soft_impact": 1.0,
    "shaping.push_off_speed": 0.01,
    "terrain.dem.path": "other.npy",
    "terrain.craters.placed": (PlacedCrater(0.5, 0.5, 2.0),),
    "terrain.craters.oldest": 0.01,
    "terrain.rocks.coefficient": 0.02,
    "terrain.craters.smallest": 1.0,
    "terrain.resolution": 0.2,
    "terrain.dem.hurst": 0.9,
    "terrain.dem.band": 2,
    "randomisation.rig_share": 1.0,
}


def leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of everything in ``config`` that is no dataclass; weights one by one."""
    for field in fields(config):
        value, name = getattr(config, field.name), f"{path}{field.name}"
        if is_dataclass(value):
            yield from leaves(value, f"{name}.")
        elif isinstance(value, dict):
            yield from ((f"{name}.{key}", weight) for key, weight in value.items())
        else:
            yield name, value


def put(config: Any, path: str, value: Any) -> Any:
    """``config`` with one leaf changed."""
    name, _, rest = path.partition(".")
    if isinstance(config, dict):
        return {**config, path: value}
    return replace(config, **{name: put(getattr(config, name), rest, value) if rest else value})


def changed(path: str, value: Any) -> Any:
    """Another value that makes sense in most places."""
    if path in VALUES:
        return VALUES[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return 1.3 * value + 0.05
    low, *_, high = value
    return (low + 0.3 * (high - low), *value[1:-1], high if high > low else high + 0.1)


def lived(cfg: WorldConfig) -> str:
    """All that robots see, get and do in the first steps."""
    world = PronkWorld(cfg, seed=0)
    digest = hashlib.sha256()
    observations = world.reset()
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        for value in (*observations.values(), world.physics.level, world.physics.sensors, world.physics.ground):
            digest.update(repr(value.shape).encode() + value.numpy().tobytes())
        step = world.step(0.5 * torch.randn(cfg.num_envs, 12, generator=generator))
        digest.update(step.reward.numpy().tobytes() + step.terminated.numpy().tobytes())
        observations = step.observations
    return digest.hexdigest()


def outcome(cfg: WorldConfig) -> str:
    """Of a life, or why there is none."""
    try:
        return lived(cfg)
    except LunarError as refusal:
        return f"refused: {refusal}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What options name by path."""
    path = tmp_path_factory.mktemp("options")
    text = (ROBOTS / "go2" / "go2.xml").read_text()
    (path / HIGH).write_text(text.replace('mass="6.921"', 'mass="7.5"'))
    for name, seed in (("this.npy", 0), ("other.npy", 1)):
        np.save(path / name, np.random.default_rng(seed).normal(size=(30, 30)).cumsum(0).cumsum(1) * 0.01)
    return path


@pytest.fixture(scope="module")
def lives() -> dict[str, str]:
    """Outcomes without the change, by the settings under which they were seen."""
    return {}


WORLDLY = [(path, value) for path, value in leaves(BUSY) if not path.startswith("terrain.")]


@pytest.mark.parametrize(("path", "value"), WORLDLY, ids=[path for path, _ in WORLDLY])
def test_an_option_of_the_world_is_felt(path, value, folder, lives, monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    monkeypatch.delitem(sys.modules, "sim.physics.warp", raising=False)
    monkeypatch.chdir(folder)
    setting = next((s for start, s in SETTINGS.items() if path.startswith(start)), {})
    base = BUSY
    for name, given in setting.items():
        base = put(base, name, given)
    key = repr(setting)
    if key not in lives:
        lives[key] = outcome(base)
        assert not lives[key].startswith("refused")
    assert outcome(put(base, path, changed(path, value))) != lives[key]


def grounds(folder: Path) -> WorldConfig:
    dem = DemConfig(path="this.npy", resolution=1.0, scale=1.0)
    return replace(BUSY, terrain=replace(LAYERED, dem=dem))


GROUND = [(path, value) for path, value in leaves(grounds(Path())) if path.startswith("terrain.")]


@pytest.mark.parametrize(("path", "value"), GROUND, ids=[path for path, _ in GROUND])
def test_an_option_of_the_ground_is_seen(path, value, folder, monkeypatch):
    monkeypatch.chdir(folder)
    base = grounds(folder)
    if path == "terrain.kind":  # its layers are all given here
        base = replace(base, terrain=TerrainConfig(kind="mare", size=4.0, resolution=0.5))

    def heights(cfg: WorldConfig) -> str:
        try:
            field = make_terrain(cfg.terrain, 0)
        except LunarError as refusal:
            return f"refused: {refusal}"
        return repr(field.heights.shape) + hashlib.sha256(np.asarray(field.heights).tobytes()).hexdigest()

    before = heights(base)
    assert not before.startswith("refused")
    assert heights(put(base, path, changed(path, value))) != before


def test_gravity_asked_for_is_gravity_felt_and_a_contradiction_is_refused():
    cfg = WorldConfig(num_envs=3, physics=PhysicsConfig(gravity=3.7))
    world = PronkWorld(cfg, 0)
    world.reset()
    assert (world.physics.effective_gravity == 3.7).all()
    world = PronkWorld(replace(cfg, randomisation=RandomisationConfig(gravity=(3.0, 4.0))), 0)
    world.reset()
    assert 3.0 <= world.physics.effective_gravity.min() < world.physics.effective_gravity.max() <= 4.0
    with pytest.raises(LunarError, match=r"randomisation.gravity: \[1.4, 1.9\] does not hold physics.gravity 3.7"):
        PronkWorld(replace(cfg, randomisation=RandomisationConfig(gravity=(1.4, 1.9))), 0)
    with pytest.raises(LunarError, match=r"physics.timestep is 0.02 s; hops need one of at most 0.01 s"):
        PronkWorld(WorldConfig(num_envs=1, physics=PhysicsConfig(timestep=0.02)), 0)
    with pytest.raises(LunarError, match=r"physics.friction"):
        PronkWorld(WorldConfig(num_envs=1, physics=PhysicsConfig(friction=-0.1)), 0)
