"""Python in the docs: blocks run, in small, as one would paste them; names in the text are in the code."""

from __future__ import annotations

import pkgutil
import re
import runpy
import shlex
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from matrix_hil.log import Recorder
from matrix_hil.messages import TrackerState
from policy.networks.distributions import Gaussian, gaussian
from policy.networks.policy_file import load_actor
from sim.config import ROOT
from sim.tasks.pronk import TERMS
from tests.docs.test_docs import FILES, PACKAGES, PAGES, blocks, commands, each, spans

SMALLER = {
    r"num_envs=\d+": "num_envs=2",
    r'"mare,push", robots=\d+': '"push", robots=2, duration=0.1',
    r"learn\([\d_]+": "learn(1",
    r"range\(\d+\)": "range(3)",
}
"""What the docs do at length, tried in small."""


def python_blocks(page: Path) -> list[str]:
    """Python of a page, without what is included from a file."""
    return [text for language, text in blocks(page) if language == "python" and "--8<--" not in text]


@cache
def given() -> dict[str, Any]:
    """What blocks take for granted, by name."""
    torch.manual_seed(0)
    teacher, card = load_actor("pronk")

    def output(observations: torch.Tensor) -> Gaussian:
        mean, std = teacher(observations)[:2]
        return gaussian(mean + 0.1 * torch.rand(len(mean), 1), std)

    return {
        "teacher": teacher, "student": SimpleNamespace(output=output),
        "observations": torch.randn(16, card.observation.size),
        "rate": torch.tensor([0.2, 0.5]), "cell": torch.arange(16) % 2,
    }  # fmt: skip


def files(folder: Path) -> None:
    """What blocks read, below ``folder``."""
    np.save(folder / "heights.npy", np.random.default_rng(0).normal(0.0, 0.02, (40, 40)))
    with Recorder(folder / "runs/demo/log", {"config.json": b"{}"}, 1.79e9) as recorder:
        recorder.write("/tracker/pose", TrackerState(0.0, np.zeros(3), np.array([1.0, 0, 0, 0])), 0.0)


@pytest.mark.parametrize("page", list(filter(python_blocks, PAGES)), ids=lambda page: page.name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """The blocks of a page one after the other, as one would paste them."""
    monkeypatch.chdir(tmp_path)
    files(tmp_path)
    names = dict(given())
    for code in python_blocks(page):
        for long, short in SMALLER.items():
            code = re.sub(long, short, code)
        exec(compile(code, str(page), "exec"), names)


def test_the_example_of_a_reward_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """As its tutorial says, for a moment."""
    (line,) = (line for line in commands(ROOT / "docs/tutorials/own_reward.md") if line.startswith("python "))
    _, script, *options = shlex.split(line)
    assert options[0] == "--steps"
    monkeypatch.setitem(TERMS, "foot_clearance", None)  # so that the term is gone afterwards
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, "--steps", "1", *options[2:], "--world.num_envs", "2"])
    runpy.run_path(str(ROOT / script), run_name="__main__")
    assert "rewards/foot_clearance" in (tmp_path / "runs/high_feet/progress.csv").read_text()


def test_the_example_of_a_robot_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["own_robot.py"])
    runpy.run_path(str(ROOT / "examples/own_robot.py"), run_name="__main__")
    assert re.search(r"go2_with_box\.xml: \d+\.\d\d kg", capsys.readouterr().out)


def names(page: Path) -> list[str]:
    """What looks like a module or a name in one."""
    found = [s.removesuffix("()") for s in spans(page)]
    return [s for s in found if re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", s) and not re.search(FILES, s)]


@pytest.mark.parametrize("name", each(names))
def test_a_name_exists(name):
    assert pkgutil.resolve_name(name) is not None or name.endswith("None")
