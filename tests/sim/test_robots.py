"""Any quadruped loads and runs, however its file is written and whatever its names; what cannot be driven is named."""

from __future__ import annotations

import re

import mujoco
import numpy as np
import pytest
import torch

from sim.errors import LunarError
from sim.physics.batch import BatchPhysics
from sim.physics.scene import PhysicsConfig, build_scene
from sim.robots.load import load_robot, robot_model
from sim.spec.gravity import MOON
from sim.spec.joints import JOINT_NAMES, LEGS, NOMINAL_POSE
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
    <general gear="7"/>
    <default class="other">
      <geom friction="0.6" condim="1"/>
      <joint axis="0 1 0" damping="1" armature="0.01" frictionloss="5" actuatorfrcrange="-20 20"/>
      <default class="abduction"><joint axis="1 0 0" range="-60 60"/></default>
      <default class="hip"><joint range="-90 200"/></default>
      <default class="knee"><joint range="-156 -48" actuatorfrcrange="-35 35"/></default>
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
        actuators='<motor joint="FR_hip_joint" ctrlrange="-3 3"/>'
        '<position joint="FL_calf_joint" kp="500" ctrlrange="-0.1 0.1" forcerange="-4 4" gear="9"/>',
    )  # fmt: skip
    path = folder / "other.xml"
    path.write_text(edit(text))
    return str(path)


def without(text: str, element: str) -> str:
    """The file without that element."""
    return re.sub(f"<{element}>.*</{element}>", "", text, flags=re.DOTALL)


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
    assert 0.05 < rest.min() and rest.max() < 5.0 / physics.kp


def test_files_do_not_choose_solver_gravity_contacts_or_motors(tmp_path):
    other, own = (build_scene(PhysicsConfig(robot=robot)) for robot in (write(tmp_path), "go2"))
    for name in ("cone", "impratio", "timestep", "solver", "density", "disableflags", "integrator"):
        assert getattr(other.opt, name) == getattr(own.opt, name), name
    assert other.opt.gravity[2] == -MOON and not other.opt.wind.any()
    np.testing.assert_array_equal(other.actuator_gear, own.actuator_gear)
    np.testing.assert_array_equal(other.actuator_gaintype, own.actuator_gaintype)
    np.testing.assert_array_equal(other.actuator_ctrllimited, own.actuator_ctrllimited)
    assert (other.npair, other.nu, other.nsensordata) == (own.npair, own.nu, own.nsensordata)
    for pair in range(other.npair):
        for model in (other, own):
            assert model.geom(model.pair_geom1[pair]).name == own.geom(own.pair_geom1[pair]).name
    np.testing.assert_array_equal(other.pair_margin, own.pair_margin)


ORDERS = {
    "of the project": LEGS,
    "right before left": ("FR", "FL", "RR", "RL"),
    "rear first": ("RR", "RL", "FL", "FR"),
    "crossed": ("RL", "FR", "RR", "FL"),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_legs_may_stand_in_any_order(tmp_path, order):
    model = robot_model(write(tmp_path, order=order))
    data = mujoco.MjData(model)
    assert [model.joint(j).name for j in range(1, 13)] == list(JOINT_NAMES)
    for k, (leg, forward, left) in enumerate(zip(LEGS, (1, 1, -1, -1), (1, -1, 1, -1), strict=True)):
        mujoco.mj_resetData(model, data)
        mujoco.mj_kinematics(model, data)
        foot = data.geom(leg).xpos - data.body("base").xpos
        assert (np.sign(foot[:2]) == (forward, left)).all()
        for j, what in enumerate("abduction hip knee".split()):
            data.qpos[:] = model.qpos0
            data.qpos[7 + 3 * k + j] = 0.1
            mujoco.mj_kinematics(model, data)
            moved = data.geom(leg).xpos - data.body("base").xpos - foot
            assert moved[1] > 0.01 if what == "abduction" else moved[0] < -0.01, what
            others = [data.geom(other).xpos for other in LEGS if other != leg]
            mujoco.mj_resetData(model, data)
            mujoco.mj_kinematics(model, data)
            np.testing.assert_array_equal(others, [data.geom(other).xpos for other in LEGS if other != leg])


def _renamed(text: str) -> str:
    """Other names for joints, feet and legs, and a body in the trunk's place that has a name of the project's."""
    for ours, theirs in (("_hip_joint", ".HAA"), ("_thigh_joint", ".HFE"), ("_calf_joint", ".KFE")):
        text = text.replace(ours, theirs)
    for ours, theirs in zip(LEGS, ("lf", "rf", "lh", "rh"), strict=True):
        text = text.replace(f'name="{ours}" class="foot"', f'name="toe {theirs}" class="foot"')
        text = text.replace(f"{ours}.", f"{theirs}.").replace(f'geom2="{ours}"', f'geom2="toe {theirs}"')
    return text.replace('name="metal"', 'name="trunk"').replace('material="metal"', 'material="trunk"')


def _mirrored(text: str) -> str:
    """Every joint turns the other way."""
    for ours, theirs in (
        ('axis="0 1 0"', 'axis="0 -1 0"'),
        ('axis="1 0 0"', 'axis="-1 0 0"'),
        ('range="-90 200"', 'range="-200 90"'),
        ('range="-156 -48"', 'range="48 156"'),
        (" ".join(map(str, np.tile([0, 0.9, -1.8], 4))), " ".join(map(str, np.tile([0, -0.9, 1.8], 4)))),
    ):
        text = text.replace(ours, theirs)
    return text


@pytest.mark.parametrize("edit", [_renamed, _mirrored])
def test_names_and_signs_of_a_file_make_no_other_robot(tmp_path, edit):
    (tmp_path / "a").mkdir()
    ours, theirs = load_robot(write(tmp_path)), load_robot(write(tmp_path / "a", edit=edit))
    for name in vars(ours).keys() - {"legs", "standing_com_height"}:  # which no file has
        np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name), atol=1e-9, err_msg=name)


def test_a_foot_that_is_no_sphere_gets_one_inside(tmp_path):
    box = ('<geom type="sphere" size="0.03" pos="0 0 -0.2"', '<geom type="box" size="0.03 0.03 0.01" pos="0 0 -0.2"')
    model = robot_model(write(tmp_path, edit=lambda t: t.replace(*box)))
    for leg in LEGS:
        foot = model.geom(leg)
        assert foot.type == mujoco.mjtGeom.mjGEOM_SPHERE
        assert -0.2101 <= foot.pos[2] - foot.size[0] <= -0.19 and np.abs(foot.pos[:2]).max() < 0.03


def mirrored_knees(text: str) -> str:
    """Knees bend to the front."""
    home = " ".join(map(str, np.tile([0, 0.9, -1.8], 4)))
    text = text.replace(home, " ".join(map(str, np.tile([0, -0.9, 1.8], 4))))
    return text.replace('range="-156 -48"', 'range="48 156"').replace('range="-90 200"', 'range="-200 90"')


def test_a_robot_may_bend_its_knees_to_the_front(tmp_path):
    robot = load_robot(write(tmp_path, edit=mirrored_knees))
    np.testing.assert_allclose(robot.nominal_pose, np.tile([0.0, -0.9, 1.8], 4))
    assert (robot.kneeling_pose[2::3] > 1.8).all()


ACTUATORS = "<actuator>"  # of FR_hip_joint and FL_calf_joint


@pytest.mark.parametrize(
    ("actuator", "limit"),
    [
        ('<motor joint="{}" gear="1" ctrlrange="-200 200"/>', 200.0),
        ('<motor joint="{}" gear="10" ctrlrange="-3 3" ctrllimited="true"/>', 30.0),
        ('<motor joint="{}" gear="1" forcerange="-33 33" ctrlrange="-99 99"/>', 33.0),
        ('<motor joint="{}" gear="-2" ctrlrange="-20 20"/>', 40.0),
        ('<position joint="{}" gear="1" forcerange="-120 110"/>', 110.0),
        ('<general joint="{}" gear="2" gainprm="5" ctrlrange="-3 3"/>', 30.0),
        ('<dcmotor joint="{}" gear="8" motorconst="0.5" resistance="0.1" ctrlrange="-2 2" ctrllimited="true"/>', 80.0),
    ],
)
def test_torque_limits_are_those_of_the_files_actuators(tmp_path, actuator, limit):
    def edit(text: str) -> str:
        text = text.replace(' actuatorfrcrange="-20 20"', "").replace(' actuatorfrcrange="-35 35"', "")
        joints = [f"{leg}_{j}_joint" for leg in LEGS for j in ("hip", "thigh", "calf")]
        before, rest = text.split(ACTUATORS)
        return before + ACTUATORS + "".join(map(actuator.format, joints)) + "</actuator>" + rest.split("</actuator>")[1]

    np.testing.assert_allclose(load_robot(write(tmp_path, edit=edit)).torque_limit, limit)
    scene = build_scene(PhysicsConfig(robot=write(tmp_path, edit=edit)))
    np.testing.assert_allclose(scene.actuator_forcerange, np.tile([-limit, limit], (12, 1)))


def test_the_smaller_of_joint_and_actuator_is_the_limit(tmp_path):
    expected = np.tile([20.0, 20.0, 35.0], 4)
    np.testing.assert_allclose(load_robot(write(tmp_path)).torque_limit, expected)  # two actuators give 36 and 21 N*m
    weaker = ('forcerange="-4 4"', 'forcerange="-3 3"')
    limits = load_robot(write(tmp_path, edit=lambda t: t.replace(*weaker))).torque_limit
    assert limits[2] == 27.0


def _without_keyframe(text: str) -> str:
    return without(text, "keyframe")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"free": ""}, "needs a <freejoint/>"),
        ({"order": LEGS[:3], "edit": _without_keyframe}, "no quadruped"),
        ({"order": (*LEGS, "ML"), "edit": _without_keyframe}, "no quadruped"),
        ({"edit": lambda t: t.replace('axis="1 0 0"', 'axis="0 0 1"')}, "turns about .* and not about x"),
        ({"edit": lambda t: t.replace('<site name="imu"/>', '<body><joint name="neck"/><geom/></body>')},
         "more joints .*neck"),
        ({"edit": lambda t: t.replace(' actuatorfrcrange="-20 20"', "")}, "what torque joint 'FL_hip_joint' can give"),
        ({"edit": lambda t: t.replace('forcerange="-4 4"', 'forcerange="-40 40"')}, "contradicts itself: .*FL_calf"),
        ({"edit": lambda t: t.replace("<actuator>", '<equality><joint joint1="FL_calf_joint" joint2="FR_calf_joint"/>'
          "</equality><actuator>")}, "couples"),
        ({"edit": lambda t: t.replace('range="-156 -48"', 'range="-170 -165"')}, "cannot stand"),
    ],
)  # fmt: skip
def test_what_cannot_be_driven_is_told_why(tmp_path, options, message):
    with pytest.raises(LunarError, match=message) as said:
        build_scene(PhysicsConfig(robot=write(tmp_path, **options)))
    assert "other.xml" in str(said.value) and "\n" not in str(said.value)
