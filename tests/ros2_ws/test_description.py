"""The URDF is the simulator's robot: masses, inertias, limits and places, read back in two ways that share no code."""

from __future__ import annotations

import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from sim.config import ROOT
from sim.robots.load import load_robot, robot_spec
from sim.spec.joints import JOINT_NAMES, LEGS, LOWER, SPEED_LIMIT, TORQUE_LIMIT, UPPER
from tests.sim.test_robots import FOOT_OF_ITS_OWN, write

PACKAGE = ROOT / "ros2_ws/src/lunar_description"
URDF = PACKAGE / "urdf/go2.urdf"


@pytest.fixture(scope="module")
def tree() -> ET.Element:
    return ET.parse(URDF).getroot()


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return robot_spec("go2").compile()


def numbers(element: ET.Element | None, key: str) -> np.ndarray:
    assert element is not None
    return np.array([float(v) for v in element.attrib[key].split()])


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' formula."""
    k = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(angle) * k + (1.0 - np.cos(angle)) * k @ k


def placed(element: ET.Element | None) -> np.ndarray:
    """An <origin> as a 4 x 4 transform."""
    roll, pitch, yaw = numbers(element, "rpy")
    x, y, z = np.eye(3)
    out = np.eye(4)
    out[:3, :3] = rotation(z, yaw) @ rotation(y, pitch) @ rotation(x, roll)
    out[:3, 3] = numbers(element, "xyz")
    return out


def frames(tree: ET.Element, angles: dict[str, float]) -> dict[str, np.ndarray]:
    """Every link's 4 x 4 pose in base_link."""
    poses = {"base_link": np.eye(4)}
    waiting = tree.findall("joint")
    while waiting:
        ready = [j for j in waiting if j.find("parent").attrib["link"] in poses]
        assert ready, "a joint hangs on a link that nothing carries"
        for joint in ready:
            pose = poses[joint.find("parent").attrib["link"]] @ placed(joint.find("origin"))
            if joint.attrib["type"] == "revolute":
                turn = np.eye(4)
                turn[:3, :3] = rotation(numbers(joint.find("axis"), "xyz"), angles[joint.attrib["name"]])
                pose = pose @ turn
            poses[joint.find("child").attrib["link"]] = pose
        waiting = [j for j in waiting if j not in ready]
    return poses


def test_the_file_is_what_the_generator_writes() -> None:
    assert URDF.read_text() == runpy.run_path(str(PACKAGE / "generate.py"))["urdf"]("go2")


def test_every_link_has_its_place_for_any_pose(tree: ET.Element, model: mujoco.MjModel) -> None:
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for _ in range(20):
        data.qpos[:3] = rng.normal(size=3)
        data.qpos[3:7] = rng.normal(size=4)
        data.qpos[3:7] /= np.linalg.norm(data.qpos[3:7])
        data.qpos[7:] = rng.uniform(LOWER, UPPER)
        mujoco.mj_kinematics(model, data)
        poses = frames(tree, dict(zip(JOINT_NAMES, data.qpos[7:], strict=True)))
        base = np.eye(4)
        base[:3, :3], base[:3, 3] = data.body("base").xmat.reshape(3, 3), data.body("base").xpos
        assert set(poses) == {"base_link", "trunk", "imu_link"} | {
            f"{leg}_{part}" for leg in LEGS for part in ("hip", "thigh", "calf", "foot")
        }
        for name, pose in poses.items():
            got = base @ pose
            if name.endswith("_foot"):
                assert got[:3, 3] == pytest.approx(data.geom(name.removesuffix("_foot")).xpos, abs=1e-6)
                continue
            body = data.body("base" if name in ("base_link", "trunk", "imu_link") else name)
            assert got[:3, 3] == pytest.approx(body.xpos, abs=1e-6)
            assert got[:3, :3] == pytest.approx(body.xmat.reshape(3, 3), abs=1e-6)


def test_masses_and_inertias_are_the_models(tree: ET.Element, model: mujoco.MjModel) -> None:
    total = 0.0
    for link in tree.findall("link"):
        inertial = link.find("inertial")
        if inertial is None:
            continue
        body = model.body({"trunk": "base"}.get(link.attrib["name"], link.attrib["name"]))
        mass = numbers(inertial.find("mass"), "value")[0]
        total += mass
        assert mass == pytest.approx(body.mass[0], rel=1e-6)
        assert placed(inertial.find("origin"))[:3, 3] == pytest.approx(body.ipos, abs=1e-6)
        i = {key: float(value) for key, value in inertial.find("inertia").attrib.items()}
        tensor = np.array([
            [i["ixx"], i["ixy"], i["ixz"]], [i["ixy"], i["iyy"], i["iyz"]], [i["ixz"], i["iyz"], i["izz"]]
        ])  # fmt: skip
        axes = np.zeros(9)
        mujoco.mju_quat2Mat(axes, body.iquat)
        axes = axes.reshape(3, 3)
        assert axes.T @ tensor @ axes == pytest.approx(np.diag(body.inertia), abs=1e-9)
    assert total == pytest.approx(15.206, abs=0.05)  # the data sheet's sum


def test_limits_are_the_data_sheets(tree: ET.Element) -> None:
    limits = {j.attrib["name"]: j.find("limit").attrib for j in tree.findall("joint[@type='revolute']")}
    assert tuple(limits) == JOINT_NAMES
    for key, values in {"lower": LOWER, "upper": UPPER, "effort": TORQUE_LIMIT, "velocity": SPEED_LIMIT}.items():
        assert [float(limit[key]) for limit in limits.values()] == pytest.approx(values, rel=1e-6)


def test_another_reader_finds_the_same_robot(model: mujoco.MjModel) -> None:
    """MuJoCo reads URDF too."""
    spec = mujoco.MjSpec.from_file(str(URDF))
    spec.compiler.fusestatic = 0  # the fixed trunk would be lost in the world
    other = spec.compile()
    assert other.njnt == 12 and other.body_mass.sum() == pytest.approx(model.body_mass.sum(), rel=1e-6)
    here, there = mujoco.MjData(model), mujoco.MjData(other)
    pose = np.random.default_rng(1).uniform(LOWER, UPPER)
    here.qpos[:7], here.qpos[7:], there.qpos[:] = [0, 0, 0, 1, 0, 0, 0], pose, pose
    for m, d in ((model, here), (other, there)):
        mujoco.mj_kinematics(m, d)
    for name in JOINT_NAMES:
        assert other.joint(name).range == pytest.approx(model.joint(name).range, rel=1e-6)
        assert there.joint(name).xanchor == pytest.approx(here.joint(name).xanchor, abs=1e-6)
        assert there.joint(name).xaxis == pytest.approx(here.joint(name).xaxis, abs=1e-6)


def test_pinocchio_finds_the_same_kinematics_and_inertia(model: mujoco.MjModel) -> None:
    pinocchio = pytest.importorskip("pinocchio", reason="pip install pin: rigid-body dynamics of others")
    robot = pinocchio.buildModelFromUrdf(str(URDF), pinocchio.JointModelFreeFlyer())
    there, here, rng = robot.createData(), mujoco.MjData(model), np.random.default_rng(0)
    joints = [robot.joints[robot.getJointId(name)] for name in JOINT_NAMES]
    for _ in range(20):
        w, x, y, z = turn = rng.normal(size=4)
        here.qpos[:3], here.qpos[3:7], here.qpos[7:] = rng.normal(size=3), turn, rng.uniform(LOWER, UPPER)
        here.qpos[3:7] /= np.linalg.norm(turn)
        mujoco.mj_forward(model, here)
        q = pinocchio.neutral(robot)
        q[:3], q[3:7] = here.qpos[:3], np.array([x, y, z, w]) / np.linalg.norm(turn)
        q[[joint.idx_q for joint in joints]] = here.qpos[7:]
        pinocchio.framesForwardKinematics(robot, there, q)
        for leg in LEGS:
            foot = there.oMf[robot.getFrameId(f"{leg}_foot")].translation
            assert foot == pytest.approx(here.geom(leg).xpos, abs=1e-9)
        ours, theirs = np.zeros((18, 18)), np.triu(pinocchio.crba(robot, there, q))
        mujoco.mj_fullM(model, here, ours)
        to_theirs = np.zeros((18, 18))  # its base moves in its own axes, MuJoCo's in the world's
        to_theirs[:3, :3], to_theirs[3:6, 3:6] = here.body("base").xmat.reshape(3, 3).T, np.eye(3)
        to_theirs[[joint.idx_v for joint in joints], range(6, 18)] = 1.0
        whole = theirs + np.triu(theirs, 1).T
        moved = to_theirs.T @ whole @ to_theirs + np.diag(model.dof_armature)  # URDF knows no rotors
        assert moved == pytest.approx(ours, abs=1e-9)


def test_a_body_that_is_turned_keeps_its_inertia(tmp_path: Path) -> None:
    """The Go2's own frames are all parallel; a robot whose are not exercises the rotations."""
    text = (ROOT / "sim/robots/go2/go2.xml").read_text()
    turned = text.replace('name="FL_thigh" pos="0 0.0955 0"', 'name="FL_thigh" pos="0 0.0955 0" euler="0.3 -0.4 0.5"')
    turned = turned.replace('diaginertia="0.0245 0.098 0.107"', 'fullinertia="0.03 0.09 0.1 0.002 -0.003 0.004"')
    assert turned.count("euler") == text.count("euler") + 1 and "fullinertia" in turned
    (tmp_path / "turned.xml").write_text(turned)
    script, out = str(PACKAGE / "generate.py"), tmp_path / "turned.urdf"
    subprocess.run([sys.executable, script, str(tmp_path / "turned.xml"), "--out", str(out)], check=True)
    tree = ET.parse(out).getroot()
    inertia = tree.find("link[@name='trunk']/inertial/inertia")
    wanted = {"ixx": 0.03, "iyy": 0.09, "izz": 0.1, "ixy": 0.002, "ixz": -0.003, "iyz": 0.004}
    assert {k: float(v) for k, v in inertia.attrib.items()} == pytest.approx(wanted, abs=1e-6)
    model = robot_spec(str(tmp_path / "turned.xml")).compile()
    data = mujoco.MjData(model)
    data.qpos[:7], data.qpos[7:] = [0, 0, 0, 1, 0, 0, 0], np.full(12, 0.2)
    mujoco.mj_kinematics(model, data)
    pose = frames(tree, dict.fromkeys(JOINT_NAMES, 0.2))["FL_foot"]
    assert pose[:3, 3] == pytest.approx(data.geom("FL").xpos, abs=1e-6)


def test_another_robots_urdf_has_its_own_limits_and_all_of_its_bodies(tmp_path: Path) -> None:
    pinocchio = pytest.importorskip("pinocchio")
    path = write(tmp_path, order=("FR", "FL", "RR", "RL"), foot=FOOT_OF_ITS_OWN)
    script, out = str(PACKAGE / "generate.py"), tmp_path / "other.urdf"
    subprocess.run([sys.executable, script, path, "--out", str(out)], check=True)
    tree, robot, model = ET.parse(out).getroot(), load_robot(path), robot_spec(path).compile()
    for k, name in enumerate(JOINT_NAMES):
        limit = tree.find(f"joint[@name='{name}']/limit")
        found = [float(limit.attrib[key]) for key in ("lower", "upper", "effort", "velocity")]
        facts = (robot.lower, robot.upper, robot.torque_limit, robot.speed_limit)
        assert found == pytest.approx([values[k] for values in facts], abs=1e-6)
    parsed = pinocchio.buildModelFromUrdf(str(out), pinocchio.JointModelFreeFlyer())
    assert parsed.nq == 19
    assert sum(inertia.mass for inertia in parsed.inertias) == pytest.approx(model.body_subtreemass[1])


def test_an_unknown_robot_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(PACKAGE / "generate.py"), "nowhere", "--out", str(tmp_path / "x")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and "nowhere" in result.stderr and result.stderr.count("\n") == 1


def test_the_rviz_file_shows_the_robot() -> None:
    displays = yaml.safe_load((PACKAGE / "rviz/go2.rviz").read_text())["Visualization Manager"]["Displays"]
    assert any(d["Class"] == "rviz_default_plugins/RobotModel" and d["Enabled"] for d in displays)
