"""From logged states the simulator does what the log's robot did, if it has that robot; a fit finds which it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from matrix_hil.config import HilConfig, Robot, RunPlan
from matrix_hil.log import FootContacts, ImuSample, JointSample, Log, Pose, Recorder, Series, read_log
from matrix_hil.messages import RobotCommand
from matrix_hil.operate.cli import run
from matrix_hil.replay import cli as replay
from matrix_hil.replay import resim
from matrix_hil.replay.identify import Fit, fit
from matrix_hil.replay.plants import TICK, Body, Robots, Setup, targets_at
from matrix_hil.replay.trajectory import DT, Trajectory, trajectory, windows
from policy.networks.policy_file import ZOO
from sim.config import load
from sim.errors import LunarError
from sim.mdp.config import RandomisationConfig
from sim.mdp.events import check_randomisation
from sim.physics.scene import PhysicsConfig
from sim.physics.single import SingleRobot
from sim.rig.config import RigConfig
from sim.spec.command import HopCommand
from sim.spec.joints import NOMINAL_POSE
from sim.terrain.generators import TerrainConfig

QUIET = Console(quiet=True)
DEAD_TIME = 0.007
PLANTED = Body(added_mass=1.5, friction=0.6, strength=0.85, delay=DEAD_TIME + 0.0006)  # 65 bytes at 921600 baud


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """A virtual robot that is heavier, weaker, slower and more slippery than its model says."""
    folder = tmp_path_factory.mktemp("resim") / "log"
    p = PLANTED
    cfg = HilConfig(
        policy=str(ZOO / "pronk"),
        log=str(folder),
        plan=RunPlan(duration=4.0, stand=0.5, down=0.2),
        terrain=TerrainConfig(kind="flat"),
        command=HopCommand(0.2, 0.0, 0.0, 0.3, 0.0),
        rig=RigConfig(added_mass=p.added_mass, friction=p.friction, strength=p.strength),
        robot=Robot(dead_time=DEAD_TIME),
    )
    assert run(cfg, QUIET)["run_seconds"] > 3.0
    return read_log(folder)


@pytest.fixture(scope="module")
def path(planted: Log) -> Trajectory:
    return trajectory(planted)


@pytest.fixture(scope="module")
def made(planted: Log) -> tuple[dict[str, Any], Path]:
    """Results of the command, and its folder."""
    folder = planted.path.parent
    replay.main([
        "resim", str(folder), "--fit", "--out", str(folder / "gap.html"), "--json", str(folder / "gap.json"),
        "--ranges", str(folder / "ranges.yaml"),
    ])  # fmt: skip
    return json.loads((folder / "gap.json").read_text())["results"], folder


def test_planted_values_are_recovered(made: tuple[dict[str, Any], Path]) -> None:
    results, _ = made
    assert set(results["fit"]["identified"]) == {"added_mass", "friction", "strength", "delay"}
    for name, value in vars(PLANTED).items():
        assert results["fit"]["body"][name] == pytest.approx(value, rel=0.1), name


def test_the_fit_closes_the_gap(made: tuple[dict[str, Any], Path]) -> None:
    model, fitted = (made[0]["gap"][name] for name in ("model", "fitted"))
    assert set(model) == set(resim.CHANNELS)
    for channel in ("base_height", "attitude", "joint_position", "joint_velocity"):
        assert fitted[channel]["0.25 s"] < 0.25 * model[channel]["0.25 s"], channel
    assert fitted["base_height"]["0.5 s"] < 0.02
    assert fitted["tension"]["0.5 s"] < 3.0, "the load cell's noise is 0.5 N"


def test_ranges_train_and_hold_the_truth(made: tuple[dict[str, Any], Path]) -> None:
    ranges = load(RandomisationConfig, made[1] / "ranges.yaml")
    check_randomisation(ranges, PhysicsConfig())
    for name, value in vars(PLANTED).items():
        low, high = getattr(ranges, name)
        assert low <= value <= high and high - low < 0.5 * value + 0.01, name


def test_the_page_shows_every_channel(made: tuple[dict[str, Any], Path]) -> None:
    text = (made[1] / "gap.html").read_text()
    for channel in resim.CHANNELS:
        assert f"Gap over a stretch: {channel}" in text
    assert "not tell" not in text


def test_device_states_are_put_where_they_were_measured(path: Trajectory) -> None:
    """An emulated state is sampled a tick before a cycle and read in the next one."""
    assert path.on_rig and path.age == pytest.approx(0.006, abs=5e-4)
    assert np.diff(path.time) == pytest.approx(DT)
    # velocities that physics reports are the slopes of the positions
    slope = np.gradient(path.joint_position, DT, axis=0)
    assert np.sqrt(np.mean((slope - path.joint_velocity)[path.running] ** 2)) < 0.25


def test_a_tracker_alone_serves_too(planted: Log) -> None:
    bare = replace(planted, series={t: s for t, s in planted.series.items() if t != "/rig/base_pose"})
    path = trajectory(bare)
    truth = trajectory(planted)
    shift = round((path.time[0] - truth.time[0]) / DT)
    height = truth.base_position[shift : shift + len(path), 2]
    assert np.sqrt(np.mean((path.base_position[: len(height), 2] - height) ** 2)) < 0.004
    found = resim.gap(path, Setup(), PLANTED, windows(path, 0.25), 0.25)
    assert found.rms("joint_position", 0.25) < 0.05 and found.rms("base_height", 0.25) < 0.05


# ---- a robot alone -------------------------------------------------------------------------------------------------


def stand_in(folder: Path, seconds: float, without: str = "", height: float = 0.30) -> Log:
    """A robot on the Moon whose legs push and pull in turn, let go at ``height`` m; its log holds no rig."""
    robot = SingleRobot(PhysicsConfig(timestep=TICK))
    robot._data.qpos[2] = height
    with Recorder(folder, {}, 0.0) as log:

        def write(topic: str, message: Any, now: float) -> None:
            if topic != without:
                log.write(topic, message, now)

        for k in range(round(seconds / DT)):
            now = k * DT
            bend = 0.25 * np.sin(2 * np.pi * 2.0 * now) + 0.15 * np.sin(2 * np.pi * 3.1 * now)
            targets = NOMINAL_POSE + np.tile([0.0, bend, -2.0 * bend], 4)
            w, x, y, z = robot.orientation
            gravity = -np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])
            write("/robot/joint_states", JointSample(now, robot.joint_position, robot.joint_velocity), now)
            write("/robot/imu", ImuSample(now, robot.angular_velocity, gravity), now)
            write("/robot/foot_contacts", FootContacts(now, robot.foot_force, np.ones(4, dtype=bool)), now)
            write("/world/base_pose", Pose(now, robot.position, robot.orientation), now)
            write("/robot/command", RobotCommand(now, targets, 30.0, 0.75, "run"), now)
            robot.command(targets, 30.0, 0.75)
            for _ in range(round(DT / TICK)):
                robot.step()
    return read_log(folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return stand_in(tmp_path_factory.mktemp("alone") / "log", 3.0)


def test_a_robot_without_a_rig_is_simulated_on_the_moon(alone: Log) -> None:
    path = trajectory(alone)
    assert not path.on_rig and path.age == 0.0
    found = resim.gap(path, Setup(), Body(delay=0.0), windows(path, 0.25), 0.25)
    assert "tension" not in found.channels
    assert found.rms("base_height", 0.25) < 0.003
    assert found.rms("joint_position", 0.25) < 0.01
    heavier = resim.gap(path, Setup(), Body(added_mass=3.0, delay=0.0), windows(path, 0.25), 0.25)
    assert heavier.rms("joint_position", 0.25) > 2.0 * found.rms("joint_position", 0.25)


def test_what_a_log_does_not_tell_is_left_alone(tmp_path: Path) -> None:
    """Feet in the air say nothing of their friction."""
    path = trajectory(stand_in(tmp_path / "log", 1.6, height=4.0))
    found: Fit = fit(Robots(path, Setup()), windows(path, 0.2)[:6], 0.2, Body(delay=0.0), ("strength", "friction"))
    assert found.identified == ("strength",)
    assert found.body.friction == Body().friction and "friction" not in found.ranges()
    assert found.body.strength == pytest.approx(1.0, abs=0.05)


def test_logs_that_cannot_be_simulated(alone: Log, tmp_path: Path) -> None:
    with pytest.raises(LunarError, match="where the base is"):
        trajectory(stand_in(tmp_path / "a", 0.5, without="/world/base_pose"))
    with pytest.raises(LunarError, match="/robot/command"):
        trajectory(stand_in(tmp_path / "b", 0.5, without="/robot/command"))
    with pytest.raises(LunarError, match="too short"):
        trajectory(stand_in(tmp_path / "c", 0.05))
    with pytest.raises(LunarError, match="no 5 s"):
        windows(trajectory(alone), 5.0)
    joints = alone["/robot/joint_states"]
    for position, words in ((np.degrees(joints.position), "not in rad"), (joints.position * np.nan, "are numbers")):
        columns = {**joints.columns, "position": position}
        other = replace(alone, series={**alone.series, "/robot/joint_states": Series(joints.log_time, columns)})
        with pytest.raises(LunarError, match=words):
            windows(trajectory(other), 0.25)
    with pytest.raises(LunarError, match="add --fit"):
        replay.main(["resim", str(alone.path), "--ranges", "x.yaml"])
    with pytest.raises(LunarError, match="no log is named"):
        replay.main(["resim"])


@given(st.floats(0.0, 0.02), st.integers(0, 6))
def test_a_delay_shifts_targets_in_time(alone_path: Trajectory, delay: float, first: int) -> None:
    """The targets' integral moves by the delay, whatever its fraction of a tick."""
    first += 20
    late = targets_at(alone_path, first, 40, delay).reshape(-1, 12)
    prompt = targets_at(alone_path, first - 5, 50, 0.0).reshape(-1, 12)
    sums = np.vstack([np.zeros(12), np.cumsum(prompt, axis=0)]) * TICK
    ticks = 25 - delay / TICK + np.arange(201)
    expected = np.stack([np.interp(ticks, np.arange(len(sums)), column) for column in sums.T], axis=1)
    np.testing.assert_allclose(np.cumsum(late, axis=0) * TICK, (expected - expected[0])[1:], atol=1e-9)


@pytest.fixture(scope="module")
def alone_path(alone: Log) -> Trajectory:
    return trajectory(alone)
