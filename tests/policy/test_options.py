"""Every option of a training or a distillation does something: what it says, or a refusal. ``world`` is the
simulation's, and tested there."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from stable_baselines3.common.logger import Logger

from policy.distill import categorical
from policy.distill.cells import CellWorld
from policy.distill.cli import main as distill_command
from policy.distill.config import (
    CellsConfig,
    DistillConfig,
    DivergenceConfig,
    LearningConfig,
    OpsdcConfig,
    PositionsConfig,
    SodaConfig,
)
from policy.distill.distill import distill
from policy.networks.actor import Actor
from policy.networks.config import EncoderConfig, ModelConfig, StudentConfig
from policy.networks.policy_file import ZOO, load_weights, save_policy
from policy.runtime.card import Card
from policy.training.config import PPOConfig, Stage, TrainConfig
from policy.training.ppo import LunarPPO
from policy.training.train import TrainingProgress
from policy.training.vec_env import LunarVecEnv
from sim.config import ROOT, load
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.mdp.config import PushConfig
from sim.spec.observation import ScanGrid
from sim.tasks.config import WorldConfig

ENCODERS = {
    "long": EncoderConfig((0, 4, 8), ("vx", "height"), 4, frame=(4,), hidden=(8,)),
    "short": EncoderConfig((0, 1), ("vz",), 4, "long", frame=(4,), hidden=(8,)),
}
pytestmark = pytest.mark.usefixtures("one_thread")
TRAIN = TrainConfig(
    world=WorldConfig(num_envs=4, pushes=PushConfig((5.0, 5.0), (0.01, 0.02))),
    ppo=PPOConfig(4, 2, 8, model=ModelConfig(hidden=(8,), encoders=ENCODERS)),
    steps=3 * 4 * 4, stages=[Stage(0.8, 0.5, {"apex": 2.0}), Stage()], until=(0.6, 1.0),
)  # fmt: skip
STUDENT = StudentConfig(hidden=(8,), frame=(4,), ages=(0, 1, 2), bins=8)
TOKENS = replace(STUDENT, head="tokens")
DISTILL = DistillConfig(
    rollout=4, steps=3 * 4 * 8, student=STUDENT, learning=LearningConfig(minibatch=16), soda=SodaConfig(passes=4),
    overwrite=True, opsdc=OpsdcConfig(refresh=1, look=1, before=1), threads=1,
    world=WorldConfig(num_envs=8, episode_length=0.2),
)  # fmt: skip

CHANGES: dict[str, Any] = {
    "ppo.clip": 1e-4, "ppo.target_kl": 1e-9, "ppo.max_grad_norm": 0.01,
    "ppo.model.encoders.long.estimates": ("vx",), "ppo.model.encoders.short.estimates": (),
    "ppo.model.encoders.long.given": "short", "ppo.model.encoders.short.given": "", "ppo.model.scan": ScanGrid(),
    "stages.0.rewards": {"apex": 1.0}, "stages.1.rewards": {"apex": 3.0},
    "stages.0.std": 0.05, "stages.1.std": 0.05, "until": (0.1, 1.0),
    "device": "tpu", "teacher": "nowhere", "start": "nowhere", "divergence.chunk": 8, "divergence.std_floor": 3.0,
    "learning.max_grad_norm": 0.01, "positions.quantile": 0.6, "cells.low": 0.5, "cells.high": 0.6,
    "cells.floor": 0.9, "cells.least": 0.0, "opsdc.tolerance": 0.9, "soda.snapshot": 1.0, "soda.patience": 0,
}  # fmt: skip
"""Where half of a number, one more, or another choice would not do."""

WHERE: dict[str, dict[str, Any]] = {
    "soda": {"method": "soda"},
    "opsdc": {"method": "opsdc", "student": StudentConfig()},
    "student.bins": {"student": TOKENS},
    "divergence.beta": {"student": TOKENS, "divergence": DivergenceConfig("jsd")},
    "divergence.chunk": {"student": TOKENS},
    "divergence.neighbours": {"student": TOKENS},
    "positions.unit": {"student": TOKENS, "positions": PositionsConfig("product")},
    "positions": {"positions": PositionsConfig("product", draw=True)},
    "positions.direction": {"positions": PositionsConfig("product", draw=True), "steps": 8 * 4 * 8},
    "noise": {"method": "bc"},
    "cells": {"cells": CellsConfig("paced", least=0.0)},
    "cells.least": {"cells": CellsConfig("paced")},
    "cells.low": {"cells": CellsConfig("hard_filter", least=0.0)},
    "cells.high": {"cells": CellsConfig("hard_filter", least=0.0)},
}
"""What else is set for options that belong to a method or to a rule."""


def leaves(cfg: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, value and type of every option but the world's."""
    hints = get_type_hints(type(cfg))
    for f in fields(cfg):
        value, name = getattr(cfg, f.name), prefix + f.name
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        if name == "world":
            continue
        if is_dataclass(value):
            yield from leaves(value, f"{name}.")
        elif any(is_dataclass(part) for _, part in parts):
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            for key, part in parts:
                yield from leaves(part, f"{name}.{key}.")
        else:
            yield name, value, hints[f.name]


def changed(name: str, value: Any, hint: Any) -> Any:
    """Another value of this option."""
    if name in CHANGES:
        return CHANGES[name]
    if choices := _choices(hint):
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return 0.5 * value or 0.5
    if isinstance(value, tuple):
        return (*value[:-1], value[-1] + 1)
    return f"{value}2"


def _choices(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(choice for part in get_args(hint) for choice in _choices(part))


def put(cfg: Any, name: str, value: Any) -> Any:
    """The config with one option changed."""
    head, _, rest = name.partition(".")
    if isinstance(cfg, list):
        return [put(part, rest, value) if str(i) == head else part for i, part in enumerate(cfg)]
    if isinstance(cfg, dict):
        return {**cfg, head: put(cfg[head], rest, value)}
    return replace(cfg, **{head: put(getattr(cfg, head), rest, value) if rest else value})


def flat(state: dict[str, torch.Tensor]) -> list[Any]:
    return [(name, tensor.tolist()) for name, tensor in state.items()]


def trained(cfg: TrainConfig) -> Any:
    """What three updates leave behind."""
    try:
        cfg.check()
        world = PronkWorld(cfg.seen_world, cfg.seed, threads=1)
        model = LunarPPO("pronk", LunarVecEnv(world), cfg.ppo, seed=cfg.seed)
        model.set_logger(Logger(None, []))
        model.learn(cfg.steps, callback=TrainingProgress(cfg, cfg.steps, "", {}))
    except LunarError as error:
        return str(error)
    return flat(model.policy.state_dict()), flat(model.estimator.targets.state_dict())


@pytest.fixture(scope="module")
def as_configured() -> Any:
    return trained(TRAIN)


TRAIN_LEAVES = [leaf for leaf in leaves(TRAIN) if leaf[0].startswith(("ppo", "stages", "until"))]


@pytest.mark.parametrize(("name", "value", "hint"), TRAIN_LEAVES, ids=[leaf[0] for leaf in TRAIN_LEAVES])
def test_an_option_of_training_reaches_what_is_trained(name, value, hint, as_configured):
    assert trained(put(TRAIN, name, changed(name, value, hint))) != as_configured


class Told:
    """Distils, and tells what came of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def __call__(self, cfg: DistillConfig) -> Any:
        drained, chunks, threads, rows = [0], [], [], categorical.chunk_rows

        def drain(world: CellWorld) -> tuple[torch.Tensor, torch.Tensor]:
            """Every cell was tried; some with less and less success."""
            cells = torch.arange(world.cells)
            drained[0] += 1
            return cells, (cells % 5 >= drained[0]).float()

        self.monkeypatch.setattr(CellWorld, "drain", drain)
        self.monkeypatch.setattr(categorical, "chunk_rows", lambda x, n: chunks.append(rows(x, n)) or chunks[-1])
        self.monkeypatch.setattr(torch, "set_num_threads", threads.append)
        try:
            results = distill(cfg, "test")
        except LunarError as error:
            return str(error)
        with (Path(cfg.out) / "progress.csv").open() as file:
            progress = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
        results = {k: v for k, v in results.items() if k not in ("wall_s", "cpu_s", "peak_mb")}
        student = flat(load_weights(Path(cfg.out))), json.loads((Path(cfg.out) / "card.json").read_text())["model"]
        return student, progress, results, chunks, threads


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """A small policy with random weights."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    card = Card.load(ZOO / "pronk" / "card.json")
    model = ModelConfig(hidden=(8,))
    actor = Actor(model, card.observation)
    torch.nn.init.normal_(actor.head[-1].weight, std=0.3)
    save_policy(folder, actor, replace(card, model=asdict(model)))
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Any]:
    """Where students are written, and what comes of a distillation as configured, by its key in ``WHERE``."""
    return {"folder": tmp_path_factory.mktemp("student")}


DISTILL_LEAVES = [leaf for leaf in leaves(DISTILL) if leaf[0] != "json"]


@pytest.mark.parametrize("name", [leaf[0] for leaf in DISTILL_LEAVES])
def test_an_option_of_distillation_reaches_the_student(name, teacher, bases, monkeypatch):
    told, rule = Told(monkeypatch), next((k for k in (name, name.partition(".")[0]) if k in WHERE), "")
    base = replace(DISTILL, teacher=str(teacher), out=str(bases["folder"]), **WHERE.get(rule, {}))
    if rule not in bases:
        bases[rule] = told(base)
    value, hint = next(leaf[1:] for leaf in leaves(base) if leaf[0] == name)
    assert told(put(base, name, changed(name, value, hint))) != bases[rule]


def test_results_of_a_distillation_are_written_where_asked(teacher, tmp_path):
    distill_command([
        "--teacher", str(teacher), "--out", str(tmp_path), "--json", str(tmp_path / "r.json"), "--quick",
        "--world.num_envs", "4", "--rollout", "4", "--world.terrain.kind", "flat", "--world.other_terrains", "[]",
        "--student.ages", "[0, 1, 2]",
    ])  # fmt: skip
    assert "params_ratio" in (tmp_path / "r.json").read_text()


def test_the_tables_name_options_that_exist():
    names = {leaf[0] for leaf in [*TRAIN_LEAVES, *DISTILL_LEAVES]}
    assert set(CHANGES) <= names
    assert all(any(name == key or name.startswith(f"{key}.") for name in names) for key in WHERE)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "bc", "divergence": DivergenceConfig("forward_kl")}, {"method": "soda", "forward_until": 0.5},
        {"method": "dagger", "positions": PositionsConfig("q3")}, {"method": "dagger", "cells": CellsConfig("paced")},
        {"method": "opsdc", "student": TOKENS}, {"method": "opsdc", "start": "student_small"},
        {"positions": PositionsConfig("q3", unit="token")},
        {"student": TOKENS, "positions": PositionsConfig(unit="token")},
        {"divergence": DivergenceConfig(neighbours=1.0)},
    ],
)  # fmt: skip
def test_what_a_method_does_not_use_is_refused(change, teacher):
    with pytest.raises(LunarError):
        replace(DISTILL, teacher=str(teacher), **change).check()


SHIPPED = sorted((ROOT / "configs" / "train").glob("*.yaml"))
GIVEN = {"ppo.learning_rate": 7e-4, "ppo.entropy": 0.5, "world.rewards": {"apex": 2.0, "impact": -40.0}}


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_what_the_command_line_gives_counts_in_every_stage(path):
    """It scales the policy's rate, the entropy bonus and the weights by as much as it says, and no encoder's rate."""
    cfg = ours = load(TrainConfig, path)
    cfg = put(cfg, "world.rewards", {name: cfg.world.rewards[name] for name in GIVEN["world.rewards"]})
    cfg = ours = replace(cfg, stages=[only(stage, cfg.world.rewards) for stage in cfg.stages])
    for name, value in GIVEN.items():
        ours = put(ours, name, value)
    for stage in range(len(cfg.until)):
        before, after = stage_settings(cfg, stage), stage_settings(ours, stage)
        assert after["lr"] == pytest.approx(ours.ppo.learning_rate / cfg.ppo.learning_rate * before["lr"])
        assert after["entropy"] == pytest.approx(ours.ppo.entropy / cfg.ppo.entropy * before["entropy"])
        assert after["encoders"] == before["encoders"]
        for name, weight in ours.world.rewards.items():
            assert after[name] == pytest.approx(weight / cfg.world.rewards[name] * before[name])


def only(stage: Stage, names: dict[str, float]) -> Stage:
    """The stage with its factors for these weights alone."""
    return replace(stage, rewards={name: factor for name, factor in stage.rewards.items() if name in names})


def stage_settings(cfg: TrainConfig, stage: int) -> dict[str, Any]:
    """What a stage sets in a training of four robots."""
    world = replace(cfg.world, num_envs=4, terrain=TRAIN.world.terrain, other_terrains=())
    cfg = replace(cfg, world=world, ppo=replace(cfg.ppo, rollout=4, minibatch=8))
    trained = LunarPPO("pronk", LunarVecEnv(PronkWorld(cfg.seen_world, 1, threads=1)), cfg.ppo, seed=1)
    progress = TrainingProgress(cfg, 100, "", {})
    progress.init_callback(trained)
    progress.stage = stage
    progress._enter_stage()
    estimator = trained.estimator
    return {
        "lr": trained.max_lr, "entropy": trained.entropy_weight, **trained.env.world.weights,
        "encoders": estimator.optimizer.param_groups[0]["lr"] if estimator else None,
    }  # fmt: skip


def test_a_factor_of_a_weight_that_is_not_there_is_refused():
    with pytest.raises(LunarError, match=r"stages\[0\].rewards: 'tillt'.*did you mean 'tilt'"):
        replace(TRAIN, stages=[Stage(rewards={"tillt": 2.0}), Stage()]).check()
    with pytest.raises(LunarError, match=r"stages\[1\].std is 0.0"):
        replace(TRAIN, stages=[Stage(), Stage(std=0.0)]).check()
    replace(TRAIN, until=(0.6,)).check()
    for until in ((1.0, 0.5), (0.3, 0.6, 1.0), ()):
        with pytest.raises(LunarError, match="until is"):
            replace(TRAIN, until=until).check()
