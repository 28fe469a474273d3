"""A log's inputs through the same code give what was logged, bit by bit; through other settings, differences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from matrix_hil.config import HilConfig, RunPlan
from matrix_hil.log import Log, Recorder, read_log
from matrix_hil.log.cycle_input import CycleInput, cycle_input, machine_states
from matrix_hil.log.topics import Codec
from matrix_hil.messages import (
    CounterweightState,
    MachineStates,
    PlatformState,
    RobotState,
    TrackerState,
    TreadmillState,
    TwinPatch,
)
from matrix_hil.operate.cli import run
from matrix_hil.replay import cli as replay
from matrix_hil.replay import rerun
from policy.networks.policy_file import ZOO
from policy.runtime.monitor_file import FILES
from policy.runtime.onnx_policy import OnnxPolicy
from sim.errors import LunarError
from sim.spec.command import HopCommand
from sim.spec.observation import PRONK_OBSERVATION
from sim.terrain.generators import TerrainConfig

QUIET = Console(quiet=True)
STAND, SECONDS = 0.5, 2.0


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """The shipped policy over rough ground, with a sensor's faults and times in all their bits."""
    folder = tmp_path_factory.mktemp("rerun") / "log"
    cfg = HilConfig(
        policy=str(ZOO / "pronk"),
        log=str(folder),
        plan=RunPlan(duration=SECONDS, stand=STAND, down=0.2),
        terrain=TerrainConfig(kind="rough", size=12.0),
        command=HopCommand(0.2, 0.0, 0.0, 0.3, 0.0),
    )
    assert run(cfg, QUIET)["trips"] == 0
    return read_log(folder)


def again(log: Log, *argv: str, out: str = "") -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Results, and its channels by name."""
    results = rerun.run(str(log.path.parent), argv, out, QUIET)
    return results, {c["channel"]: c for c in results["channels"]}


def test_its_own_log_gives_the_same_bits(flown: Log) -> None:
    results, channels = again(flown)
    assert results["identical"] and results["notes"] == []
    assert set(channels) == {f"{topic[1:]}.{name}" for topic, name, _ in rerun.CHANNELS}
    cycles = len(flown["/sync/stamp"])
    for name, channel in channels.items():
        assert channel["differing"] == 0 and channel["first"] is None, name
        said = 50.0 * SECONDS if name.startswith("policy/doubt") else cycles - 10  # when the policy acts
        assert channel["compared"] >= said, name
    # so that equality says something: the policy drove, and the platform followed ground
    assert np.ptp(flown["/robot/command"].targets, axis=0).max() > 0.3
    assert "run" in flown["/supervisor/state"].state


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """The shipped policy with a monitor that knows no state."""
    folder = tmp_path / "doubtful"
    shutil.copytree(ZOO / "pronk", folder)
    about = json.loads((folder / FILES[0]).read_text())
    (folder / FILES[0]).write_text(json.dumps(about | {"limit": 1e-6}))
    return folder


@pytest.mark.parametrize("monitor", ["off", "warn", "trip"])
def test_a_state_that_the_policy_does_not_know(monitor: Any, doubtful: Path, tmp_path: Path) -> None:
    """Only ``trip`` trips; then the action that was doubted is not sent, and all of it comes again bit by bit."""
    plan = RunPlan(duration=2.0, stand=STAND, down=0.3)
    results = run(HilConfig(policy=str(doubtful), monitor=monitor, log=str(tmp_path / "log"), plan=plan), QUIET)
    assert results["trips"] == (monitor == "trip")
    assert bool(results["doubt"] and results["doubt"]["worst"]) == (monitor != "off")
    assert (results["doubt"] is None) == (monitor == "off")
    log = read_log(tmp_path / "log")
    assert ("/policy/doubt" in log) == (monitor != "off")
    assert again(log)[0]["identical"]
    if monitor == "trip":
        assert results["reason"].startswith("S32 the policy does not know this state: ")
        first = log["/policy/doubt"].time[np.argmax(log["/policy/doubt"].trip)]
        command = log["/robot/command"]
        assert "run" in command.mode[command.time < first] and "run" not in command.mode[command.time >= first]


def test_to_trip_there_must_be_a_monitor(doubtful: Path, tmp_path: Path) -> None:
    (doubtful / FILES[0]).unlink()
    with pytest.raises(LunarError, match="lunar monitor fit"):
        run(HilConfig(policy=str(doubtful), monitor="trip", log=str(tmp_path / "log")), QUIET)


def test_a_stand_in_policy_and_a_trip_too(make_policy: Callable[..., Path], tmp_path: Path) -> None:
    """A policy that folds two legs falls: the trip, its reason and the retreat come again."""
    bias = np.zeros(12)
    bias[[4, 10]], bias[[5, 11]] = 4.0, -4.0
    bias[[3, 9]] = -3.0
    policy = make_policy(np.zeros((PRONK_OBSERVATION.size, 12)), bias)
    cfg = HilConfig(policy=str(policy), log=str(tmp_path / "log"), plan=RunPlan(duration=6.0, stand=0.3, down=0.3))
    assert run(cfg, QUIET)["trips"] == 1
    results, channels = again(read_log(tmp_path / "log"))
    assert results["identical"]
    assert channels["supervisor/state.reason"]["compared"] > 100


def test_a_tighter_limit_shows_where_it_bites(flown: Log) -> None:
    command = flown["/robot/command"]
    speed = np.abs(np.diff(command.targets, axis=0)).max(axis=1) / 0.005
    speed[(command.mode[1:] != "run") | (command.mode[:-1] != "run")] = 0.0  # a retreat's targets are not limited
    limit = 0.8 * float(speed.max())
    first = flown["/robot/command"].time[1:][speed > limit][0] - flown["/sync/input"].time[0]
    results, channels = again(flown, "--safety.joint_rate", repr(limit))
    assert not results["identical"]
    targets = channels["robot/command.targets"]
    assert targets["first"] == pytest.approx(first, abs=1e-6)
    assert 0.0 < targets["rms"] < targets["largest"]
    assert channels["treadmill/command.speed"]["differing"] == 0


def test_a_limit_that_trips_says_when_and_why(flown: Log) -> None:
    results, channels = again(flown, "--safety.tension_max", "100.0", "--safety.far_outside", "1.1")
    assert channels["supervisor/state.state"]["differing"] > 0
    assert channels["supervisor/state.reason"]["first"] == channels["supervisor/state.trips"]["first"]
    assert channels["supervisor/state.reason"]["largest"] is None, "text has no magnitude"
    assert results["differing_channels"] >= 4


def test_another_policy_differs_from_its_first_action(flown: Log, standing_policy: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    results, channels = again(flown, "--policy", str(standing_policy), out=str(page))
    running = flown["/supervisor/state"].time[flown["/supervisor/state"].state == "run"][0]
    assert channels["robot/command.targets"]["first"] == pytest.approx(running - flown["/sync/input"].time[0], abs=1e-6)
    assert "does not hold the weights that were logged" in results["notes"][0]
    assert "robot/command.targets[" in page.read_text()


def test_command_line(flown: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "rerun.json"
    replay.main(["rerun", str(flown.path.parent), "--json", str(data), "--sync.stand_kp", "35.0"])
    document = json.loads(data.read_text())
    assert document["command"] == "replay rerun"
    assert "differ" in capsys.readouterr().out
    kp = next(c for c in document["results"]["channels"] if c["channel"] == "robot/command.kp")
    assert kp["largest"] == 5.0
    with pytest.raises(LunarError, match=r"sync\.stand_kq"):
        replay.main(["rerun", str(flown.path.parent), "--sync.stand_kq", "35.0"])
    with pytest.raises(LunarError, match="no log is named"):
        replay.main(["rerun"])


def test_a_log_without_inputs_is_refused(tmp_path: Path, flown: Log) -> None:
    with Recorder(tmp_path / "log", flown.attachments, 0.0) as log:
        log.write("/hop_command", HopCommand(), 0.0)
    with pytest.raises(LunarError, match="no /sync/input"):
        again(read_log(tmp_path / "log"))
    with Recorder(tmp_path / "bare", {}, 0.0) as log:
        log.write("/hop_command", HopCommand(), 0.0)
    with pytest.raises(LunarError, match=r"config\.json"):
        again(read_log(tmp_path / "bare"))


def test_missing_cycles_are_named(flown: Log, tmp_path: Path) -> None:
    inputs, patches = flown["/sync/input"], flown["/twin/patch"]
    with Recorder(tmp_path / "log", flown.attachments, flown.start_wall_time) as log:
        for k in range(len(patches)):
            values = {name: column[k] for name, column in patches.columns.items()}
            log.write("/twin/patch", TwinPatch(**values), values["time"])
        for k in range(len(inputs)):
            if k not in (100, 101, 200):
                values = {name: column[k] for name, column in inputs.columns.items()}
                log.write("/sync/input", CycleInput(**values), values["time"])
    results, _ = again(read_log(tmp_path / "log"))
    assert results["notes"] == ["3 cycles are missing in the log; what came after them need not be the same"]


def test_a_missing_ground_is_not_made_up(flown: Log) -> None:
    bare = replace(flown, series={t: s for t, s in flown.series.items() if t != "/twin/patch"})
    cfg = rerun.logged_config(bare, rerun.RECOMPUTED)
    with pytest.raises(LunarError, match="lacks the ground"):
        rerun.rerun(bare, rerun.Sync(cfg.sync, OnnxPolicy(cfg.policy)), rerun.Supervisor(cfg.safety))


_number = st.floats(width=64)


@given(st.data())
def test_every_bit_of_a_cycles_input_survives_the_log(data: st.DataObject) -> None:
    def floats(n: int) -> np.ndarray:
        return np.array(data.draw(st.lists(_number, min_size=n, max_size=n)))

    def maybe(value: Any) -> Any:
        return value if data.draw(st.booleans()) else None

    fault = data.draw(st.integers(0, 7))
    states = MachineStates(
        maybe(PlatformState(*floats(1).tolist(), floats(6), floats(6), fault)),
        maybe(TreadmillState(*floats(3).tolist(), fault)),
        maybe(CounterweightState(*floats(4).tolist(), fault)),
        maybe(TrackerState(*floats(1).tolist(), floats(3), floats(4), fault)),
        maybe(RobotState(*floats(1).tolist(), floats(12), floats(12), floats(3), floats(3), floats(4), fault)),
    )
    command = HopCommand(*floats(5).tolist())
    orders = tuple(data.draw(st.lists(st.sampled_from(rerun.ORDERS), max_size=3)))
    now, patch_time = data.draw(st.floats(0.0, 1e6)), maybe(data.draw(st.floats(0.0, 1e6)))
    codec = Codec("/sync/input", 1_000)
    columns = codec.decode_all([codec.encode(cycle_input(3, now, states, command, orders, patch_time), now)])
    series = type("Series", (), columns)
    back = cycle_input(3, now, machine_states(series, 0), HopCommand(*series.command[0]), orders, patch_time)
    for name, value in vars(cycle_input(3, now, states, command, orders, patch_time)).items():
        same = getattr(back, name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(same, value)
        else:
            assert same == value or np.isnan(value), name
    assert tuple(columns["orders"][0]) == orders
    assert columns["now"][0] == now
