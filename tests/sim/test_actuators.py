"""Motors keep to their torque-speed curve, obey strength and gains, and answer late by the stated delay."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from sim.physics.batch import BatchPhysics
from sim.physics.scene import PhysicsConfig, build_scene
from sim.robots.go2.facts import GO2
from sim.spec.joints import NOMINAL_POSE, SPEED_LIMIT, TORQUE_LIMIT
from sim.terrain.height_field import HeightField

FLAT = HeightField(np.zeros((2, 2)), 100.0, (-50.0, -50.0))
CORNER = GO2.corner
NOMINAL = torch.tensor(NOMINAL_POSE, dtype=torch.float32)


def available_torque(speed: np.ndarray, limit: np.ndarray | float, no_load_speed: np.ndarray | float) -> np.ndarray:
    """The curve: largest torque (...,) in N*m in the direction in which a motor turns at ``speed`` (...,) rad/s."""
    return limit * np.clip((1.0 - np.abs(speed) / no_load_speed) / (1.0 - CORNER), 0.0, 1.0)


def in_the_air(n: int, **cfg: object) -> BatchPhysics:
    physics = BatchPhysics(PhysicsConfig(**cfg), n, FLAT)  # type: ignore[arg-type]
    start(physics)
    return physics


def start(physics: BatchPhysics) -> None:
    n = physics.num_envs
    qpos = torch.zeros(n, 19)
    qpos[:, 2], qpos[:, 3], qpos[:, 7:] = 3.0, 1.0, NOMINAL
    physics.reset(torch.arange(n), qpos, torch.zeros(n, 18))


def motors(physics: BatchPhysics, **changes: list[float]) -> None:
    n = physics.num_envs
    values = {"stiffness": [1.0] * n, "damping": [1.0] * n, "strength": [1.0] * n, "delay": [0.0] * n} | changes
    physics.set_motors(torch.arange(n), **{name: torch.tensor(value) for name, value in values.items()})


def test_torque_never_leaves_the_curve_over_random_motion():
    model = build_scene(PhysicsConfig(kp=200.0, kd=1.0))
    model.opt.gravity[:] = 0.0
    data = mujoco.MjData(model)
    data.qpos[2], data.qpos[3], data.qpos[7:] = 3.0, 1.0, NOMINAL_POSE
    rng = np.random.default_rng(0)
    speeds, torques = np.zeros((2, 3000, 12))
    for k in range(3000):
        if k % 8 == 0:
            data.ctrl[:] = NOMINAL_POSE + rng.uniform(-2.5, 2.5, 12)
        speeds[k] = data.qvel[6:]
        mujoco.mj_step(model, data)
        torques[k] = data.actuator_force
    assert np.abs(torques).max() <= TORQUE_LIMIT.max() + 1e-9
    assert np.all(np.abs(torques) <= TORQUE_LIMIT + 1e-9)
    driving = torques * np.sign(speeds)
    most = available_torque(speeds, TORQUE_LIMIT, SPEED_LIMIT)
    assert np.all(driving <= most + 1e-9)
    # and it is the curve that limits: on its slope, and at full torque against the motion at speeds above the corner
    fast = np.abs(speeds) > CORNER * SPEED_LIMIT
    assert np.mean(np.isclose(driving, most)[fast & (driving > 0)]) > 0.1
    assert np.any(np.isclose(driving, -TORQUE_LIMIT) & fast)
    assert np.isfinite(data.qpos).all()


def test_at_no_load_speed_a_motor_drives_no_further_but_brakes_in_full():
    model = build_scene(PhysicsConfig())
    data = mujoco.MjData(model)
    for direction in (1.0, -1.0):
        for target in (1.0, -1.0):
            data.qvel[6:] = direction * SPEED_LIMIT
            data.ctrl[:] = data.qpos[7:] + 100.0 * target
            mujoco.mj_forward(model, data)
            expected = np.zeros(12) if target == direction else target * TORQUE_LIMIT
            np.testing.assert_allclose(data.actuator_force, expected, atol=1e-9)


def test_strength_scales_the_stall_torque():
    strength = [0.7, 1.0, 1.3]
    physics = in_the_air(3, substeps=1)
    motors(physics, strength=strength)
    physics.step(NOMINAL + 3.0)
    np.testing.assert_allclose(physics.torque, np.outer(strength, TORQUE_LIMIT), rtol=1e-6)


def test_gains_and_strength_scale_the_servo():
    physics = in_the_air(3, substeps=1)
    motors(physics, stiffness=[0.8, 1.0, 1.2], strength=[1.0, 0.9, 1.1])
    physics.step(NOMINAL + 0.1)
    expected = 30.0 * 0.1 * np.array([0.8, 0.9, 1.32])
    np.testing.assert_allclose(physics.torque, np.tile(expected[:, None], 12), rtol=1e-4)
    start(physics)
    physics._qvel[:, 6:] = 1.0
    motors(physics, damping=[0.8, 1.0, 1.2])
    physics.step(NOMINAL.expand(3, 12))
    np.testing.assert_allclose(physics.torque, -0.75 * np.tile([[0.8], [1.0], [1.2]], 12), rtol=1e-4)


def test_a_delay_shifts_the_response_by_itself():
    delays = [0.0, 0.0, 0.005, 0.0075, 0.0125, 0.02]  # the first robot is told nothing
    physics = in_the_air(len(delays))
    motors(physics, delay=delays)
    order = torch.tensor([0.0] + [0.3] * (len(delays) - 1))[:, None]
    feet = []
    for k in range(4):
        physics.step(NOMINAL + order * (k >= 1))
        feet.append(physics.sensors[:, :, 16:28].clone())
    moved = (torch.cat(feet, 1) - torch.cat(feet, 1)[:1]).abs().amax(2) > 1e-4
    first = moved.float().argmax(1) * physics.cfg.timestep
    assert moved[1:].any(1).all()
    assert (first[1:] - first[1]).tolist() == pytest.approx(delays[1:], abs=0.005)
    assert first[-1] - first[1] == pytest.approx(0.02, abs=1e-6)
    assert first[2] - first[1] == pytest.approx(0.005, abs=1e-6)


def test_a_new_trial_does_not_remember_the_last_ones_targets():
    paths = []
    physics = in_the_air(1)
    motors(physics, delay=[0.02])
    for before in (NOMINAL + 0.5, NOMINAL):
        physics.step(before[None])
        start(physics)
        physics.step(NOMINAL[None])
        paths.append(physics.qpos.clone())
    np.testing.assert_array_equal(*paths)


def test_motors_as_in_the_data_sheet_change_nothing():
    finals = []
    for told in (False, True):
        physics = in_the_air(2)
        if told:
            motors(physics)
        for k in range(30):
            physics.step(NOMINAL + 0.3 * torch.sin(0.5 * k + torch.arange(24.0).reshape(2, 12)))
        finals.append(physics.qpos.clone())
    np.testing.assert_array_equal(*finals)
