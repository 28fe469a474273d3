"""MuJoCo Warp, on its CPU device, against the C engine: same physics, same world.

The engines compute in float32 and float64. A single contact agrees to a part in a million; from there on contacts
multiply the difference (by about ten in 50 control steps), so that bounds grow with time. Each is ten times what was
measured, or more.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.gpu import BOUNDS
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.physics.backend import Physics, make_physics
from sim.physics.scene import PhysicsConfig
from sim.physics.soil import SoilConfig
from sim.spec.gravity import EARTH, MOON
from sim.spec.joints import NOMINAL_POSE
from sim.tasks.config import WorldConfig
from sim.terrain.generators import TerrainConfig, make_terrain
from sim.terrain.height_field import HeightField

pytest.importorskip("mujoco_warp", reason="MuJoCo Warp is not installed: pip install 'lunar[gpu]'")

NOMINAL = torch.tensor(NOMINAL_POSE, dtype=torch.float32)
FLAT = HeightField(np.zeros((2, 2)), 100.0, (-50.0, -50.0))
N = 4
EVERYONE = torch.arange(N)


def drop(heights: list[float], terrain: HeightField = FLAT, **physics: object) -> tuple[Physics, Physics]:
    """The C engine's and Warp's robots at rest, bases ``heights`` above the terrain and 0.7 m apart."""
    pair = tuple(
        make_physics(replace(PhysicsConfig(backend=name), **physics), len(heights), terrain, "cpu")  # type: ignore[arg-type]
        for name in ("batch", "warp")
    )
    n = len(heights)
    qpos = torch.zeros(n, 19)
    qpos[:, 0] = 0.7 * torch.arange(n) - 1.0
    qpos[:, 3] = 1.0
    qpos[:, 7:] = NOMINAL
    qpos[:, 2] = torch.tensor(heights) + pair[0].terrain_height(qpos[:, None, :2], pair[0].level)[:, 0]
    for engine in pair:
        engine.reset(torch.arange(n), qpos, torch.zeros(n, 18))
    return pair  # type: ignore[return-value]


def wave(k: int) -> torch.Tensor:
    """Targets that differ between legs and robots and make the robots step on the spot."""
    return NOMINAL + 0.2 * torch.sin(0.3 * k + torch.arange(12.0 * N).reshape(N, 12))


def jump(k: int) -> torch.Tensor:
    """Targets that bend and stretch all legs every 1.2 s: the robots jump and land."""
    return (NOMINAL + torch.tensor([0.0, -0.35, 0.7] * 4) * np.sin(2 * np.pi * k / 60)).repeat(N, 1)


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).abs().max().item()


def test_free_fall_in_lunar_gravity():
    _, warp = drop([3.0])
    for _ in range(40):
        assert not warp.step(NOMINAL[None]).any()
    # the integrator's own height after n steps: -g dt^2 n (n + 1) / 2
    assert warp.qpos[0, 2].item() == pytest.approx(3.0 - MOON * 0.005**2 * 160 * 161 / 2, abs=2e-5)
    assert warp.foot_force.max() == 0.0


def test_a_landing_gives_the_same_impulse():
    batch, warp = drop([0.6])
    impulse = {}
    for engine in (batch, warp):
        peak = torch.zeros(4)
        total = torch.zeros(4)
        for _ in range(60):
            engine.step(NOMINAL[None])
            peak = torch.maximum(peak, engine.foot_force[0].amax(0))
            total += engine.foot_force[0].sum(0) * engine.cfg.timestep
        impulse[engine] = peak, total
    for ours, theirs in zip(impulse[batch], impulse[warp], strict=True):
        assert ours.min() > 1.0
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=0.0)
    # the momentum of the fall and the weight since then
    fall = batch.mass * batch.com_velocity[0, -1, 2].item() + batch.mass * MOON * 240 * batch.cfg.timestep
    assert impulse[batch][1].sum().item() == pytest.approx(fall, rel=0.02)


def test_a_push_is_the_same():
    batch, warp = drop([3.0], joint_sensors=True)
    for engine in (batch, warp):
        engine.set_push(torch.tensor([0]), torch.tensor([[300.0, -150.0]]))
        engine.step(NOMINAL[None] + 0.2)
    assert batch.qvel[0, 0] > 0.1
    assert largest(warp.qvel, batch.qvel) < 1e-4
    assert largest(warp.joint_torque, batch.joint_torque) < 1e-3
    assert largest(warp.joint_speed, batch.joint_speed) < 1e-4


@pytest.mark.parametrize(
    ("terrain", "targets", "soil"),
    [
        (FLAT, jump, SoilConfig()),
        (FLAT, jump, SoilConfig(kind="regolith")),
        (make_terrain(TerrainConfig(kind="rough", size=16.0), 0), wave, SoilConfig()),
    ],
    ids=["flat", "regolith", "rough"],
)
def test_200_control_steps_of_the_same_actions(terrain, targets, soil):
    # On rough ground feet grip here; where they may slip, the test below compares.
    batch, warp = drop([0.29, 0.39, 0.5, 0.6], terrain, soil=soil, friction=0.8 if terrain is FLAT else 3.0)
    landed = torch.zeros(N, dtype=torch.bool)
    for k in range(200):
        assert not batch.step(targets(k)).any()
        assert not warp.step(targets(k)).any()
        landed |= batch.foot_force.amax((1, 2)) > 20.0
        if k >= 49 and k % 25 == 24:  # measured: 1.1e-5 rad or m, 9e-5 rad/s or m/s, 7e-3 N, 1e-4 N*m
            for name, bound in BOUNDS.items():
                assert largest(getattr(warp, name), getattr(batch, name)) < bound, name
            # From the same state again: over all 200 steps rounding may decide which way a foot slips, on one processor
            # so and on another so, and then two trajectories would be compared that have nothing in common.
            state = batch.qpos.clone(), batch.qvel.clone()
            for engine in (batch, warp):
                engine.reset(EVERYONE, *state)
    assert landed.all()


def test_feet_slip_alike_for_a_tenth_of_a_second_from_any_state():
    """Within half a second rounding decides which way a foot slips, on one processor so and on another so, and two
    trajectories part for good: at friction 2 and 3, where none slips, they do not."""
    batch, warp = drop([0.29, 0.39, 0.5, 0.6], make_terrain(TerrainConfig(kind="rough", size=16.0), 0))
    for k in range(200):
        assert not batch.step(wave(k)).any() and not warp.step(wave(k)).any()
        if k % 5 == 4:  # measured: 9e-6 rad or m, 2e-4 rad/s or m/s, 1.3e-2 N, 2.3e-4 N*m
            for name, bound in BOUNDS.items():
                assert largest(getattr(warp, name), getattr(batch, name)) < bound, name
            state = batch.qpos.clone(), batch.qvel.clone()
            for engine in (batch, warp):
                engine.reset(EVERYONE, *state)


def test_ground_is_under_every_foot_and_the_base():
    terrain = make_terrain(TerrainConfig(kind="rough", size=16.0), 0)
    _, warp = drop([0.29, 0.39, 0.5, 0.6], terrain)
    for k in range(30):
        warp.step(wave(k))
    xy = torch.cat([warp.foot_position[..., :2], warp.qpos[:, None, :2]], dim=1).double().numpy()
    np.testing.assert_allclose(warp.ground, terrain.height(xy[..., 0], xy[..., 1]), atol=1e-5)
    assert np.ptp(warp.ground.numpy()) > 0.01


def test_gravity_offload_friction_and_soil_are_each_robots_own():
    pair = drop([0.29, 0.39, 0.29, 0.39], soil=SoilConfig(kind="regolith"))
    for engine in pair:
        engine.set_gravity(EVERYONE, torch.full((N,), MOON), torch.tensor([0.0, 0.0, EARTH - MOON, EARTH - MOON]))
        engine.set_friction(EVERYONE, torch.tensor([0.1, 0.4, 0.7, 1.0]))
        engine.set_soil(EVERYONE, torch.tensor([0.5, 1.0, 2.0, 0.0]))
        for k in range(30):
            engine.step(wave(k))
    batch, warp = pair
    assert largest(warp.qpos, batch.qpos) < 1e-3  # measured: 6e-5, the one that slips on friction of 0.1
    assert largest(warp.com_velocity, batch.com_velocity) < 1e-3
    for i, j in ((0, 1), (1, 2), (2, 3)):  # and matters
        assert largest(warp.qpos[i, 7:], warp.qpos[j, 7:]) > 1e-3


def test_motors_loads_and_ropes_are_each_robots_own():
    pair = drop([0.3, 0.4, 0.5, 0.6])
    share = torch.linspace(0.0, 1.0, N)
    for engine in pair:
        place = torch.tensor([0.1, 0.02, 0.05]).repeat(N, 1)
        engine.set_payload(EVERYONE, 4.0 * share - 1.0, place, 0.2 * place)
        engine.set_gravity(EVERYONE, torch.full((N,), MOON), torch.full((N,), EARTH - MOON))
        engine.set_rope(EVERYONE, 0.4 * share, torch.full((N,), 0.05))
        engine.set_motors(EVERYONE, 0.8 + 0.4 * share, 1.2 - 0.4 * share, 0.8 + 0.3 * share, 0.02 * share)
        for k in range(40):
            engine.step(wave(k))
    batch, warp = pair
    assert largest(warp.qpos, batch.qpos) < 1e-4  # measured: 2e-6
    assert largest(warp.com, batch.com) < 1e-4
    assert largest(warp.effective_gravity, batch.effective_gravity) < 1e-6


def test_a_diverged_robot_is_reported_and_alone():
    runs = []
    for start in (0.0, torch.nan, torch.inf):
        _, warp = drop([0.35, 0.45, 0.55])
        one = torch.tensor([1])
        state = warp.qpos[one].clone()
        warp.reset(one, state, torch.full((1, 18), start))
        diverged = [warp.step(wave(k)[:3]).tolist() for k in range(3)]
        assert diverged[-1] == [False, start != 0.0, False]
        warp.reset(one, state, torch.zeros(1, 18))
        for k in range(40):
            assert not warp.step(wave(k)[:3]).any()
        assert warp.qpos.isfinite().all() and warp.foot_force.isfinite().all()
        runs.append(warp.qpos.clone())
    # the others never notice, and the lost one starts anew as if nothing had happened
    torch.testing.assert_close(runs[1], runs[2], rtol=0.0, atol=0.0)
    torch.testing.assert_close(runs[0], runs[1], rtol=0.0, atol=1e-5)


def test_a_world_on_warp_is_the_same_task():
    cfg = WorldConfig(num_envs=N, terrain=TerrainConfig(kind="rough", size=16.0), episode_length=0.3)
    generator = torch.Generator().manual_seed(0)
    actions = [0.3 * torch.randn(N, 12, generator=generator) for _ in range(20)]
    worlds = [PronkWorld(replace(cfg, physics=replace(cfg.physics, backend=name)), 0) for name in ("batch", "warp")]
    rows = [world.reset() for world in worlds]
    for action in actions:
        for name in rows[0]:
            assert rows[0][name].shape == rows[1][name].shape
            torch.testing.assert_close(rows[1][name], rows[0][name], rtol=0.0, atol=1e-3)
        steps = [world.step(action) for world in worlds]
        assert steps[0].ended.tolist() == steps[1].ended.tolist()
        assert all(t.isfinite().all() for t in (steps[1].reward, *vars(worlds[1].state).values()))
        torch.testing.assert_close(steps[1].reward, steps[0].reward, rtol=0.0, atol=1e-3)
        rows = [step.observations for step in steps]


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    monkeypatch.delitem(sys.modules, "sim.physics.warp", raising=False)
    with pytest.raises(LunarError, match=r"lunar\[gpu\]"):
        make_physics(PhysicsConfig(backend="warp"), 1, FLAT, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(LunarError, match="no CUDA GPU"):
        PronkWorld(WorldConfig(num_envs=1), 0, device="cuda")
