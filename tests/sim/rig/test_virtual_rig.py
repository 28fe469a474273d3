"""Physics of the virtual rig against closed formulas."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sim.errors import LunarError
from sim.rig.config import RigConfig
from sim.rig.signals import RigInputs
from sim.rig.virtual_rig import VirtualRig
from sim.spec.gravity import EARTH, MOON
from sim.spec.joints import NOMINAL_POSE

STAND = RigInputs(kp=60.0, kd=2.0)


def rig(**changes: object) -> VirtualRig:
    return VirtualRig(RigConfig(**changes), seed=1)  # type: ignore[arg-type]


def fly(machine: VirtualRig, velocity: float, height: float, expected: float, seconds: float = 0.2) -> float:
    """Mean vertical acceleration of the centre of mass over ``seconds``, the rope stretched for the one expected."""
    tension = machine.mass * (machine.cfg.gravity + expected)
    machine.reset(height=height, velocity=np.array([0.0, 0.0, velocity]), tension=tension)
    machine.step(STAND, 0.05)
    before = machine.center_of_mass()[1][2]
    machine.step(STAND, seconds)
    return float((machine.center_of_mass()[1][2] - before) / seconds)


def test_standing_on_the_rig_loads_the_feet_with_lunar_weight() -> None:
    machine = rig(rope_friction=0.0)
    machine.step(STAND, 3.0)
    force = machine.outputs().foot_force
    assert force.sum() == pytest.approx(machine.mass * MOON, rel=0.03)
    assert (force > 0.0).all()


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.25])
def test_counterweight_inertia_slows_free_flight(ratio: float) -> None:
    """a = (g/6) / (1 + 5k/6): 0.89, 1.15 and 1.35 m/s^2, not 1.62."""
    expected = -(EARTH / 6) / (1 + 5 * ratio / 6)
    machine = rig(rope_friction=0.0, pulley_mass=0.0, rope_ratio=ratio)
    assert fly(machine, 0.8, 0.6, expected) == pytest.approx(expected, rel=0.05)


def test_rope_friction_makes_rising_and_falling_differ() -> None:
    machine = rig(rope_friction=0.05, pulley_mass=0.0)
    k = machine.cfg.rope_ratio
    for velocity, sign in ((1.0, -1), (-0.3, 1)):
        expected = -EARTH * (1 - 5 / 6 * (1 + sign * 0.05)) / (1 + 5 / 6 * k * (1 + sign * 0.05))
        assert fly(machine, velocity, 0.8, expected) == pytest.approx(expected, rel=0.05)


def test_pulley_inertia_slows_flight_further() -> None:
    machine = rig(rope_friction=0.0, pulley_mass=3.0)
    expected = -(EARTH / 6) / (1 + 5 * 0.5 / 6 + 3.0 / machine.mass)
    assert fly(machine, 0.8, 0.6, expected) == pytest.approx(expected, rel=0.05)


def test_constant_winch_force_adds_to_the_pull() -> None:
    """M a = -M g + k m_c g + F - (k^2 m_c) a."""
    machine = rig(rope_friction=0.0, pulley_mass=0.0)
    pushed = RigInputs(kp=60.0, kd=2.0, winch_force=12.0)
    machine.reset(height=0.6, velocity=np.array([0.0, 0.0, 0.8]))
    machine.step(pushed, 0.3)  # the step in force swings the elastic rope
    before = machine.center_of_mass()[1][2]
    machine.step(pushed, 0.27)
    measured = (machine.center_of_mass()[1][2] - before) / 0.27
    assert measured == pytest.approx((12.0 / machine.mass - EARTH / 6) / (1 + 5 / 12), rel=0.05)


def test_rope_goes_slack_when_the_robot_outruns_the_counterweight() -> None:
    """The counterweight falls at g at most: the rope comes in at g/k; a robot thrown up faster than that is free."""
    machine = rig(rope_friction=0.0, pulley_mass=0.0)
    machine.reset(height=0.6)
    machine.data.qvel[2] = 2.0  # a kick that the rope does not share
    machine.step(STAND, 0.02)
    assert machine.outputs().rope_tension == 0.0
    assert machine.rope.speed == pytest.approx(-0.02 * EARTH / 0.5, rel=0.35)
    before = machine.center_of_mass()[1][2]
    machine.step(STAND, 0.02)
    assert (machine.center_of_mass()[1][2] - before) / 0.02 == pytest.approx(-EARTH, rel=0.02)
    machine.step(STAND, 0.5)
    assert machine.outputs().rope_tension > 50.0


def test_brake_pays_nothing_out_and_holds_a_limp_robot() -> None:
    machine = rig()
    machine.reset(height=0.6)
    braked = RigInputs(brake=True, mode="damp")
    length = machine.rope.length
    machine.step(braked, 1.5)
    assert machine.rope.length <= length
    assert machine.outputs().rope_tension == pytest.approx(machine.mass * EARTH, rel=0.05)
    assert machine.outputs().base_position[2] > 0.5


def test_belt_carries_a_standing_robot_at_belt_speed() -> None:
    machine = rig()
    machine.step(STAND, 0.5)
    moving = RigInputs(kp=60.0, kd=2.0, belt_speed=0.2)
    machine.step(moving, 0.3)
    before = machine.outputs().foot_position[:, 0]
    belt = machine.belt_position
    machine.step(moving, 0.5)  # not longer: away from the middle the rope pulls back and the feet creep
    assert machine.belt_position - belt == pytest.approx(0.1)
    assert machine.outputs().foot_position[:, 0] - before == pytest.approx(-0.1, abs=0.005)


def test_platform_heave_and_pitch_carry_the_robot() -> None:
    machine = rig()
    machine.step(STAND, 0.5)
    feet = machine.outputs().foot_position
    rate = np.array([0.0, 0.0, 0.1, 0.0, 0.1, 0.0])
    for i in range(50):
        machine.step(RigInputs(platform_pose=rate * i * 0.01, platform_velocity=rate, kp=60.0, kd=2.0), 0.01)
    end = RigInputs(platform_pose=rate * 0.5, kp=60.0, kd=2.0)
    machine.step(end, 0.5)
    outputs = machine.outputs()
    assert outputs.platform_pose == pytest.approx(rate * 0.5)
    risen = outputs.foot_position[:, 2] - feet[:, 2]
    # pitch is positive nose down: front feet gain 0.05 - 0.05 * x, rear feet more
    assert risen == pytest.approx(0.05 - np.sin(0.05) * outputs.foot_position[:, 0], abs=0.004)


def test_energy_does_not_grow_in_free_motion() -> None:
    machine = rig(rope_friction=0.0, rope_damping=0.0)
    machine.reset(height=0.8, velocity=np.array([0.0, 0.0, 0.8]))
    limp = RigInputs(kp=0.0, kd=0.0, mode="damp")
    start = machine.energy()
    worst = 0.0
    for _ in range(20):
        machine.step(limp, 0.02)
        worst = max(worst, machine.energy() - start)
    kinetic = 0.5 * (machine.mass + machine.rope.parameters.inertia) * 0.8**2
    assert worst < 0.02 * kinetic


def test_friction_only_takes_energy_away() -> None:
    machine = rig(rope_friction=0.05)
    machine.reset(height=0.8, velocity=np.array([0.0, 0.0, 0.8]))
    energies = []
    for _ in range(20):
        energies.append(machine.energy())
        machine.step(STAND, 0.02)
    assert np.diff(energies).max() < 0.02
    assert energies[-1] < energies[0] - 0.5


def test_offset_from_the_pulley_pulls_sideways() -> None:
    """124 N over a pulley 4 m up gives about 0.6 m/s^2 at 0.3 m offset."""
    machine = rig(rope_friction=0.0)
    machine.reset(height=0.6, offset=(0.0, 0.3))
    machine.step(STAND, 0.02)
    before = machine.center_of_mass()[1][1]
    machine.step(STAND, 0.1)
    measured = (machine.center_of_mass()[1][1] - before) / 0.1
    tension = machine.outputs().rope_tension
    assert measured == pytest.approx(-tension / machine.mass * 0.3 / 3.42, rel=0.1)


def test_sideways_pull_by_formula() -> None:
    machine = rig(suspension="constant")
    machine.reset(height=0.6, offset=(0.0, 0.3))
    machine.step(STAND, 0.001)
    before = machine.center_of_mass()[1][1]
    machine.step(STAND, 0.05)
    measured = (machine.center_of_mass()[1][1] - before) / 0.05
    height = 4.0 - 0.6 - machine.cfg.harness[2]
    tension = machine.outputs().rope_tension
    expected = tension / machine.mass * 0.3 / np.hypot(height, 0.3)
    assert measured == pytest.approx(-expected, rel=0.03)


def test_trolley_keeps_the_pulley_over_the_robot() -> None:
    """It trails a robot that moves at v by v times its lag."""
    machine = rig(suspension="constant", trolley_lag=0.1)
    machine.reset(height=0.6, velocity=np.array([0.0, 0.5, 0.6]))
    machine.step(STAND, 0.5)
    outputs = machine.outputs()
    assert outputs.base_velocity[1] == pytest.approx(0.5, abs=0.05)
    assert outputs.base_position[1] - machine.suspension.pulley[1] == pytest.approx(0.05, abs=0.01)


def test_harness_above_the_centre_of_mass_rights_a_tilted_robot() -> None:
    """It gains angular momentum about its centre of mass at T c sin(tilt)."""
    machine = rig(suspension="constant", harness=(-0.0032, 0.0, 0.03))
    machine.reset(height=0.8)
    tilt = 0.2
    machine.data.qpos[3:7] = (np.cos(tilt / 2), np.sin(tilt / 2), 0.0, 0.0)  # roll
    machine.place(machine.data.qpos[:19].copy(), np.zeros(18), 124.5, 0.0)
    held = RigInputs(kp=3000.0, kd=30.0)  # legs rigid, so that the robot turns as one body
    machine.step(held, 0.06)
    com = machine.center_of_mass()[0]
    harness = machine.outputs().base_position + np.array([0.0, -0.03 * np.sin(tilt), 0.03 * np.cos(tilt)])
    above = np.linalg.norm((harness - com)[1:])
    moment = machine.outputs().rope_tension * above * np.sin(tilt)
    mujoco.mj_subtreeVel(machine.model, machine.data)
    angular = machine.data.subtree_angmom[machine.model.body("base").id]
    assert angular[0] == pytest.approx(-moment * 0.06, rel=0.1)


def test_an_ideal_rope_leaves_exactly_the_moons_gravity() -> None:
    machine = rig(suspension="constant")
    assert fly(machine, 1.0, 0.4, -MOON) == pytest.approx(-MOON, rel=1e-3)
    assert machine.outputs().rope_tension == pytest.approx(machine.mass * (EARTH - MOON))
    length = machine.rope.length
    machine.step(RigInputs(brake=True), 0.5)
    assert machine.rope.length <= length  # its brake works like any other's


def test_without_suspension_the_robot_falls_as_gravity_says() -> None:
    machine = rig(suspension="none", gravity=MOON)
    assert fly(machine, 1.0, 0.4, -MOON) == pytest.approx(-MOON, rel=1e-4)
    machine.step(RigInputs(brake=True, winch_force=100.0), 0.01)
    assert machine.outputs().rope_tension == 0.0


def test_a_braked_winch_does_not_pull() -> None:
    """Whatever its drive was told last: a closed brake must not lift the robot."""
    machine = rig()
    machine.reset(height=0.6)
    machine.step(RigInputs(brake=True, winch_force=300.0), 1.0)
    assert machine.outputs().base_position[2] < 0.65
    assert machine.outputs().rope_tension == pytest.approx(machine.mass * EARTH, rel=0.05)


def test_joint_torques_are_those_of_the_motors() -> None:
    machine = rig()
    machine.step(STAND, 1.0)
    outputs = machine.outputs()
    asked = 60.0 * (NOMINAL_POSE - outputs.joint_position) - 2.0 * outputs.joint_velocity
    assert outputs.joint_torque == pytest.approx(asked, abs=0.05)


def test_same_seed_same_motion() -> None:
    def run(seed: int) -> np.ndarray:
        machine = VirtualRig(RigConfig(), seed=seed)
        machine.step(RigInputs(belt_speed=0.3), 0.3)
        return machine.outputs().joint_position

    assert (run(3) == run(3)).all()
    assert (run(3) != run(4)).any()


def test_an_unknown_robot_is_named() -> None:
    with pytest.raises(LunarError, match="anymal"):
        rig(robot="anymal")  # type: ignore[arg-type]
