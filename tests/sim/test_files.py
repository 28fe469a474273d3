"""Shipped files are found by the same names from every folder; the user's own come first."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sim.config import parse
from sim.files import CONFIGS, ROOT, find
from sim.terrain.generators import TerrainConfig


@dataclass(frozen=True)
class Walk:
    """Names a policy."""

    policy: str = "policy/zoo/pronk"
    """Folder."""


@pytest.fixture(autouse=True)
def _away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_shipped_names_mean_the_same_everywhere():
    assert find("policy/zoo/pronk") == str(ROOT / "policy/zoo/pronk")
    assert find("configs/terrain/mare.yaml") == str(CONFIGS / "terrain" / "mare.yaml")


@pytest.mark.parametrize("path", ["", ".", "policy", "configs", "policy/zoo/nobody", "runs/mine", "/policy/zoo/pronk"])
def test_all_else_is_left_alone(path):
    assert find(path) == path


def test_the_users_own_come_first(tmp_path):
    (tmp_path / "policy/zoo/pronk").mkdir(parents=True)
    assert find("policy/zoo/pronk") == "policy/zoo/pronk"


@pytest.mark.parametrize("separator", [" ", "="])
def test_configs_and_paths_in_them_are_found(separator):
    argv = f"--config{separator}configs/terrain/mare.yaml".split()
    assert parse(TerrainConfig, argv, "x").fractal is not None


def test_a_path_inside_a_config_is_found(tmp_path):
    (tmp_path / "mine.yaml").write_text("policy: policy/zoo/him\n")
    assert parse(Walk, ["--config", "mine.yaml"], "x").policy == str(ROOT / "policy/zoo/him")
    assert parse(Walk, [], "x").policy == str(ROOT / "policy/zoo/pronk")
