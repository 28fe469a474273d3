"""A training: a pronking policy by PPO, in stages whose reward weights go from hopping to landing well."""

from __future__ import annotations

import csv
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import CSVOutputFormat, Logger, configure

from policy.networks.actor import Actor
from policy.networks.policy_file import drop_run, load_actor, refuse_used, robot_files, save_policy
from policy.runtime.card import Card, lineage
from policy.training import checkpoint
from policy.training.card import make_card
from policy.training.config import Stage, TrainConfig
from policy.training.curve import plot_curve
from policy.training.distributed import Group, join
from policy.training.ppo import LunarPPO
from policy.training.vec_env import LunarVecEnv
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.output import locked, write_whole, writing
from sim.results import revision
from sim.robots.identity import identify
from sim.terminal import Terminal


def run(cfg: TrainConfig, command: str) -> dict[str, Any]:
    """Train, save the policy with its ONNX file, return ``{steps, minutes, steps_per_s, hops_per_20s, interrupted,
    policy, ...}``; nothing in a process of torchrun's that another leads.

    Raises:
        LunarError: settings that make no sense, a folder that holds another training or cannot be written, a reward or
            a weight that is not finite; the last checkpoint stays.
    """
    cfg.check()
    card = make_card(cfg.seen_world, cfg.ppo.model, {})
    Card.from_json(json.loads(card.text()), "of this training")  # or nothing could load its policy
    out = Path(cfg.out)
    if not cfg.resume or checkpoint.find(cfg.resume).parent.resolve() != out.resolve():
        refuse_used(out, cfg.overwrite, f"go on with --resume {out}, choose another --out")
    with ExitStack() as stack:
        group, device, cores = stack.enter_context(join(cfg.device))
        if group.leads:
            stack.enter_context(locked(out))
        stack.enter_context(writing(out))
        threads = cfg.threads or cores
        if threads:
            torch.set_num_threads(threads)
        seed = group.seed(cfg.seed)
        world = PronkWorld(cfg.seen_world, seed, device, threads=threads)
        model = LunarPPO("pronk", LunarVecEnv(world), cfg.ppo, seed=cfg.seed, group=group)
        before = _resume(cfg, model) if cfg.resume else _start(cfg, model) if cfg.start else {}
        return _train(cfg, model, command, before)


def _train(cfg: TrainConfig, model: LunarPPO, command: str, before: dict[str, Any]) -> dict[str, Any]:
    leads, out = model.group.leads, Path(cfg.out)
    done = model.num_timesteps
    more = 4 * model.rollout.rewards.numel() * model.group.size if cfg.quick else cfg.steps - done
    if more <= 0:
        raise LunarError(f"{cfg.resume} has {done} steps already: ask for more with --steps")
    if leads and cfg.overwrite and not cfg.resume:
        drop_run(out)
    model.set_logger(_logger(cfg, done) if leads else Logger(None, []))
    progress = TrainingProgress(cfg, done + more, command, before)
    if leads:
        _write_config(cfg, out)
    with stop_on_signal(progress):
        model.learn(more, callback=progress, log_interval=sys.maxsize, reset_num_timesteps=not cfg.resume)
    progress.save()
    if not leads:
        return {}
    training = progress.training()
    save_policy(out, model.policy.actor, make_card(cfg.seen_world, cfg.ppo.model, training))
    model.logger.close()
    plot_curve(out / "progress.csv", out / "curve.png")
    return {
        **training,
        "steps_per_s": (model.num_timesteps - done) / max(progress.seconds, 1e-9),
        "hops_per_20s": progress.hops_per_20s,
        "diverged": model.env.world.diverged,  # type: ignore[union-attr]
        "policy": str(out),
    }


def _start(cfg: TrainConfig, model: LunarPPO) -> dict[str, Any]:
    """Begin with the policy that ``cfg`` names; return its provenance under ``earlier``.

    Raises:
        LunarError: it cannot be read, or has another observation or other networks than the training.
    """
    actor, card = load_actor(cfg.start)
    try:
        if not isinstance(actor, Actor):
            raise LunarError("it was not made by 'lunar train'")
        if difference := card.observation.difference(model.world.spec):
            raise LunarError(f"it has another observation: {difference}")
        if card.action_scale != model.world.action_scale:
            raise LunarError(f"its action_scale is {card.action_scale}, this training's {model.world.action_scale}")
        model.start_from(actor, cfg.warm_up)
    except LunarError as error:
        raise LunarError(f"start {cfg.start}: {error}") from None
    return lineage({**card.training, "weights": card.weights})


def _resume(cfg: TrainConfig, model: LunarPPO) -> dict[str, Any]:
    """Bring ``model`` to where the training stopped; return what was known of it, its provenance under ``earlier``."""
    path = checkpoint.find(cfg.resume)
    document = checkpoint.read(path)
    for note in model.restore(document, path):
        if model.group.leads:
            Terminal(stderr=True).print(f"resumed, but {note}", highlight=False)
    before = document["training"]
    if model.group.leads and cfg.steps < before.get("target", 0) and not cfg.quick:
        note = f"resumed to end at {cfg.steps} steps, not at {before['target']} as before: its stages end earlier"
        Terminal(stderr=True).print(note, highlight=False)
    return {**before, **lineage(before)}


def _logger(cfg: TrainConfig, done: int) -> Logger:
    """CSV and TensorBoard in the training's folder; a resumed curve goes on where the checkpoint was."""
    rows: list[dict[str, str]] = []
    past = checkpoint.find(cfg.resume).parent / "progress.csv"
    if cfg.resume and past.is_file():
        with past.open() as file:
            whole = (row for row in csv.DictReader(file) if None not in row.values())
            rows = [row for row in whole if float(row["time/steps"]) <= done]
    logger = configure(cfg.out, ["csv", "tensorboard"])
    for form in logger.output_formats:
        if isinstance(form, CSVOutputFormat) and rows:
            form.keys = list(rows[0])
            writer = csv.DictWriter(form.file, form.keys, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return logger


def _write_config(cfg: TrainConfig, out: Path) -> None:
    """All of the training's settings, so that a resumption needs no other file."""
    values = json.loads(json.dumps(asdict(cfg)))  # no tuples, nothing shared
    for name in ("resume", "overwrite", "json", "quick", "robot"):
        del values[name]
    robot = identify(cfg.world.physics.robot)
    values["world"]["physics"]["robot"] = robot.name
    text = f"# What this policy was trained with.\n{yaml.safe_dump(values, sort_keys=False)}"
    write_whole({out / "config.yaml": text, **robot_files(out, robot)})


class TrainingProgress(BaseCallback):
    """Switches stages, shows a bar with the hops per 20 s of the leading process's robots, logs them, and writes a
    checkpoint every few minutes.

    Args:
        cfg: the training.
        steps: at which it ends.
        command: that started it.
        before: what was known of a training that is resumed, or of the policy that it starts from.
        clock: s.
    """

    def __init__(
        self, cfg: TrainConfig, steps: int, command: str, before: dict[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        super().__init__()
        self.cfg = cfg
        self.steps = steps
        self.before = before
        self.provenance = {"command": command, "seed": cfg.seed, "revision": revision()}
        self.clock = clock
        self.start = self.saved = clock()
        self.stages = [{"until": end, **asdict(stage)} for end, stage in zip(cfg.until, cfg.stages, strict=False)]
        known = [{**asdict(Stage()), **stage} for stage in before.get("stages", [])]  # fields may have come since
        self.stage = before.get("stage", 0) if known == self.stages else 0
        self.hops_per_20s = 0.0
        self.interrupted = self.stopping = False
        self.share = 0.0
        self.bar = Progress(
            TextColumn("train"), BarColumn(), TextColumn("{task.percentage:3.0f}%"), TimeElapsedColumn(),
            TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=Terminal(stderr=True),
        )  # fmt: skip
        self.task = self.bar.add_task("train", total=steps, text="")

    @property
    def seconds(self) -> float:
        """s since the start or resumption."""
        return self.clock() - self.start

    def training(self) -> dict[str, Any]:
        """What is told of the training in the card, the checkpoint and the results."""
        more = {"earlier": self.before["earlier"]} if self.before else {}
        return {
            **self.provenance,
            "steps": self.num_timesteps,
            "target": self.steps,
            "minutes": round(self.before.get("minutes", 0.0) + self.seconds / 60.0, 2),
            "processes": self.group.size,
            "interrupted": self.interrupted,
            **more,
        }

    def save(self) -> None:
        """Write the checkpoint; called by all processes at once."""
        self.saved = self.clock()
        training = {**self.training(), "stage": self.stage, "stages": self.stages}
        self.model.save_with(Path(self.cfg.out) / checkpoint.NAME, training)  # type: ignore[attr-defined]

    @property
    def group(self) -> Group:
        """The processes that train."""
        return self.model.group  # type: ignore[attr-defined]

    def _on_training_start(self) -> None:
        if self.group.leads:
            self.bar.start()
        self.share = self.num_timesteps / self.steps
        self._enter_stage()

    def _on_rollout_start(self) -> None:
        """All processes agree on what to do: an interruption of one ends all, and the leader's clock rules."""
        due = self.group.leads and self.clock() - self.saved >= 60.0 * self.cfg.checkpoint_minutes
        flags = torch.tensor([float(due), float(self.interrupted), self._share()], device=self.model.device)
        due, stopping, self.share = self.group.max(flags).tolist()
        self.stopping = bool(stopping)
        if due:
            self.save()

    def _on_step(self) -> bool:
        # several processes can stop between rollouts only, or some would wait for the others for ever
        self.interrupted |= self.stopping
        return self.share < 1.0 and not (self.interrupted if self.group.size == 1 else self.stopping)

    def _share(self) -> float:
        """Of the training that is done, by its steps or its time."""
        steps = self.num_timesteps / self.steps
        limit = self.cfg.minutes
        return max(steps, (self.before.get("minutes", 0.0) + self.seconds / 60.0) / limit) if limit else steps

    def _on_rollout_end(self) -> None:
        self.hops_per_20s, falls = self.model.trials.hops_per_20s, self.model.trials.ends_per_20s  # type: ignore[attr-defined]
        self.logger.record("time/steps", self.num_timesteps)
        self.logger.dump(self.num_timesteps)
        text = f"{self.num_timesteps / 1e6:.1f}M steps  {self.hops_per_20s:4.1f} hops/20 s  {falls:4.1f} ends/20 s"
        self.bar.update(self.task, completed=min(self._share(), 1.0) * self.steps, text=text)
        self.share = max(self.share, self.num_timesteps / self.steps)
        self._enter_stage()

    def _on_training_end(self) -> None:
        self.bar.stop()

    def _enter_stage(self) -> None:
        cfg, until = self.cfg, self.cfg.until
        if not until:
            return
        due = next((i for i, share in enumerate(until) if self.share < share), len(until) - 1)
        self.stage = max(self.stage, due)  # more steps than before do not lead back
        stage, rewards = cfg.stages[self.stage], cfg.world.rewards
        weights = {name: weight * stage.rewards.get(name, 1.0) for name, weight in rewards.items()}
        world = self.model.env.world  # type: ignore[union-attr]
        world.weights, world.pushes.factor = weights, stage.pushes
        self.model.set_stage(stage.learning_rate, stage.entropy, stage.std)  # type: ignore[attr-defined]


@contextmanager
def stop_on_signal(progress: TrainingProgress) -> Iterator[None]:
    """Ctrl-C or SIGTERM ends training after the current step, wherever it strikes; a second Ctrl-C ends the program."""

    def stop(_signal: int, _frame: Any) -> None:
        progress.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
