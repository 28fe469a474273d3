"""The ``lunar`` command itself: its version, its help, and one sentence where something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from matrix_hil.cli import main
from sim.files import ROOT
from tests.matrix_hil.synthetic_log import write_log


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out.startswith(f"lunar {version('lunar')}, revision ")


@pytest.mark.parametrize(
    "argv",
    [
        ["eval", "--policy", "pronk", "--quick", "--robots", "1", "--json", "/proc/nowhere/r.json"],
        ["terrain", "preview", "flat", "--out", "/proc/nowhere/t.png"],
        ["terrain", "export", "flat", "--out", "/proc/nowhere/t"],
    ],
)
def test_a_place_that_cannot_be_written_is_one_sentence(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(argv)
    said = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert end.value.code == 2 and said[-1].startswith(f"lunar {argv[0]}: ") and "/proc/nowhere" in said[-1]


def test_a_wrong_option_is_answered_before_anything_heavy_is_imported() -> None:
    """By every command that has options, in one process that imports them all."""
    commands = [
        ["train", "--stps", "1"], ["eval", "--plicy", "x"], ["play", "--plicy", "x"], ["export", "--plicy", "x"],
        ["distill", "--techer", "x"], ["hil", "--plan.durtion", "1"], ["hil", "calibrate", "--sed", "1"],
        ["fidelity", "--schmes", "x"], ["replay", "look", "LOG", "--ot", "x"], ["replay", "resim", "LOG", "--ot", "x"],
        ["log", "info", "LOG", "--jsn", "x"], ["up", "sim", "--plicy", "x"], ["terrain", "preview", "--sed", "1"],
        ["twin", "--sed", "1"], ["no-such-command"], ["bench", "no-such-bench"],
    ]  # fmt: skip
    code = (
        "import json, sys; from matrix_hil.cli import main\n"
        "for argv in json.loads(sys.argv[1]):\n"
        "    try: main(argv)\n"
        "    except SystemExit as end: assert end.code == 2, argv\n"
        "    else: raise AssertionError(argv)\n"
        "    assert not {'torch', 'stable_baselines3', 'matplotlib'} & set(sys.modules), argv\n"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(commands)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == len(commands)


def test_a_folder_may_stand_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever a command is about one; it is then the folder that is looked for."""
    for command in ("eval", "export", "play", "distill", "hil", "fidelity"):
        with pytest.raises(SystemExit):
            main([command, str(tmp_path / "nowhere")])
        assert "nowhere" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main([command, "pronk", "dual"])
        assert "unrecognized arguments: dual (on the command line)" in capsys.readouterr().err


def test_help_tells_what_an_option_is_without_being_given(capsys: pytest.CaptureFixture[str]) -> None:
    """By the config file that is taken, not by the class."""
    for argv, told in (
        (["train"], "default: 10200000"),
        (
            ["train", "--config", "dual"],
            "every robot stays on 'terrain.level'. (type: bool, default: True)",
        ),
        (["hil"], "type: str, default: rough"),
    ):
        with pytest.raises(SystemExit) as end:
            main([*argv, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert end.value.code == 0 and told in text and text.startswith(f"usage: lunar {argv[0]} ")
        assert "Namespace" not in text


def test_a_terminal_of_eight_bits_is_written_to(tmp_path: Path) -> None:
    """Signs that its locale lacks come as others."""
    log = write_log(tmp_path / "log", seconds=1.0)
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    for argv in (["log", "info", str(log)], ["replay", "look", str(log), "--out", str(tmp_path / "r.html"), "--quick"]):
        code = "import sys; print(sys.stdout.encoding); from matrix_hil.cli import main; main(sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-c", code, *argv], env=os.environ | locale, capture_output=True, encoding="ascii"
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("ascii") and len(done.stdout) > 20


@pytest.mark.parametrize("command", ["train", "eval", "hil", "replay look"])
def test_a_robot_whose_mesh_is_missing_is_one_sentence(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    robot = tmp_path / "mesh.xml"
    mesh = '<asset><mesh name="m" file="nowhere.stl"/></asset><worldbody>'
    robot.write_text((ROOT / "sim/robots/go2/go2.xml").read_text().replace("<worldbody>", mesh, 1))
    log = write_log(tmp_path / "log", seconds=1.0)
    argv = {
        "train": [
            "--world.physics.robot",
            str(robot),
            "--out",
            str(tmp_path / "p"),
            "--quick",
            "--world.num_envs",
            "4",
        ],
        "eval": ["pronk", "--robot", str(robot), "--quick"],
        "hil": ["pronk", "--rig.robot", str(robot), "--log", str(tmp_path / "run"), "--plan.duration", "0.1"],
        "replay look": [str(log), "--robot", str(robot)],
    }[command]
    with pytest.raises(SystemExit) as end:
        main([*command.split(), *argv])
    said = [line for line in capsys.readouterr().err.splitlines() if "nowhere.stl" in line]
    assert end.value.code == 2 and len(said) == 1
    assert "cannot be built" in said[0] or "names the file" in said[0]
