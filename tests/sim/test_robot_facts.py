"""What code knows of a robot is what its file says, and training and rig take the same robot from it."""

from __future__ import annotations

import shutil

import mujoco
import numpy as np
import pytest

from sim.physics.scene import PhysicsConfig, build_scene
from sim.rig.config import RigConfig
from sim.rig.model import build_model
from sim.robots.go2.facts import GO2
from sim.robots.load import ROBOTS, load_robot, robot_spec
from sim.spec.joints import JOINT_NAMES, LEGS
from tests.sim.test_robots import write

ROBOT_GEOMS = (*LEGS, *(f"{leg}_knee" for leg in LEGS), "trunk")


def test_the_go2s_facts_are_those_of_its_file():
    model = robot_spec("go2").compile()
    joints = [model.joint(name).id for name in JOINT_NAMES]
    np.testing.assert_array_equal(model.jnt_range[joints].T, [GO2.lower, GO2.upper])
    np.testing.assert_array_equal(model.jnt_actfrcrange[joints].T, [-GO2.torque_limit, GO2.torque_limit])


def test_the_go2s_feet_are_where_its_file_puts_them():
    model = robot_spec("go2").compile()
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for _ in range(20):
        data.qpos[7:] = rng.uniform(GO2.lower, GO2.upper)
        mujoco.mj_kinematics(model, data)
        feet = [data.geom(leg).xpos - data.qpos[:3] for leg in LEGS]
        np.testing.assert_allclose(GO2.legs.feet(data.qpos[7:]), feet, atol=1e-9)


def test_heights_follow_from_the_legs():
    robot = load_robot("go2")
    assert robot.standing_height == pytest.approx(2 * 0.213 * np.cos(0.9) + 0.022, abs=5e-4)
    assert robot.reach == pytest.approx(0.17)
    np.testing.assert_allclose(np.abs(robot.hips), [[0.1934, 0.0465 + 0.0955]] * 4)
    assert [tuple(np.sign(hip)) for hip in robot.hips] == [(1, 1), (1, -1), (-1, 1), (-1, -1)]  # LEGS


def test_another_robots_facts_come_from_its_file(tmp_path):
    robot = load_robot(write(tmp_path))
    assert robot.standing_height == pytest.approx(2 * 0.2 * np.cos(0.9) + 0.03, abs=6e-4)
    assert 0.2 < robot.com_height < robot.standing_height + 0.03
    np.testing.assert_allclose(np.abs(robot.hips), [[0.2, 0.05 + 0.09]] * 4)
    np.testing.assert_allclose(np.degrees([robot.lower[:3], robot.upper[:3]]), [[-60, -90, -156], [60, 200, -48]])
    assert robot.reach == pytest.approx(0.2)  # the file names no trunk: one is put between its hips


def test_what_is_derived_from_the_go2s_file_is_what_its_facts_say(tmp_path):
    copied = shutil.copy(ROBOTS / "go2" / "go2.xml", tmp_path)
    by_name, by_path = load_robot("go2"), load_robot(str(copied))
    assert by_path.com_height - by_name.com_height == pytest.approx(0.006, abs=5e-4)  # what its servos yield, rounded
    for name in ("lower", "upper", "torque_limit", "nominal_pose", "standing_height", "reach", "hips"):
        np.testing.assert_array_equal(getattr(by_name, name), getattr(by_path, name), err_msg=name)


def test_rig_and_training_take_the_same_robot_from_a_file(tmp_path):
    path = write(tmp_path)  # with a solver, friction losses, pairs and sensors of its own, and without trunk or knees
    training, rig = build_scene(PhysicsConfig(robot=path)), build_model(RigConfig(robot=path))
    for name in ("cone", "impratio", "solver", "density", "disableflags", "integrator"):
        assert getattr(training.opt, name) == getattr(rig.opt, name), name
    for model in (rig, training):  # what the file says of its joints is kept
        joints = [model.joint(name).dofadr[0] for name in JOINT_NAMES]
        np.testing.assert_array_equal(model.dof_frictionloss[joints], 5.0)
    for name in ROBOT_GEOMS:
        for what in ("size", "pos", "quat", "type"):
            np.testing.assert_array_equal(getattr(training.geom(name), what), getattr(rig.geom(name), what))
    touching = {rig.geom(rig.pair_geom1[pair]).name for pair in range(rig.npair)}
    touching |= {rig.geom(rig.pair_geom2[pair]).name for pair in range(rig.npair)}
    assert touching == {*ROBOT_GEOMS, "belt"}
    np.testing.assert_array_equal(training.actuator_gainprm, rig.actuator_gainprm)
