"""Shipped files are found by the same names from every folder; the user's own come first."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

import pytest

from sim.config import parse
from sim.errors import LunarError
from sim.files import CONFIGS, ROOT, find, find_policy
from sim.terrain.generators import TerrainConfig


@dataclass(frozen=True)
class Walk:
    """Names a policy."""

    policy: str = "policy/zoo/pronk"
    """Folder."""
    out: str = ""
    """Folder."""
    steps: int = 1
    """1."""
    speed: float = 1.0
    """m/s."""
    terrain: TerrainConfig = field(default_factory=TerrainConfig)
    """Ground."""


@pytest.fixture(autouse=True)
def _away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_shipped_names_mean_the_same_everywhere():
    assert find("policy/zoo/pronk") == str(ROOT / "policy/zoo/pronk")
    assert find("configs/terrain/mare.yaml") == str(CONFIGS / "terrain" / "mare.yaml")


def test_bare_names_are_looked_for_on_their_shelf():
    assert find_policy("dual") == find("dual", "policy/zoo") == str(ROOT / "policy/zoo/dual")
    assert find("mare", "configs/terrain") == str(CONFIGS / "terrain" / "mare.yaml")
    for name in ("nobody", "./dual", "zoo/dual", ""):
        assert find_policy(name) == name


@pytest.mark.parametrize(
    "path", ["", ".", "policy", "dual", "mare", "configs", "policy/zoo/nobody", "runs/mine", "/policy/zoo/pronk"]
)
def test_all_else_is_left_alone(path):
    assert find(path) == path


def test_the_users_own_come_first(tmp_path):
    (tmp_path / "policy/zoo/pronk").mkdir(parents=True)
    (tmp_path / "dual").mkdir()
    assert find("policy/zoo/pronk") == "policy/zoo/pronk" and find_policy("dual") == "dual"


@pytest.mark.parametrize("separator", [" ", "="])
def test_configs_and_paths_in_them_are_found(separator):
    argv = f"--config{separator}configs/terrain/mare.yaml".split()
    assert parse(TerrainConfig, argv, "x").fractal is not None


def test_a_path_inside_a_config_is_found(tmp_path):
    (tmp_path / "mine.yaml").write_text("policy: policy/zoo/him\n")
    assert parse(Walk, ["--config", "mine.yaml"], "x").policy == str(ROOT / "policy/zoo/him")
    assert parse(Walk, [], "x").policy == str(ROOT / "policy/zoo/pronk")


@pytest.mark.parametrize("separator", [" ", "="])
def test_short_names_on_the_command_line_and_in_configs(separator, tmp_path):
    argv = f"--policy{separator}dual --terrain{separator}mare --out{separator}dual".split()
    cfg = parse(Walk, argv, "x")
    assert cfg.policy == str(ROOT / "policy/zoo/dual") and cfg.terrain.fractal is not None and cfg.out == "dual"
    (tmp_path / "mine.yaml").write_text("policy: dual\n")
    assert parse(Walk, ["--config", "mine.yaml"], "x").policy == str(ROOT / "policy/zoo/dual")


def test_a_config_is_named_like_its_siblings():
    assert parse(TerrainConfig, ["--config", "mare"], "x", default="terrain/rough.yaml").fractal is not None


@pytest.mark.parametrize(("text", "value"), [("1e6", 1_000_000), ("2.5e3", 2500), ("-1e1", -10), ("7", 7)])
def test_whole_numbers_with_an_exponent(text, value):
    assert parse(Walk, ["--steps", text, "--speed", text], "x") == Walk(
        str(ROOT / "policy/zoo/pronk"), steps=value, speed=value
    )


@pytest.mark.parametrize("text", ["1e-3", "1.5e0", "1e", "many"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(LunarError, match="steps"):
        parse(Walk, ["--steps", text], "x")


def test_text_is_read_and_written_as_utf_8_wherever_it_is():
    """Not as the computer's locale has it: a name or a unit would be lost in another."""
    silent = []
    for path in (
        p for package in ("sim", "policy", "matrix_hil", "benchmarks") for p in (ROOT / package).rglob("*.py")
    ):
        for call in (n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            modes = [a.value for a in call.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            named = {keyword.arg for keyword in call.keywords}
            opened = name == "open" and ("newline" in named or {"w", "a"} & set(modes))
            text = name in ("read_text", "write_text") or opened
            if text and "encoding" not in named:
                silent.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert not silent
