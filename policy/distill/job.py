"""What all methods share: a student, the world that it or its teacher acts in, an optimizer, and a record."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from policy.distill.cells import CellWorld, SuccessRates
from policy.distill.config import DistillConfig
from policy.distill.positions import sample_cells
from policy.distill.teachers import Demonstrations, Teacher, columns
from policy.networks.actor import Actor
from policy.networks.distributions import Gaussian, Output, join
from policy.networks.student import ActionBins, Student, tokenise
from sim.physics.threads import physics_first
from sim.terminal import Terminal

FIELDS = ("steps", "seconds", "loss", "kept", "pronks_per_20s", "falls_per_20s", "success")


@dataclass(frozen=True)
class Samples:
    """P positions, control steps of all robots."""

    observation: Tensor
    """(P, size) as the student sees them."""
    asked: Tensor
    """(P, size) as the teacher sees them."""
    action: Tensor
    """(P, 12) that was taken there."""
    cell: Tensor
    """(P,)."""
    output: Output | None = None
    """What the student said there while it acted, where positions are chosen by that."""


class Job:
    """One training. Use it as a context: it shows a bar with an ETA and writes progress.csv.

    Args:
        cfg: what to do.
        teacher: a policy to ask, or a log, which needs no world.
        student: what learns: a ``Student``, or the ``Actor`` that teaches itself.
        ages: of the frames that the student sees.
    """

    def __init__(
        self, cfg: DistillConfig, teacher: Teacher | Demonstrations, student: Student | Actor, ages: tuple[int, ...]
    ) -> None:
        self.cfg, self.teacher, self.student = cfg, teacher, student
        self.device = torch.device(cfg.device)
        tokens = isinstance(student, Student) and student.bins
        self.bins = tokens.to(self.device) if tokens else None
        self.generator = torch.Generator(self.device).manual_seed(cfg.seed)
        self.trained = list(student.head.parameters() if isinstance(student, Actor) else student.parameters())
        self.optimizer = torch.optim.Adam(self.trained, lr=cfg.learning.rate)
        self.steps = 0
        self.start = time.monotonic()
        self.rows: list[dict[str, float]] = []
        self.skill: dict[str, float] = {}
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"), TimeElapsedColumn(),
            TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=Terminal(stderr=True),
        )  # fmt: skip
        self.ages = ages
        if isinstance(teacher, Teacher):
            self._enter_world(cfg, teacher)

    def _enter_world(self, cfg: DistillConfig, teacher: Teacher) -> None:
        seen = tuple(sorted({*self.ages, *teacher.card.observation.ages}))
        card = teacher.card
        physics = replace(cfg.world.physics, kp=card.kp, kd=card.kd)
        world = replace(
            cfg.world, ages=seen, scan=card.observation.scan, physics=physics, action_scale=card.action_scale
        )
        choose = self._by_weight if cfg.cells.use == "sampler" else None
        self.world = CellWorld(world, cfg.seed, cfg.device, cfg.threads, choose)
        self.rates = SuccessRates(cfg.cells, self.world.cells, self.device)
        self.view = columns(self.world.spec, self.ages).to(self.device)
        self.asked = columns(self.world.spec, card.observation.ages, card.observation.scan).to(self.device)
        self.now = self.world.reset()

    def __enter__(self) -> Job:
        Path(self.cfg.out).mkdir(parents=True, exist_ok=True)
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        with (Path(self.cfg.out) / "progress.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)

    @property
    def progress(self) -> float:
        """Share of the environment steps that are done."""
        return min(1.0, self.steps / self.cfg.steps)

    def updates(self) -> Iterator[int]:
        """Count rollouts until the steps are done, with a bar."""
        show = self.task("distill", self.cfg.steps)
        update = 0
        while self.steps < self.cfg.steps:
            yield update
            update += 1
            pronks, falls = (self.skill.get(f"{name}_per_20s", 0.0) for name in ("pronks", "falls"))
            show(self.steps, f"{self.steps / 1e6:.2f}M steps  {pronks:4.1f} pronks/20 s  {falls:4.2f} falls/20 s")

    def task(self, name: str, total: int) -> Callable[[int, str], None]:
        """A line of the bar; call what comes back with what is done and a text."""
        task = self.bar.add_task(name, total=total, text="")
        return lambda done, text: self.bar.update(task, completed=min(done, total), text=text)

    @torch.no_grad()
    @physics_first()
    def collect(self, teacher_acts: bool = False) -> Samples:
        """A rollout in which the student acts by its mean, as it will on a robot, or the teacher does, perhaps with
        noise that its recorded actions are without."""
        assert isinstance(self.teacher, Teacher)
        parts: dict[str, list[Tensor]] = {name: [] for name in ("observation", "asked", "action", "cell")}
        outputs: list[Output] = []
        for _ in range(self.cfg.rollout):
            seen = self.now["policy"][:, self.view]
            asked = self.now["policy"][:, self.asked]
            if teacher_acts:
                action = self.teacher(asked).mean
            else:
                output = self.student.output(seen)
                action = output.mean if isinstance(output, Gaussian) else self.bins.mean(output)  # type: ignore[union-attr]
                if self.cfg.positions.score != "all":
                    outputs.append(output)
            for name, value in zip(parts, (seen, asked, action, self.world.cell.clone()), strict=True):
                parts[name].append(value)
            if teacher_acts and self.cfg.noise:
                noise = torch.randn(action.shape, generator=self.generator, device=self.device)
                action = action + self.cfg.noise * noise
            self.now = self.world.step(action).observations
        self.counted()
        together = {name: torch.cat(values) for name, values in parts.items()}
        return Samples(**together, output=join(outputs) if outputs else None)

    def ask(self, asked: Tensor) -> Output:
        """What the teacher says, in the words of the student's head."""
        assert isinstance(self.teacher, Teacher)
        said = self.teacher(asked)
        return said if self.bins is None else tokenise(said, self.bins, neighbours=self.cfg.divergence.neighbours)

    def gradient_step(self, loss: Tensor, progress: float) -> None:
        """One step of the optimizer, whose learning rate falls along a line to a tenth."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.cfg.learning.rate * (1.0 - 0.9 * progress)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_grad_norm_(self.trained, self.cfg.learning.max_grad_norm)
        self.optimizer.step()

    def record(self, loss: float, kept: int) -> None:
        """A row of progress.csv."""
        seconds = time.monotonic() - self.start
        self.rows.append({"steps": self.steps, "seconds": seconds, "loss": loss, "kept": kept, **self.skill})

    def minibatches(self, rows: Tensor, epochs: int, of: int) -> Iterator[Tensor]:
        """Passes in random order over indices ``rows``, kept ``of`` so many: fewer positions make smaller minibatches,
        not fewer gradient steps."""
        size = math.ceil(self.cfg.learning.minibatch * len(rows) / of)
        for _ in range(epochs):
            order = torch.randperm(len(rows), generator=self.generator, device=self.device)
            yield from rows[order].split(size)

    def _by_weight(self, count: int) -> Tensor:
        """Cells of new trials."""
        return sample_cells(self.rates.weights(), count, self.generator)

    def counted(self) -> None:
        """Count a rollout's steps and note the skill in it."""
        self.steps += self.cfg.rollout * self.world.num_envs
        self._note()

    def _note(self) -> None:
        """Skill in the last rollout."""
        cells, success = self.world.drain()
        self.rates.add(cells, success)
        scale = 20.0 / (self.cfg.rollout * self.world.num_envs * self.world.dt)
        tried = float(self.rates.tried.sum())
        self.skill = {
            "pronks_per_20s": scale * float(self.world.hops.drain().pronk.sum()),
            "falls_per_20s": scale * self.world.falls,
            "success": float(self.rates.successes.sum()) / tried if tried else float("nan"),
        }
        self.world.falls = 0


def log_prob(output: Output, action: Tensor, bins: ActionBins | None) -> Tensor:
    """(P,) log probability of actions (P, 12), of tokens that of the bins that they fall into."""
    if isinstance(output, Gaussian):
        return output.log_prob(action)
    assert bins is not None
    return output.log_prob(bins.encode(action)).sum(-1)


def peak_megabytes() -> float:
    """Largest resident size of this process so far, MB; not that of its parent, which ``getrusage`` would include."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1e3
