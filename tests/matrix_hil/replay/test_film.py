"""``lunar film``: what is in the file, and what is refused."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np
import pytest
from PIL import Image, ImageSequence

from matrix_hil.replay.film.cli import main
from matrix_hil.replay.film.config import Camera, FilmConfig
from matrix_hil.replay.film.footage import of_log
from matrix_hil.replay.film.stage import Stage, _landings
from sim.errors import LunarError
from sim.robots.identity import robot_file
from sim.robots.load import base_of, robot_spec
from tests.matrix_hil.synthetic_log import write_log

SMALL = ["--width", "96", "--height", "64", "--frame_rate", "10"]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "a", seconds=6.0)


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]


def test_a_log_is_filmed_on_the_moon_and_on_the_rig(log: Path, tmp_path: Path):
    out = tmp_path / "film.gif"
    main([str(log), "--begin", "2", "--duration", "0.8", "--out", str(out), "--overlay", "height,forces", *SMALL])
    shown = frames(out)
    assert shown[0].shape == (64, 192, 3)
    assert 7 <= len(shown) <= 8
    assert shown[0].std() > 5.0 and np.abs(shown[0].astype(int) - shown[-1]).mean() > 0.5


def test_slow_motion_takes_longer(log: Path, tmp_path: Path):
    out = tmp_path / "film.webp"
    main([str(log), "--view", "rig", "--duration", "0.5", "--speed", "0.5", "--out", str(out), *SMALL])
    assert 9 <= len(frames(out)) <= 10


def test_a_policy_is_filmed_in_simulation(tmp_path: Path):
    out = tmp_path / "film.mp4"
    main(["--policy", "pronk", "--terrain", "flat", "--begin", "0", "--duration", "0.5", "--out", str(out), *SMALL])
    assert out.stat().st_size > 500
    assert not list(tmp_path.glob("*partial*"))


def test_another_mjcf_lends_its_looks(log: Path, tmp_path: Path):
    """A red ball on the trunk."""
    spec = robot_spec("go2")
    base_of(spec).add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.25, 0, 0], rgba=[1, 0, 0, 1], mass=0.01)
    spec.compile()
    (tmp_path / "dressed.xml").write_text(spec.to_xml(), encoding="utf-8")
    shown = {}
    for looks in ("", str(tmp_path / "dressed.xml")):
        out = tmp_path / "film.gif"
        main([str(log), "--view", "rig", "--duration", "0.2", "--looks", looks, "--out", str(out), *SMALL])
        shown[looks] = frames(out)[0].astype(int)
    plain, dressed = (int((p[..., 0] > p[..., 1] + 60).sum()) for p in shown.values())
    assert dressed > plain + 100


def test_looks_move_by_the_names_of_joints(log: Path, tmp_path: Path):
    tree = ElementTree.parse(robot_file("go2"))
    [trunk] = [body for body in tree.iter("body") if body.get("name") == "base"]
    legs = trunk.findall("body")
    for leg in legs:
        trunk.remove(leg)
    trunk.extend(legs[::-1])
    (tmp_path / "turned.xml").write_bytes(ElementTree.tostring(tree.getroot()))
    footage = of_log(str(log), FilmConfig(log=str(log), view="rig", begin=0.0, duration=1.0))[0]
    footage.qpos[:, 7] += 0.8  # one leg aside
    pictures = []
    for looks in ("", str(tmp_path / "turned.xml")):
        stage = Stage(footage, Camera(), 96, 64, looks)
        pictures.append(stage.draw(0.5, 0.0).astype(int))
        stage.close()
    assert np.abs(pictures[0] - pictures[1]).max() <= 2  # of 255


def test_dust_starts_where_feet_land(log: Path):
    footage = of_log(str(log), FilmConfig(log=str(log), view="moon", begin=0.0, duration=6.0))[0]
    landings = _landings(footage)
    assert footage.terrain is not None and len(landings) >= 4
    for landing in landings:
        assert landing.place[2] == pytest.approx(float(footage.terrain.height(*landing.place[:2])), abs=1e-6)
        assert (landing.velocity[:, 2] > 0.0).all()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "name a log or --policy"),
        (["LOG", "--policy", "pronk"], "name a log or --policy"),
        (["LOG", "--out", "film.avi"], ".webp, .gif, .mp4"),
        (["LOG", "--overlay", "heigth"], "overlay 'heigth' is unknown"),
        (["LOG", "--begin", "60"], "nothing is left"),
        (["LOG", "--speed", "0"], "speed is 0"),
        (["--policy", "no-such-policy"], "no-such-policy"),
    ],
)
def test_what_makes_no_film_is_one_sentence(log: Path, argv: list[str], said: str, tmp_path: Path):
    words = [str(log) if word == "LOG" else word for word in argv]
    if "--out" not in words:
        words += ["--out", str(tmp_path / "film.webp")]
    with pytest.raises(LunarError, match=said):
        main(words)
    assert not list(tmp_path.iterdir())
