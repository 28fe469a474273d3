"""What the rig's nodes take from a rig's file, and what they refuse; and at which pace an emulated rig lives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from matrix_hil.bringup.tables import ARGUMENTS, TABLES
from sim.config import ROOT
from sim.errors import LunarError

MACHINES = ("platform", "treadmill", "counterweight", "tracker", "robot")


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "ros2_ws/src/matrix_bridge"))
    from matrix_bridge import places

    yield places
    for name in [n for n in sys.modules if n.startswith("matrix_bridge")]:
        del sys.modules[name]


def on_cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The process may use so many cores, whatever the computer has."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(count)))
    monkeypatch.setattr("matrix_bridge.places.CPU_QUOTA", Path("no such file"))


def lab(folder: Path, text: str = "") -> str:
    """A file of a rig whose machines are all real."""
    file = folder / "lab.yaml"
    ports = "".join(f"{m}: {{port: /dev/ttyUSB{k}}}\n" for k, m in enumerate(MACHINES))
    file.write_text(f"{ports}{text}\n")
    return str(file)


def test_a_plan_that_cannot_be_followed_is_refused(places: ModuleType, tmp_path: Path) -> None:
    rig = tmp_path / "lab.yaml"
    rig.write_text("plan: {duration: 3.0}\n")
    assert places.rig_setup(str(rig), "virtual").plan.duration == 3.0
    rig.write_text(f"plan: {{traverse: {tmp_path / 'plan.yaml'}}}\n")
    with pytest.raises(LunarError, match=r"plan.yaml"):
        places.rig_setup(str(rig), "virtual")
    (tmp_path / "plan.yaml").write_text("segments: 3\n")
    with pytest.raises(LunarError, match=r"plan.yaml"):
        places.rig_setup(str(rig), "virtual")


def test_an_emulated_rig_keeps_real_time_from_four_cores_on(places: ModuleType) -> None:
    assert [places.emulated_pace(cores) for cores in (1, 2, 3, 4, 5, 64)] == [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("399999 100000", 3), ("50000 100000", 1), ("1600000 100000", 8)],
)
def test_a_containers_quota_counts_as_its_cores(
    text: str, cores: int, places: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_cores(monkeypatch, 8)
    assert places.usable_cores() == 8
    monkeypatch.setattr(places, "CPU_QUOTA", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text(f"{text}\n")
    assert places.usable_cores() == cores and min(8, places.quota_cores(text)) == cores


@pytest.mark.parametrize(
    ("cores", "text", "pace"),
    [(2, "", 0.5), (4, "", 1.0), (2, "pace: 1.0", 1.0), (2, "pace: 0.25", 0.25), (8, "pace: 0.5", 0.5)],
)
def test_the_cores_choose_the_pace_unless_the_file_says_one(
    cores: int, text: str, pace: float, places: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_cores(monkeypatch, cores)
    rig = tmp_path / "rig.yaml"
    rig.write_text(f"plan: {{duration: 3.0}}\n{text}\n")
    assert places.rig_setup(str(rig), "virtual").pace == pace
    assert places.rig_setup(lab(tmp_path, text), "virtual").pace == pace  # a lab's file, emulated


def test_all_that_live_by_a_launched_rigs_clock_hear_whether_it_is_emulated(
    places: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As launched without an argument: one that took the rig for another would live at another pace."""
    for process in (p for p in TABLES["matrix"] if "config" in p.arguments):
        assert "rig" in process.arguments or process.only == {"rig": ("virtual",)}, process.name
    default = [ARGUMENTS[name].default for name in ("config", "rig")]
    for cores, pace in ((2, 0.5), (4, 1.0)):
        on_cores(monkeypatch, cores)
        assert places.rig_setup(*default).pace == pace


def test_real_machines_live_in_real_time_on_any_computer(
    places: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for cores in (1, 2, 8):
        on_cores(monkeypatch, cores)
        assert places.rig_setup(lab(tmp_path), "serial").pace == 1.0
        with pytest.raises(LunarError, match="platform is real and lives in real time; set pace to 1"):
            places.rig_setup(lab(tmp_path, "pace: 0.5"), "serial")


@pytest.mark.parametrize("pace", ["0", "-1", "2", ".nan"])
def test_a_pace_that_is_none_is_refused(pace: str, places: ModuleType, tmp_path: Path) -> None:
    for rig in ("virtual", "serial"):
        with pytest.raises(LunarError, match=r"pace is .*; it must (lie between|be finite)"):
            places.rig_setup(lab(tmp_path, f"pace: {pace}"), rig)


def test_a_word_that_is_no_kind_of_rig_moves_no_machine(places: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(LunarError, match="rig is 'virtul'; it must be virtual or serial"):
        places.rig_setup(lab(tmp_path), "virtul")


def test_a_node_that_lives_at_another_pace_than_the_rig_is_refused(
    places: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where the two may use different cores: ages would be counted on two clocks."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    on_cores(monkeypatch, 2)
    slow = places.rig_setup("", "virtual")
    on_cores(monkeypatch, 4)
    full = places.rig_setup("", "virtual")
    real = places.rig_setup(lab(tmp_path), "serial")
    places.check_same_pace(full)  # no rig is on this computer
    with places.lines(dict.fromkeys(MACHINES, "/dev/null"), slow.pace):
        assert places.port_of("robot", slow).endswith("/robot")
        with pytest.raises(LunarError, match=r"the virtual rig lives at pace 0\.5 and this node at 1"):
            places.port_of("robot", full)
        with pytest.raises(LunarError, match=r"the virtual rig lives at pace 0\.5 and this node at 1"):
            places.check_same_pace(full)
        places.check_same_pace(slow)
        places.check_same_pace(real)
        with pytest.raises(LunarError, match="another virtual rig's"), places.lines({}, full.pace):
            pass
        assert places.port_of("robot", slow).endswith("/robot")  # who was refused has changed nothing
