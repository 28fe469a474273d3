"""``lunar play``: the robot on the page is a simulated one that answers to gravity, pushes, ground and commands."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from policy.play.cli import PlayConfig, Session, main
from policy.play.controls import Ground, Push, Restart
from policy.play.live_robot import LYING_TIME, LiveRobot, Moment
from policy.play.page import followed
from policy.play.readouts import estimate_table
from policy.runtime.onnx_policy import OnnxPolicy, Proprioception
from policy.runtime.weights import KEY
from sim.config import ROOT
from sim.errors import LunarError
from sim.mdp.observations import NoiseConfig
from sim.terrain.generators import TerrainConfig, make_terrain
from tests.browser import needs_chromium, open_tab

PRONK = ROOT / "policy/zoo/pronk"
COMMAND = np.array([0.3, 0.0, 0.0, 0.3, 0.0])
NO_NOISE = NoiseConfig(0.0, 0.0, 0.0, 0.0)
FLAT = make_terrain(TerrainConfig(), 0)


@pytest.fixture
def robot() -> LiveRobot:
    """The shipped policy's, on flat ground in lunar gravity."""
    return LiveRobot(OnnxPolicy(PRONK), FLAT, NoiseConfig(), 1.62)


def momentum(robot: LiveRobot) -> np.ndarray:
    """(3,) N*s of the whole robot, world frame."""
    model = robot.physics.model
    data = mujoco.MjData(model)
    data.qpos, data.qvel = robot.physics.qpos[0].numpy(), robot.physics.qvel[0].numpy()
    mujoco.mj_forward(model, data)
    mujoco.mj_subtreeVel(model, data)
    return robot.physics.mass * data.subtree_linvel[model.jnt_bodyid[0]]


def steps(robot: LiveRobot, seconds: float, command: np.ndarray = COMMAND) -> list[Moment]:
    return [robot.step(command) for _ in range(round(seconds / robot.dt))]


@pytest.mark.parametrize("gravity", [0.85, 1.62, 3.7])
def test_gravity_acts_at_once_on_a_robot_in_the_air(robot: LiveRobot, gravity: float) -> None:
    robot.push(np.array([0.0, 0.0, 2.0 * robot.physics.mass]))
    steps(robot, 0.2)
    robot.set_gravity(gravity)
    before = momentum(robot)
    steps(robot, 0.1)
    # no other force, whatever the legs do
    np.testing.assert_allclose((momentum(robot) - before) / robot.physics.mass / 0.1, [0.0, 0.0, -gravity], atol=2e-3)


def test_a_push_changes_momentum_by_its_impulse_in_the_robots_heading(robot: LiveRobot) -> None:
    moment = steps(robot, 4.0, np.array([0.3, 0.0, 0.4, 0.3, 0.0]))[-1]
    w, x, y, z = moment.qpos[3:7]
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    assert abs(yaw) > 0.3, "it has turned"
    before = momentum(robot)
    robot.push(np.array([3.0, -2.0, 1.0]))
    c, s = np.cos(yaw), np.sin(yaw)
    np.testing.assert_allclose(momentum(robot) - before, [3 * c + 2 * s, 3 * s - 2 * c, 1.0], atol=1e-3)


@pytest.mark.parametrize("kind", ["flat", "mare", "crater-rim", "blocky"])
def test_on_another_ground_it_stands_on_it(robot: LiveRobot, kind: str) -> None:
    terrain = make_terrain(TerrainConfig(kind=kind, size=24.0, resolution=0.1), 3)
    robot.set_terrain(terrain)
    for _ in range(3):  # places
        moment = robot.step(COMMAND)
        clearance = moment.foot_position[:, 2] - terrain.height(*moment.foot_position[:, :2].T)
        assert 0.02 < clearance.min() < 0.06, "the lowest foot, whose radius is 0.022 m, is just off the ground"
        assert moment.tally.hops == 0 and not moment.lying
        robot.restart()


def test_it_pronks_and_its_hops_are_counted(robot: LiveRobot) -> None:
    moments = steps(robot, 10.0)
    tally = moments[-1].tally
    assert tally.hops >= 5 and 1 <= tally.run <= tally.longest_run <= tally.pronks <= tally.hops
    flights = [m for m in moments if not m.loaded.any()]
    rise = max(m.truth["height"] for m in flights) - min(m.truth["height"] for m in flights)
    assert tally.apex_gain == pytest.approx(rise, abs=0.1) and tally.apex_command == 0.3
    # up and down again from an apex takes at least this long
    assert 2 * np.sqrt(2 * tally.apex_gain / 1.62) < tally.flight_time < 2.0
    assert tally.peak_force == pytest.approx(12.0, abs=6.0)
    assert moments[-1].qpos[0] == pytest.approx(sum(m.truth["vx"] for m in moments) * robot.dt, abs=0.3)


def test_sensors_err_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    robot = LiveRobot(OnnxPolicy(PRONK), FLAT, replace(NO_NOISE, joint_velocity=2.0, joint_position_bias=0.1), 1.62)
    errors: list[tuple[np.ndarray, ...]] = []

    def act(sensors: Proprioception, command: np.ndarray) -> np.ndarray:
        qpos, qvel = robot.physics.qpos[0].numpy(), robot.physics.qvel[0].numpy()
        exact = (qvel[3:6], qpos[7:], qvel[6:])
        seen = (sensors.angular_velocity, sensors.joint_position, sensors.joint_velocity)
        errors.append(tuple(s - e for s, e in zip(seen, exact, strict=True)))
        return OnnxPolicy.act(robot.policy, sensors, command)

    monkeypatch.setattr(robot.policy, "act", act)
    steps(robot, 1.0)
    rate, position, speed = (np.array(e) for e in zip(*errors, strict=True))
    np.testing.assert_allclose(rate, 0.0, atol=1e-6)
    np.testing.assert_allclose(position, np.tile(position[0], (len(position), 1)), atol=1e-6)
    assert 0.03 < np.abs(position).max() <= 0.1 and 1.8 < np.abs(speed).max() <= 2.0 and abs(speed.mean()) < 0.2


def test_after_a_fall_it_lies_limp_and_starts_anew(robot: LiveRobot) -> None:
    steps(robot, 4.0)
    robot.push(np.array([0.0, 60.0, -20.0]))
    moments = steps(robot, 10.0)
    fallen = next(m for m in moments if m.lying)
    assert fallen.falls == 1 and fallen.tally.hops > 0
    start = next(m for m in moments if m.time > fallen.time and not m.lying)
    assert start.time - fallen.time == pytest.approx(LYING_TIME, abs=2 * robot.dt)
    assert start.falls == 1 and start.tally.hops == 0
    assert start.qpos[2] > 0.25 and start.qpos[3] > 0.99, "it stands upright"


def test_it_never_leaves_the_map(robot: LiveRobot) -> None:
    robot.set_terrain(make_terrain(TerrainConfig(kind="mare", size=8.0, resolution=0.1, level=0), 0))
    moments = steps(robot, 20.0, np.array([0.6, 0.0, 0.0, 0.3, 0.0]))
    x = np.array([m.qpos[0] for m in moments])
    assert np.abs(x).max() < 4.0
    assert (np.diff(x) < -1.0).any(), "it was taken back"


def estimating(folder: Path, values: list[float]) -> Path:
    """A policy that stands and always estimates ``values`` of vx, vy, vz and height."""
    card = json.loads((PRONK / "card.json").read_text())
    card["model"]["encoders"] = {"all": {"estimates": ["vx", "vy", "vz", "height"]}}
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps(card))
    size = OnnxPolicy(PRONK).card.observation.size
    constants = {"zeros": np.zeros((size, 12)), "none": np.zeros((size, 4)), "values": np.array(values)}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["observation", "zeros"], ["action"]),
            helper.make_node("MatMul", ["observation", "none"], ["nothing"]),
            helper.make_node("Add", ["nothing", "values"], ["estimate"]),
        ],
        "standing",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["n", size])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", k]) for n, k in (("action", 12), ("estimate", 4))],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {KEY: card["weights"]})
    onnx.save(model, str(folder / "policy.onnx"))
    return folder


def test_estimates_stand_beside_the_truth_of_the_same_moment(tmp_path: Path) -> None:
    policy = OnnxPolicy(estimating(tmp_path / "policy", [0.5, -0.25, 0.125, 0.75]))
    standing = LiveRobot(policy, FLAT, NO_NOISE, 1.62)
    steps(standing, 1.0)
    standing.push(np.array([standing.physics.mass, 0.0, 0.0]))
    moment = standing.step(COMMAND)
    assert moment.estimate == {"vx": 0.5, "vy": -0.25, "vz": 0.125, "height": 0.75}
    assert moment.truth["vx"] == pytest.approx(1.0, abs=0.02), "before friction slowed it"
    assert moment.truth["height"] == pytest.approx(0.26, abs=0.02)
    table = estimate_table(moment, policy.card.estimates)
    assert "| vx m/s | +1.0" in table and "| height m | +0.26 | +0.75 |" in table


def test_what_cannot_be_played_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LunarError, match=r"nowhere/card\.json does not exist"):
        main(["--policy", "nowhere", "--port", "0"])
    with pytest.raises(LunarError, match="terrain 'mars' is unknown"):
        main(["--policy", str(PRONK), "--terrain", "mars", "--port", "0"])
    shutil.copytree(PRONK, tmp_path / "other")
    card = json.loads((PRONK / "card.json").read_text())
    (tmp_path / "other/card.json").write_text(json.dumps({**card, "robot": "octopus"}))
    with pytest.raises(LunarError, match="robot 'octopus'"):
        main(["--policy", str(tmp_path / "other"), "--port", "0"])


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(PlayConfig(policy=str(PRONK), terrain="flat", port=0)) as started:
        yield started


def test_a_port_in_use_gives_the_next(session: Session) -> None:
    taken = session.page.server.get_port()
    with Session(PlayConfig(policy=str(PRONK), terrain="flat", port=taken)) as other:
        assert other.page.url.startswith("http://127.0.0.1:") and other.page.url != session.page.url


def test_what_is_asked_for_is_done(session: Session) -> None:
    controls = session.page.controls
    session.tick()
    controls.actions.put(Push((15.0, 0.0, 0.0)))
    session.tick()
    assert momentum(session.robot)[0] > 10.0
    for kind in ("blocky", "mare", "rough"):  # a menu that is scrolled through: the last counts
        controls.actions.put(Ground(kind, 4))
    controls.actions.put(Restart())
    session.tick()
    rough = make_terrain(TerrainConfig(kind="rough", level=4), 0)
    x, y, z = session.moment.qpos[:3]
    assert session.moment.ground == pytest.approx(float(rough.height(x, y)), abs=1e-3)
    assert z - session.moment.ground == pytest.approx(0.31, abs=0.06)


def test_the_view_follows_when_told_and_jumps_with_the_robot() -> None:
    for dt, reached in ((0.04, 6.0), (0.0, 0.0)):  # a robot at 0.6 m/s for 10 s
        anchor, before = np.zeros(3), np.zeros(3)
        for k in range(250):
            target = np.array([0.024 * (k + 1), 0.0, 0.1])
            anchor, before = followed(anchor, before, target, dt), target
        assert anchor[0] == pytest.approx(reached, abs=0.1)
        np.testing.assert_array_equal(followed(anchor, before, np.array([-3.0, 2.0, 0.0]), dt), [-3.0, 2.0, 0.0])


def until(session: Session, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The condition's first true value, while the robot goes on."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never happened"
        session.tick(1.0)
        time.sleep(0.005)  # a browser that draws in software needs the core, too
    return value


FOCUS = """(() => {
    const label = [...document.querySelectorAll('label')].find(e => e.textContent == '%s');
    const slider = label && document.getElementById(label.htmlFor).querySelector('[role=slider]');
    if (slider) slider.focus();
    return Boolean(slider);
})()"""


@pytest.mark.timeout(480)  # 7 s, minutes on a machine that is busy with a training
@pytest.mark.wall_clock
@needs_chromium
def test_sliders_and_keys_in_a_browser_move_the_robot(session: Session, tmp_path: Path) -> None:
    controls = session.page.controls
    with open_tab(session.page.url, tmp_path, 800, 500) as tab:

        def apex_with(key: str, value: float) -> float:
            """What the page calls the last hop's apex, m, some hops after ``key`` on the slider."""
            until(session, lambda: tab.evaluate(FOCUS % "apex m"))
            tab.press(key)
            until(session, lambda: controls.command[3] == value)
            for _ in range(200):
                session.tick(1.0)
            said = f"of {value:.2f} m"
            text = until(session, lambda: t if said in (t := tab.text()) else "")
            return float(text.split(said)[0].split()[-2])

        assert apex_with("Home", 0.15) < 0.25 < apex_with("End", 0.4)

        assert tab.evaluate(FOCUS % "gravity m/s²")
        tab.press("End")
        until(session, lambda: controls.gravity == 3.7)
        tab.press("X")  # stop
        until(session, lambda: not controls.command[:3].any())
        tab.press("I")  # faster
        until(session, lambda: controls.command[0] == 0.1)
        assert tab.evaluate(FOCUS % "size N·s")
        tab.press("End")
        until(session, lambda: controls.push_size.value == 20.0)
        assert session.moment.truth["vy"] > -0.7
        tab.press("P")  # 20 N*s from the left are 1.3 m/s
        until(session, lambda: session.moment.truth["vy"] < -0.7)

        picture = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("L"))
        sky, ground = picture[:40, 330:460], picture[-40:, 330:460]  # between the panels
        assert sky.mean() < 30 < 70 < ground.mean() < 200
        assert not tab.errors


def test_ctrl_c_ends_it() -> None:
    script = f"from matrix_hil.cli import main; main(['play', '--policy', {str(PRONK)!r}, '--port', '0'])"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "--browser", "false"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert "http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in errors
    finally:
        process.kill()
        process.wait()
