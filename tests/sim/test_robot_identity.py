"""A robot is what its MJCF says: the same in every folder and format, another with one number changed."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mujoco
import pytest

from sim.errors import LunarError
from sim.robots.identity import ROBOTS, identify, robot_file
from sim.robots.load import load_robot

GO2 = (ROBOTS / "go2" / "go2.xml").read_text()
HEAVY = GO2.replace('mass="6.921"', 'mass="7.5"')


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def tetrahedron(size: float) -> bytes:
    """An STL file."""
    corners = [(0, 0, 0), (size, 0, 0), (0, size, 0), (0, 0, size)]
    faces = [(0, 2, 1), (0, 1, 3), (1, 2, 3), (0, 3, 2)]
    body = b"".join(
        struct.pack("<3f", 0, 0, 0) + b"".join(struct.pack("<3f", *corners[i]) for i in face) + bytes(2)
        for face in faces
    )
    return bytes(80) + struct.pack("<I", len(faces)) + body


def test_a_copy_of_a_shipped_robot_is_that_robot(tmp_path):
    there = identify("go2")
    assert (there.name, there.shipped, there.files) == ("go2", True, {})
    here = identify(write(tmp_path / "mine.xml", GO2.replace("\n", "\r\n") + "<!-- a remark -->\n"))
    assert (here.name, here.digest, here.shipped) == ("go2", there.digest, True)


def test_another_robot_has_the_name_of_its_file_and_never_a_shipped_one(tmp_path):
    mine, named_go2 = (identify(write(tmp_path / name, HEAVY)) for name in ("mine.xml", "go2.xml"))
    assert (mine.name, mine.shipped) == ("mine", False)
    assert named_go2.name == f"go2-{mine.digest[:8]}" and named_go2.digest == mine.digest
    assert identify(write(tmp_path / "mine.xml", HEAVY.replace("7.5", "7.6"))).digest != mine.digest


def test_meshes_and_includes_count_by_what_they_say(tmp_path):
    more = '<asset><mesh file="{}"/></asset>\n<include file="parts/more.xml"/>\n<default>'
    shape = '<geom type="mesh" mesh="box" mass="0" contype="0" conaffinity="0"/><site name="imu"'

    def make(folder: str, meshes: str, size: float, number: int) -> str:
        text = HEAVY.replace("<default>", more.format("box.stl"), 1).replace('<site name="imu"', shape)
        text = text.replace("<compiler ", f'<compiler meshdir="{meshes}" ')
        write(tmp_path / folder / "parts" / "more.xml", f'<x><custom><numeric name="n" data="{number}"/></custom></x>')
        (tmp_path / folder / meshes).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / meshes / "box.stl").write_bytes(tetrahedron(size))
        return write(tmp_path / folder / "mine.xml", text)

    first = identify(make("a", "meshes", 0.1, 1))
    assert identify(make("b", "../elsewhere", 0.1, 1)).digest == first.digest
    assert len({first.digest, identify(make("c", "m", 0.2, 1)).digest, identify(make("d", "m", 0.1, 2)).digest}) == 3
    kept = tmp_path / "kept"
    kept.mkdir()
    for name, data in first.files.items():
        (kept / name).write_bytes(data)
    again = identify(str(kept / "mine.xml"))
    assert (again.name, again.digest, again.files) == (first.name, first.digest, first.files)
    ours, theirs = (mujoco.MjModel.from_xml_path(str(p)) for p in (kept / "mine.xml", tmp_path / "a" / "mine.xml"))
    assert (ours.body_mass == theirs.body_mass).all() and (ours.mesh_vert == theirs.mesh_vert).all()


def test_a_mesh_that_is_not_there_is_one_sentence(tmp_path):
    robot = write(tmp_path / "mine.xml", HEAVY.replace("<default>", '<asset><mesh file="no.stl"/></asset><default>', 1))
    for read in (identify, load_robot):
        with pytest.raises(LunarError, match=r"no\.stl") as said:
            read(robot)
        assert "\n" not in str(said.value)


@pytest.mark.parametrize("name", ["robot.urdf", "robot.xml"])
def test_a_urdf_is_told_how_it_becomes_a_model_and_that_makes_it_one(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leg = '<link name="{0}"><inertial><mass value="1"/><inertia ixx="1" ixy="0" ixz="0" iyy="1" iyz="0" izz="1"/>'
    leg += "</inertial></link>"
    (tmp_path / name).write_text(
        f'<robot name="x">{leg.format("trunk")}{leg.format("hip")}<joint name="j" type="revolute">'
        '<parent link="trunk"/><child link="hip"/><axis xyz="1 0 0"/>'
        '<limit lower="-1" upper="1" effort="20" velocity="9"/></joint></robot>'
    )
    with pytest.raises(LunarError, match="of a URDF this makes one") as refused:
        identify(name)
    (tmp_path / name).rename("robot.urdf")
    exec(str(refused.value).partition('-c "')[2].removesuffix('"'))
    model = mujoco.MjModel.from_xml_path("robot.xml")
    assert model.nq == 8 and model.jnt_actfrcrange[1, 1] == 20.0 and model.body_mass.sum() == 2.0


@pytest.mark.parametrize("text", ["", "<mujoco>", '<mujoco><include file="mine.xml"/></mujoco>', "\0"])
def test_files_that_are_no_robots(text, tmp_path):
    with pytest.raises(LunarError, match=r"mine\.xml"):
        identify(write(tmp_path / "mine.xml", text))


@pytest.mark.parametrize(
    ("folder", "files", "found"),
    [
        ("spot", ["scene.xml", "spot.xml", "spot_arm.xml"], "spot.xml"),
        ("boston_dynamics_spot", ["scene.xml", "spot.xml", "spot_arm.xml"], "spot.xml"),
        ("mine", ["only.xml", "scene_flat.xml"], "only.xml"),
        ("mine", ["a.xml", "b.xml"], "holds a.xml, b.xml; name the file"),
        ("mine", [], "holds no MJCF"),
    ],
)
def test_a_folder_stands_for_the_robot_in_it(folder: str, files: list[str], found: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    for name in files:
        write(tmp_path / folder / name, HEAVY)
    if found.endswith(".xml"):
        assert robot_file(str(tmp_path / folder)) == tmp_path / folder / found
    else:
        with pytest.raises(LunarError, match=found):
            robot_file(str(tmp_path / folder))


def test_names_of_menagerie_come_after_the_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def robot(name: str, file: str) -> Any:
        return SimpleNamespace(name=name, default_model=file, xml=lambda model: tmp_path / name / f"{model}.xml")

    def broken(model: str) -> Path:
        raise RuntimeError("no\nnetwork")

    lost = SimpleNamespace(name="google_barkour_vb", default_model="barkour_vb", xml=broken)
    found = [robot("unitree_go2", "go2"), robot("boston_dynamics_spot", "spot"), lost]
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", SimpleNamespace(robots=lambda kind: found))
    assert robot_file("go2") == ROBOTS / "go2" / "go2.xml"
    assert robot_file("spot") == robot_file("boston_dynamics_spot") == tmp_path / "boston_dynamics_spot" / "spot.xml"
    assert robot_file("unitree_go2") == tmp_path / "unitree_go2" / "go2.xml"
    with pytest.raises(LunarError, match=r"could not be fetched .*no network.*MENAGERIE_ROOT"):
        robot_file("barkour_vb")
    with pytest.raises(LunarError, match=r"'nowhere' is unknown; .*go2, .*spot"):
        robot_file("nowhere")
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    with pytest.raises(LunarError, match=r"pip install lunar\[robots\]"):
        robot_file("spot")
