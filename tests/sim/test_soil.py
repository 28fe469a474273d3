"""Regolith gives way by Bekker's law and does not bounce."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from sim.errors import LunarError
from sim.physics.batch import BatchPhysics
from sim.physics.scene import PhysicsConfig, build_scene
from sim.physics.soil import SoilConfig, soft_pairs
from sim.spec.gravity import lunar_weight
from sim.spec.joints import LEGS, NOMINAL_POSE
from sim.terrain.height_field import HeightField

RADIUS = 0.022  # m, the Go2's foot
REGOLITH = SoilConfig(kind="regolith")


class Robot:
    """One robot on soil, its feet watched. ``stiff`` legs hold the pose under several lunar body weights."""

    def __init__(
        self, soil: SoilConfig, stiff: bool = False, height: float = 0.30, speed: float = 0.0, **config: float
    ):
        gains = {"kp": 300.0, "kd": 5.0} if stiff else {}
        self.model = build_scene(PhysicsConfig(soil=soil, **gains, **config))
        self.data = mujoco.MjData(self.model)
        self.weight = lunar_weight(float(self.model.body_mass.sum()))
        self.data.qpos[2], self.data.qpos[7:], self.data.ctrl[:] = height, NOMINAL_POSE, NOMINAL_POSE
        self.data.qvel[2] = -speed
        self.geoms = [self.model.geom(leg).id for leg in LEGS]
        self.absorbed = self.returned = 0.0  # J, by the soil
        mujoco.mj_kinematics(self.model, self.data)

    @property
    def feet(self) -> np.ndarray:
        """(4,) m, heights of the feet's lowest points."""
        return self.data.geom_xpos[self.geoms, 2] - RADIUS

    @property
    def force(self) -> np.ndarray:
        """(4,) N."""
        return self.data.sensordata[:4]

    def run(self, seconds: float, push=lambda t: 0.0) -> list[np.ndarray]:
        """Step with a downward force ``push(t)`` N on the trunk; the feet's vertical speeds (4,) m/s at each step."""
        speeds = []
        for step in range(round(seconds / self.model.opt.timestep)):
            self.data.xfrc_applied[self.model.jnt_bodyid[0], 2] = -push(step * self.model.opt.timestep)
            before = self.feet
            mujoco.mj_step(self.model, self.data)
            speeds.append((self.feet - before) / self.model.opt.timestep)
            work = self.force * (self.feet - before)
            self.absorbed -= work.clip(max=0.0).sum()
            self.returned += work.clip(min=0.0).sum()
        return speeds


def bearing_force(soil: SoilConfig, depth: np.ndarray, radius: float) -> np.ndarray:
    """Static force (...,) in N on a sphere of ``radius`` m whose lowest point is ``depth`` (...,) m deep: the law."""
    z = np.maximum(depth, 0.0)
    volume = np.pi * np.where(z < radius, z**2 * (radius - z / 3), radius**2 * (z - radius / 3))
    return (soil.k_c / radius + soil.k_phi) * volume


def bekker_depth(force: float, soil: SoilConfig = REGOLITH) -> float:
    """m, by tabulating the law."""
    depths = np.linspace(0.0, 0.2, 20_001)
    return float(np.interp(force, bearing_force(soil, depths, RADIUS), depths))


def test_the_law_is_pressure_times_depth_summed_over_the_sphere():
    edge = np.linspace(0.0, RADIUS, 200_001)  # rings of the sphere seen from above
    for depth in (0.005, 0.015, 0.022, 0.04):
        local = np.maximum(depth - RADIUS + np.sqrt(RADIUS**2 - edge**2), 0.0)
        pressure = (REGOLITH.k_c / RADIUS + REGOLITH.k_phi) * local
        force = np.trapezoid(pressure * 2 * np.pi * edge, edge)
        assert bearing_force(REGOLITH, np.array(depth), RADIUS) == pytest.approx(force, rel=1e-3)


def test_the_law_gives_the_agreed_depths():
    quarter = 15.206 * 1.62 / 4
    depths = [1000 * bekker_depth(n * quarter) for n in (1, 3, 5, 10)]
    assert depths == pytest.approx([11, 21, 30, 53], abs=0.7)


@pytest.mark.parametrize("friction", [0.4, 1.0])
@pytest.mark.parametrize("weights", [1, 3, 5])
def test_a_standing_robot_sinks_as_bekker_says(weights, friction):
    robot = Robot(REGOLITH, stiff=True, friction=friction)
    robot.run(2.0, lambda t: (weights - 1) * robot.weight)
    assert robot.force.sum() == pytest.approx(weights * robot.weight, rel=0.02)
    for force, height in zip(robot.force, robot.feet, strict=True):
        assert -height == pytest.approx(bekker_depth(force), rel=0.2)


def test_a_foot_dropped_at_one_metre_per_second_does_not_bounce():
    robot = Robot(REGOLITH, height=0.31, speed=1.0)
    fall = robot.run(0.02)
    assert np.min(fall) < -0.9
    after = np.array(robot.run(0.15))
    assert after.max() <= 0.1


def test_a_stance_returns_little_of_the_energy_that_it_takes():
    robot = Robot(REGOLITH, stiff=True)
    robot.run(2.0)
    robot.absorbed = robot.returned = 0.0
    robot.run(
        0.4, lambda t: 9 * robot.weight * np.sin(np.pi * min(t / 0.15, 1.0))
    )  # a hop's stance: 10 weights, 0.15 s
    assert robot.absorbed > 1.0
    assert robot.returned < 0.2 * robot.absorbed


def test_weaker_soil_gives_way_more_and_stays_on_its_law():
    depths = []
    for strength in (0.5, 1.0, 2.0):
        soil = SoilConfig("regolith", k_phi=820e3 * strength, k_c=1.4e3 * strength)
        robot = Robot(soil, stiff=True)
        robot.run(2.0)
        depths.append(-robot.feet.mean())
        assert depths[-1] == pytest.approx(bekker_depth(robot.force.mean(), soil), rel=0.2)
    assert depths[0] > 1.2 * depths[1] > 1.44 * depths[2]


def test_strength_is_one_entry_per_pair():
    soft, firm = (
        build_scene(PhysicsConfig(soil=SoilConfig("regolith", k_phi=820e3 * s, k_c=1.4e3 * s))) for s in (0.5, 1.0)
    )
    pairs = soft_pairs(firm)
    np.testing.assert_allclose(soft.pair_solref[pairs, 0], 0.5 * firm.pair_solref[pairs, 0])
    np.testing.assert_array_equal(soft.pair_solref[pairs, 1], firm.pair_solref[pairs, 1])
    np.testing.assert_array_equal(soft.pair_solimp, firm.pair_solimp)
    assert len(pairs) == 16  # feet, knees, shins and hips


def test_a_hard_landing_is_stable():
    robot = Robot(REGOLITH, height=0.35, speed=2.5)
    speeds = np.array(robot.run(1.0))
    assert robot.data.warning[mujoco.mjtWarning.mjWARN_BADQACC].number == 0
    assert speeds.max() < 1.5  # the legs throw it up again, the ground does not
    assert robot.returned < 0.25 * robot.absorbed


def test_a_soil_that_cannot_carry_is_refused():
    with pytest.raises(LunarError, match="k_phi"):
        build_scene(PhysicsConfig(soil=SoilConfig("regolith", k_phi=0.0)))


def test_every_robot_of_a_batch_has_its_own_soil():
    flat = HeightField(np.zeros((2, 2)), 100.0, (-50.0, -50.0))
    physics = BatchPhysics(PhysicsConfig(soil=REGOLITH), 4, flat)
    qpos = torch.zeros(4, 19)
    qpos[:, 2], qpos[:, 3], qpos[:, 7:] = 0.30, 1.0, torch.as_tensor(NOMINAL_POSE)
    physics.reset(torch.arange(4), qpos, torch.zeros(4, 18))
    physics.set_soil(torch.arange(4), torch.tensor([0.5, 1.0, 2.0, 0.0]))
    for _ in range(120):
        physics.step(qpos[:, 7:])
    depths = RADIUS - physics.foot_position[:, :, 2].mean(1)
    assert abs(float(depths[3])) < 1e-3  # without strength, rigid ground
    for depth, strength in zip(depths[:3], (0.5, 1.0, 2.0), strict=True):
        soil = SoilConfig("regolith", k_phi=820e3 * strength, k_c=1.4e3 * strength)
        assert float(depth) == pytest.approx(bekker_depth(physics.mass * 1.62 / 4, soil), rel=0.2)


def plastic_landing(speed: float) -> tuple[float, float, float]:
    """Peak force N, impulse N*s and depth m in 0.2 s on soil of Bekker's force at any rate, which never pushes back."""
    robot = Robot(SoilConfig(), height=0.31, speed=speed, timestep=2e-4)
    model, data = robot.model, robot.data
    model.pair_margin[:] = -1.0  # no contact but ours
    deepest, forces, jacobian = np.zeros(4), [], np.zeros((3, model.nv))
    before = data.geom_xpos[robot.geoms].copy()
    while len(forces) < 1000:
        mujoco.mj_fwdPosition(model, data)
        velocity = (data.geom_xpos[robot.geoms] - before) / model.opt.timestep
        before = data.geom_xpos[robot.geoms].copy()
        force = np.where(-robot.feet >= deepest, bearing_force(REGOLITH, -robot.feet, RADIUS), 0.0)
        deepest = np.maximum(deepest, -robot.feet)
        data.qfrc_applied[:] = 0.0
        for geom, normal, slip in zip(robot.geoms, force, velocity, strict=True):
            grip = -60.0 * slip[:2] * (normal > 0)
            mujoco.mj_jacGeom(model, data, jacobian, None, geom)
            data.qfrc_applied += jacobian.T @ np.array([*grip, normal])
        mujoco.mj_step(model, data)
        if force.sum() > 0 or forces:
            forces.append(force.sum())
    return max(forces), sum(forces) * model.opt.timestep, float(deepest.mean())


@pytest.mark.parametrize("speed", [0.6, 1.0])
def test_a_landing_is_that_of_rate_independent_plastic_soil(speed):
    peak, impulse, depth = plastic_landing(speed)
    robot = Robot(REGOLITH, height=0.31, speed=speed)
    forces, depths = [], []
    while len(forces) < 40:
        robot.run(0.005)
        if robot.force.sum() > 0 or forces:
            forces.append(robot.force.sum())
            depths.append(-robot.feet.mean())
    assert max(forces) == pytest.approx(peak, rel=0.15)
    assert sum(forces) * 0.005 == pytest.approx(impulse, rel=0.05)
    assert 0.7 * depth < max(depths) <= depth
