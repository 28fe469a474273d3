"""Configuration of ``lunar distill``: teacher, student, method, and what they compose of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from policy.networks.config import StudentConfig
from sim.errors import LunarError
from sim.tasks.config import WorldConfig

Kind = Literal["reverse_kl", "forward_kl", "jsd", "mse"]
Score = Literal["entropy", "divergence", "product", "soft_or", "q3", "random"]
Method = Literal["on_policy", "dagger", "bc", "soda", "opsdc"]


@dataclass(frozen=True)
class DivergenceConfig:
    """How far a student is from its teacher at one position."""

    kind: Kind = "reverse_kl"
    """``reverse_kl`` is KL(student‖teacher), ``forward_kl`` KL(teacher‖student), ``jsd`` the Jensen-Shannon divergence,
    of Gaussians from their geometric mean instead of their mixture, ``mse`` the mean squared difference of Gaussian
    means."""
    beta: float = 0.5
    """Share of the teacher in the middle of ``jsd``, between 0 and 1."""
    std_floor: float = 0.01
    """Smallest standard deviation believed of a Gaussian teacher, in units of the action."""
    neighbours: float = 0.0
    """Bins. Standard deviation by which a Gaussian teacher's tokens are widened for a student with tokens: what else
    tells it that neighbouring bins are neighbours?"""
    chunk: int | None = None
    """Logits worked on at a time; what suits the device when absent. Changes time and memory, no result."""

    def __post_init__(self) -> None:
        if self.kind not in ("reverse_kl", "forward_kl", "jsd", "mse"):
            raise LunarError(f"divergence.kind is '{self.kind}'; it must be reverse_kl, forward_kl, jsd or mse")
        if not 0 < self.beta < 1:
            raise LunarError(f"divergence.beta is {self.beta}; it must lie between 0 and 1, both excluded")
        if not (self.std_floor > 0 and math.isfinite(self.std_floor)):
            raise LunarError(f"divergence.std_floor is {self.std_floor}; it must be a number above 0")
        if not 0 <= self.neighbours <= 10:
            raise LunarError(f"divergence.neighbours is {self.neighbours}; it must lie between 0 and 10 bins")
        if self.chunk is not None and self.chunk < 1:
            raise LunarError("divergence.chunk must be at least 1")


@dataclass(frozen=True)
class PositionsConfig:
    """Which positions of a rollout to learn from (policy/distill/positions.py)."""

    score: Literal["all"] | Score = "all"
    """``all``, or what positions are ranked by: ``entropy``, ``divergence``, ``product``, ``soft_or``, ``q3``,
    ``random``."""
    rho: float = 0.5
    """1. Share of the positions that is kept."""
    quantile: float = 1.0
    """1. Entropies and divergences beyond this quantile are clipped before they are scaled."""
    draw: bool = False
    """Draw positions with chances proportional to their scores, instead of keeping the highest."""
    direction: Literal["reverse_kl", "forward_kl"] = "reverse_kl"
    """Of the divergence that positions are ranked by."""
    unit: Literal["step", "token"] = "step"
    """What a position is: a control step, all twelve tokens of which come out of one forward pass, so that only whole
    steps save time; or, of a student with tokens, one joint's token at one step, as in language models."""


@dataclass(frozen=True)
class CellsConfig:
    """Which cells (terrain x level x slow or fast) to learn from (policy/distill/positions.py)."""

    rule: Literal["uniform", "paced", "hard_filter"] = "uniform"
    """Of the cells' success rates."""
    use: Literal["weights", "sampler"] = "weights"
    """Weight the loss of each position by its cell, or start trials in cells drawn by weight."""
    alpha: float = 1.0
    """Exponent of the success rate; larger shuns hard cells."""
    beta: float = 1.0
    """Exponent of the failure rate; larger shuns easy cells."""
    floor: float = 0.05
    """1. Smallest weight of ``paced``."""
    smoothing: float = 0.5
    """Successes and failures that every cell is credited with."""
    low: float = 0.1
    """1. ``hard_filter`` leaves out cells with a smaller success rate ..."""
    high: float = 0.9
    """1. ... or a larger one."""
    memory: float = 0.98
    """1. Weight that a trial keeps from one update to the next."""
    least: float = 8.0
    """Trials, old ones weighing less, that a cell needs before the rule speaks of it; until then it weighs as much as
    an average cell."""


@dataclass(frozen=True)
class LearningConfig:
    """The student's optimizer, Adam."""

    rate: float = 2e-3
    """Learning rate at first; it falls along a line to a tenth."""
    epochs: int = 4
    """Passes over each rollout. Methods that keep their samples take as many steps per rollout."""
    minibatch: int = 1024
    """Positions per gradient step, before some are left out."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""


@dataclass(frozen=True)
class SodaConfig:
    """Of the method ``soda``."""

    beta: float = 0.1
    """How far the student may go from its warmed-up self: less is further."""
    warm_up: float = 0.7
    """1. Share of the gradient steps that are supervised, on the teacher's actions; at most, with ``patience``."""
    patience: int = 4
    """Passes without a better likelihood on a tenth of the log, held out, after which the warm-up ends and the best of
    its students goes on; 0 does not look."""
    snapshot: float = 0.0
    """1. Share of the warm-up after which the student's own actions are taken down; at 0 it has learnt nothing, at 1 it
    is as good as the warm-up makes it."""
    passes: int = 40
    """Passes over the log, warm-up included."""


@dataclass(frozen=True)
class OpsdcConfig:
    """Of the method ``opsdc``."""

    refresh: int = 50
    """M: updates between renewals of the teacher."""
    look: int = 5
    """Updates between looks at the gate."""
    tolerance: float = 0.02
    """1. Training ends when trials succeed less often than before by more than this. Kept is the policy of as many
    updates before as a trial counts for on average (``cells.memory``): what came later is not yet judged."""
    before: int = 16
    """Updates' worth of rollouts in which the success rate before training is measured."""


@dataclass(frozen=True)
class DistillConfig:
    """Compress a policy into a student. Writes policy.safetensors, policy.onnx, card.json, progress.csv. Ctrl-C keeps
    what it has."""

    teacher: str = ""
    """Folder of a policy (also one that sees the ground ahead), an .onnx file beside its card, or a log of
    observations and actions, .npz or recorded by ``lunar hil`` (methods ``bc`` and ``soda``)."""
    start: str = ""
    """Folder of a student that goes on from its weights, with its network, instead of a new one with ``student``'s."""
    out: str = "runs/student"
    """Folder for the student; one that holds a policy is refused."""
    overwrite: bool = False
    """Replace the policy that ``out`` holds."""
    method: Method = "on_policy"
    """``on_policy``, ``dagger``, ``bc``, ``soda`` or ``opsdc``."""
    steps: int = 1_000_000
    """Environment steps (control steps summed over robots), the teacher's where it acts."""
    rollout: int = 24
    """Control steps per robot and update."""
    student: StudentConfig = field(default_factory=StudentConfig)
    divergence: DivergenceConfig = field(default_factory=DivergenceConfig)
    forward_until: float = 0.0
    """1. Share of the training that uses forward KL, whatever ``divergence`` says: first cover, then settle (PACED)."""
    positions: PositionsConfig = field(default_factory=PositionsConfig)
    cells: CellsConfig = field(default_factory=CellsConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    soda: SodaConfig = field(default_factory=SodaConfig)
    opsdc: OpsdcConfig = field(default_factory=OpsdcConfig)
    noise: float = 0.0
    """In units of the action. Standard deviation of noise in what the teacher does where it alone acts (``bc``,
    ``soda``); its mean stays the lesson, so that this tells how to come back (DART)."""
    world: WorldConfig = field(default_factory=WorldConfig)
    """Where student or teacher act; ``ages`` are those that they see, and one command lasts for a trial."""
    seed: int = 1
    """Reaches everything random."""
    threads: int = 0
    """Cores to use; 0 takes all."""
    device: str = "cpu"
    """``cpu`` or ``cuda``, for physics and networks."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """A few updates only, to try the command."""

    def check(self) -> None:
        """Raise LunarError for settings that do not go together."""
        if not self.teacher:
            raise LunarError("no teacher: name one with --teacher, e.g. --teacher policy/zoo/dual")
        if self.steps < 1 or self.rollout < 1:
            raise LunarError(f"steps and rollout are {self.steps} and {self.rollout}; they must be at least 1")
        if self.world.num_envs < 1 or self.threads < 0 or self.seed < 0:
            raise LunarError("world.num_envs must be at least 1, threads and seed not negative")
        if self.device != "cpu" and not (self.device == "cuda" and _sees_gpu()):
            raise LunarError(f"device '{self.device}': it must be cpu, or cuda where torch sees a GPU")
        learning = self.learning
        if learning.epochs < 1 or learning.minibatch < 1 or not (learning.rate > 0 and learning.max_grad_norm > 0):
            raise LunarError("learning.epochs and minibatch must be at least 1, rate and max_grad_norm above 0")
        if not 0 < self.positions.rho <= 1:
            raise LunarError(f"positions.rho is {self.positions.rho}; it must lie above 0 and be at most 1")
        if self.positions.unit == "token" and (self.positions.score == "all" or self.student.head != "tokens"):
            raise LunarError("positions.unit 'token' needs a score and a student with --student.head tokens")
        if self.divergence.neighbours and self.student.head != "tokens":
            raise LunarError("divergence.neighbours are bins: they need a student with --student.head tokens")
        if not 0 <= self.cells.memory <= 1:
            raise LunarError(f"cells.memory is {self.cells.memory}; it must lie between 0 and 1")
        if not 0 <= self.noise < math.inf or (self.noise and self.method not in ("bc", "soda")):
            raise LunarError(f"noise is {self.noise}; it must not be negative, and 0 but for the methods bc and soda")
        if self.cells.least < 0:
            raise LunarError(f"cells.least is {self.cells.least}; it must not be negative")
        if not 0 <= self.forward_until <= 1:
            raise LunarError(f"forward_until is {self.forward_until}; it must lie between 0 and 1")
        if self.student.head == "tokens" and self.divergence.kind == "mse":
            raise LunarError("divergence.kind 'mse' compares means and a token head has none; use a KL or jsd")
        weighted = self.cells.rule != "uniform"
        if self.method in ("bc", "soda") and (self.positions.score != "all" or weighted):
            raise LunarError(f"method '{self.method}' learns from a teacher's states: leave out positions and cells")
        if self.method in ("bc", "soda") and (self.divergence != DivergenceConfig() or self.forward_until):
            raise LunarError(f"method '{self.method}' learns from actions: leave out divergence and forward_until")
        if self.method == "dagger" and (self.positions.score != "all" or (weighted and self.cells.use == "weights")):
            raise LunarError("method 'dagger' weighs all positions alike: leave out positions and weights of cells")
        if self.method == "opsdc" and (self.student != StudentConfig() or self.start):
            raise LunarError("method 'opsdc' trains the policy itself: leave out student and start")


def _sees_gpu() -> bool:
    import torch  # takes seconds, which no wrong option is worth

    return torch.cuda.is_available()
