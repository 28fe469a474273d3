"""Any quadruped with the project's joint names loads and runs, however its file is written; a wrong one is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sim.errors import LunarError
from sim.physics.batch import BatchPhysics
from sim.physics.scene import PhysicsConfig, build_scene
from sim.spec.gravity import MOON
from sim.spec.joints import LEGS, NOMINAL_POSE, TORQUE_LIMIT
from sim.terrain.height_field import HeightField

FLAT = HeightField(np.zeros((2, 2)), 100.0, (-50.0, -50.0))

LEG = """
<body name="{leg}_hip" pos="{x} {y} 0">
  <inertial pos="0 0 0" quat="0.7071 0 0.7071 0" mass="0.9" diaginertia="0.0009 0.0006 0.0005"/>
  <joint name="{leg}_hip_joint" class="abduction"/>
  <geom size="0.046 0.02" type="cylinder" quat="1 1 0 0" class="collision"/>
  <body name="{leg}_thigh" pos="0 {side} 0">
    <joint name="{leg}_thigh_joint" class="hip"/>
    <geom type="box" size="0.1 0.012 0.017" pos="0 0 -0.1" quat="1 0 1 0" class="collision" mass="1.3"/>
    <body name="{leg}_calf" pos="0 0 -0.2">
      <joint name="{leg}_calf_joint" class="knee"/>
      <geom class="visual" mesh="wedge"/>
      <geom class="collision" type="capsule" size="0.012" fromto="0 0 0 0 0 -0.2" mass="0.3"/>
      {foot}
    </body>
  </body>
</body>
"""

FOOT_ON_CALF = """<geom name="{leg}" class="foot"/><site name="{leg}_foot" pos="0 0 -0.2"/>"""
FOOT_OF_ITS_OWN = """
<body name="{leg}_foot" pos="0 0 -0.2">
  <geom name="{leg}" class="foot" pos="0 0 0"/><site name="{leg}_foot"/>
</body>
"""

# in the style of MuJoCo Menagerie: classes, friction losses, a keyframe, motors, sensors, a solver of its own
ROBOT = """
<mujoco model="other">
  <compiler angle="degree" autolimits="true" discardvisual="true"/>
  <option cone="elliptic" impratio="100" timestep="0.002" solver="CG" wind="1 0 0" density="1.2" gravity="0 0 -9.81">
    <flag contact="disable"/>
  </option>
  <default>
    <geom type="capsule" size="0.01 0.01 0.01" margin="0.02"/>
    <site type="box" size="0.01 0.01 0.01"/>
    <position kp="500" ctrlrange="-0.1 0.1" forcerange="-1 1" gear="9"/>
    <general gear="7" ctrlrange="-0.1 0.1" ctrllimited="true"/>
    <default class="other">
      <geom friction="0.6" condim="1"/>
      <joint axis="0 1 0" damping="1" armature="0.01" frictionloss="5"/>
      <default class="abduction"><joint axis="1 0 0" range="-60 60"/></default>
      <default class="hip"><joint range="-90 200"/></default>
      <default class="knee"><joint range="-156 -48"/></default>
      <default class="visual"><geom type="mesh" contype="0" conaffinity="0" group="2" mass="0"/></default>
      <default class="collision">
        <geom group="3"/>
        <default class="foot">
          <geom type="sphere" size="0.03" pos="0 0 -0.2" condim="6" priority="1" mass="0.05"/>
        </default>
      </default>
    </default>
  </default>
  <asset>
    <mesh name="wedge" vertex="0 0 0 0.02 0 0 0 0.02 0 0 0 -0.1"/>
    <material name="metal" rgba=".9 .95 .95 1"/>
  </asset>
  <worldbody>
    <light pos="0 0 3"/>
    <geom name="floor" type="plane" size="0 0 0.01"/>
    <body name="base" pos="0 0 0.4" childclass="other">
      <inertial mass="9.5" pos="0.01 0 0" quat="0.7 0.1 0.1 0.7" diaginertia="0.11 0.1 0.03"/>
      {free}
      <geom class="visual" mesh="wedge" material="metal"/>
      <geom size="0.19 0.05 0.06" type="box" class="collision"/>
      <site name="imu"/>
      {legs}
    </body>
  </worldbody>
  <contact><exclude body1="base" body2="FL_thigh"/><pair geom1="floor" geom2="FL"/></contact>
  <actuator>{actuators}</actuator>
  <sensor><jointpos name="base" joint="FL_hip_joint"/><jointpos name="FL_force" joint="FL_hip_joint"/></sensor>
  <keyframe><key name="home" qpos="{home}" ctrl="1 0"/></keyframe>
</mujoco>
"""


def write(folder, order=LEGS, foot=FOOT_ON_CALF, free="<freejoint/>", edit=lambda text: text) -> str:
    legs = "".join(
        LEG.replace("{foot}", foot).format(
            leg=leg, x=0.2 if leg[0] == "F" else -0.2, y=0.05 if leg[1] == "L" else -0.05,
            side=0.09 if leg[1] == "L" else -0.09,
        )
        for leg in order
    )  # fmt: skip
    home = "0 0 0.3 1 0 0 0 " if free else ""
    text = ROBOT.format(
        legs=legs, free=free, home=home + " ".join(map(str, np.tile([0, 0.9, -1.8], 4))),
        actuators='<motor joint="FR_hip_joint"/><position joint="FL_calf_joint"/>',
    )  # fmt: skip
    path = folder / "other.xml"
    path.write_text(edit(text))
    return str(path)


@pytest.mark.parametrize("foot", [FOOT_ON_CALF, FOOT_OF_ITS_OWN])
def test_a_robot_of_another_style_stands_and_moves(tmp_path, foot):
    cfg = PhysicsConfig(robot=write(tmp_path, foot=foot))
    physics = BatchPhysics(cfg, 2, FLAT)
    mass = 9.5 + 4 * (0.9 + 1.3 + 0.3 + 0.05)
    assert physics.mass == pytest.approx(mass, abs=0.01)
    qpos = torch.zeros(2, 19)
    qpos[:, 2], qpos[:, 3], qpos[:, 7:] = 0.3, 1.0, torch.tensor(NOMINAL_POSE)
    physics.reset(torch.arange(2), qpos, torch.zeros(2, 18))
    targets = torch.tensor(NOMINAL_POSE, dtype=torch.float32).repeat(2, 1)
    for _ in range(250):
        assert not physics.step(targets).any()
    np.testing.assert_allclose(physics.foot_force[:, -1].sum(1), mass * MOON, rtol=0.01)
    np.testing.assert_allclose(physics.foot_position[..., 2], 0.03, atol=0.003)  # spheres of 3 cm rest on the ground
    targets[1, ::3] = 0.2
    for _ in range(50):
        physics.step(targets)
    rest = (physics.qpos[1, 7::3] - 0.2).abs()  # the file's friction of 5 N*m holds joints short of their targets
    assert 0.05 < rest.min() and rest.max() < 5.0 / cfg.kp


def test_files_do_not_choose_solver_gravity_contacts_or_motors(tmp_path):
    other, own = (build_scene(PhysicsConfig(robot=robot)) for robot in (write(tmp_path), "go2"))
    for name in ("cone", "impratio", "timestep", "solver", "density", "disableflags", "integrator"):
        assert getattr(other.opt, name) == getattr(own.opt, name), name
    assert other.opt.gravity[2] == -MOON and not other.opt.wind.any()
    np.testing.assert_array_equal(other.actuator_gear, own.actuator_gear)
    np.testing.assert_array_equal(other.actuator_gainprm, own.actuator_gainprm)
    np.testing.assert_array_equal(other.actuator_ctrllimited, own.actuator_ctrllimited)
    assert (other.npair, other.nu, other.nsensordata) == (own.npair, own.nu, own.nsensordata)
    for pair in range(other.npair):
        for model in (other, own):
            assert model.geom(model.pair_geom1[pair]).name == own.geom(own.pair_geom1[pair]).name
    np.testing.assert_array_equal(other.pair_margin, own.pair_margin)


def test_a_robots_own_torque_limits_are_those_of_its_joints(tmp_path):
    limit = 'range="-156 -48" actuatorfrcrange="-30 30"'
    model = build_scene(PhysicsConfig(robot=write(tmp_path, edit=lambda t: t.replace('range="-156 -48"', limit))))
    expected = np.where(np.arange(12) % 3 == 2, 30.0, TORQUE_LIMIT)
    np.testing.assert_allclose(model.actuator_forcerange[:, 1], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edit": lambda t: t.replace("RR_calf_joint", "RR_knee")}, "no joint 'RR_calf_joint'"),
        ({"edit": lambda t: t.replace('name="RL" class', 'name="RL_toe" class')}, "no foot geom 'RL'"),
        ({"edit": lambda t: t.replace('<geom type="sphere" size="0.03"', '<geom type="box" size="0.03 0.03 0.03"')},
         "foot geom 'FL' must be a sphere"),
        ({"free": ""}, "needs a <freejoint/>"),
        ({"order": ("FR", "FL", "RR", "RL")}, "in the order FL, FR, RL, RR, not as .'FR_hip_joint', 'FL_hip_joint'"),
        ({"edit": lambda t: t.replace('<site name="imu"/>', '<body><joint name="neck"/><geom/></body>')},
         "more joints .*neck"),
    ],
)  # fmt: skip
def test_a_wrong_robot_is_told_what_is_wrong(tmp_path, options, message):
    with pytest.raises(LunarError, match=message):
        build_scene(PhysicsConfig(robot=write(tmp_path, **options)))


def test_legs_need_a_trunk(tmp_path):
    path = tmp_path / "legs.xml"
    legs = "".join(
        f'<body name="{leg}">' + "".join(f'<joint name="{leg}_{j}_joint"/>' for j in ("hip", "thigh", "calf"))
        + f'<geom name="{leg}" size="0.1"/></body>'
        for leg in LEGS
    )  # fmt: skip
    path.write_text(f"<mujoco><worldbody>{legs}</worldbody></mujoco>")
    with pytest.raises(LunarError, match="needs a <freejoint/>"):
        build_scene(PhysicsConfig(robot=str(path)))
