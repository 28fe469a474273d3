"""Configuration of ``lunar train``: the world, PPO, the internal model's learning, and the stages."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace

from policy.networks.config import ModelConfig
from sim.errors import LunarError
from sim.tasks.config import WorldConfig


@dataclass(frozen=True)
class EstimatorConfig:
    """Training of the encoders, after each policy update and on the same rollout."""

    learning_rate: float = 1e-3
    """Of Adam, times the stage's factor; ``ppo.learning_rate`` does not reach it."""
    epochs: int = 1
    """Passes over each rollout."""
    stride: int = 2
    """Control steps between the samples that are used of it: neighbours hardly differ."""
    contrast: float = 0.2
    """Weight of the swapped-prototype loss against the regression; 0 leaves it out."""
    prototypes: int = 32
    """Number of prototypes of each horizon."""
    temperature: float = 0.2
    """1. Of the predicted assignments."""
    sharpness: float = 0.05
    """1. Entropic regularisation of Sinkhorn's assignments."""
    policy_gradient: bool = False
    """Whether the policy's loss reaches the encoders too."""


@dataclass(frozen=True)
class PPOConfig:
    """Hyperparameters of PPO (Schulman et al. 2017)."""

    rollout: int = 24
    """Control steps per robot and update."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatch: int = 4096
    """Samples per gradient step, over all processes."""
    gamma: float = 0.99
    """1. Discount per control step."""
    gae_lambda: float = 0.95
    """1. Of generalised advantage estimation (Schulman et al. 2016)."""
    clip: float = 0.2
    """1. Clip range of the probability ratio."""
    learning_rate: float = 1e-3
    """1. Highest learning rate, times the stage's factor; adapted downwards and back by the KL divergence."""
    target_kl: float = 0.01
    """nats per update."""
    entropy: float = 0.003
    """Weight of the entropy bonus, times the stage's factor."""
    value_weight: float = 1.0
    """Weight of the value loss."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    initial_std: float = 0.5
    """Standard deviation of actions at the start."""
    mirror: bool = True
    """Whether half of each minibatch is exchanged left for right."""
    model: ModelConfig = field(default_factory=ModelConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)


@dataclass(frozen=True)
class Stage:
    """A stretch of training; its factors multiply what the rest of the config says, so that a value given there counts
    in every stage."""

    learning_rate: float = 1.0
    """1. Factor of ``ppo.learning_rate`` and of ``ppo.estimator.learning_rate``."""
    entropy: float = 1.0
    """1. Factor of ``ppo.entropy``."""
    rewards: dict[str, float] = field(default_factory=dict)
    """1. Factors of weights in ``world.rewards``; 1 for those that are not named."""
    pushes: float = 1.0
    """1. Factor of the impulse of ``world.pushes``."""
    std: float | None = None
    """Standard deviation of all actions, in their units; none lets the policy learn it. A wide one learns faster, but
    to hop in spite of its noise: what the mean action does, which is all that is used, is not quite what was paid."""


@dataclass(frozen=True)
class TrainConfig:
    """Train a policy. Writes policy.safetensors, policy.onnx, card.json, config.yaml, checkpoint.pt, progress.csv,
    curve.png. Ctrl-C keeps what it has. Under torchrun, processes train one policy together (docs/training.md)."""

    out: str = "runs/pronk"
    """Folder for the policy; one that holds a training is refused, unless that is resumed."""
    robot: str = ""
    """Name, folder or MJCF of a quadruped (docs/robots.md); short for ``world.physics.robot``."""
    steps: int = 10_000_000
    """Environment steps (control steps summed over robots), those before a resumption included."""
    minutes: float = 0.0
    """min after which a training ends whose steps are not done yet, those before a resumption included; its stages then
    end at their shares of the time. 0 for no limit."""
    resume: str = ""
    """Folder of a training to continue, or its checkpoint. Its own config is taken unless ``--config`` names one."""
    start: str = ""
    """Folder of a policy to start from, of the same observation and networks, instead of from random weights; it may
    estimate less than ``ppo.model`` asks for."""
    warm_up: int = 20
    """Updates after such a start in which the critic alone learns: a policy comes without one, and a new one's advice
    would ruin it."""
    overwrite: bool = False
    """Replace the training that ``out`` holds: its policy, checkpoint and records are removed."""
    checkpoint_minutes: float = 3.0
    """min between checkpoints; one more is written at the end."""
    seed: int = 1
    """Reaches everything random."""
    threads: int = 0
    """Cores to use; 0 takes all, or this process's share under torchrun. Results of physics do not depend on it, sums
    of gradients do in the last digit."""
    device: str = "cpu"
    """``cpu`` or ``cuda``, for physics, terms and networks."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """A few updates only, to try the command."""
    world: WorldConfig = field(default_factory=WorldConfig)
    """Its ``ages`` and ``scan`` are those that the model sees."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    stages: list[Stage] = field(default_factory=list)
    """In order, or a file that lists them; as many are used as ``until`` ends."""
    until: tuple[float, ...] = ()
    """1. Shares of the training's steps at which the first stages end, one for each that is used; after the last, its
    weights stay."""

    def __post_init__(self) -> None:
        if self.robot:
            physics = replace(self.world.physics, robot=self.robot)
            object.__setattr__(self, "world", replace(self.world, physics=physics))

    @property
    def seen_world(self) -> WorldConfig:
        """The world with observations of what the model sees."""
        return replace(self.world, ages=self.ppo.model.ages, scan=self.ppo.model.scan)

    def check(self) -> None:
        """Raise LunarError for numbers that make no sense and stages that do not fit the rest."""
        ppo = self.ppo
        counts = {
            "steps": self.steps, "world.num_envs": self.world.num_envs, "ppo.rollout": ppo.rollout,
            "ppo.epochs": ppo.epochs, "ppo.minibatch": ppo.minibatch,
        }  # fmt: skip
        for name, count in counts.items():
            if count < 1:
                raise LunarError(f"{name} is {count}; it must be at least 1")
        for name, value in {"threads": self.threads, "seed": self.seed}.items():
            if value < 0:
                raise LunarError(f"{name} is {value}; it must not be negative")
        if not self.minutes >= 0.0:
            raise LunarError(f"minutes is {self.minutes}; give the training's time, or 0 for no limit")
        if len(self.until) > len(self.stages) or list(self.until) != sorted(self.until):
            raise LunarError(f"until is {list(self.until)}: it must rise and end one of {len(self.stages)} stages each")
        if self.stages and not self.until:
            raise LunarError(f"until is empty, but {len(self.stages)} stages are named: say where each ends")
        if self.start and self.resume:
            raise LunarError("start and resume exclude each other: a checkpoint holds the policy that it goes on with")
        for i, stage in enumerate(self.stages):
            if stage.std is not None and not stage.std > 0.0:
                raise LunarError(f"stages[{i}].std is {stage.std}; it must be over 0")
            for name in stage.rewards:
                if name not in self.world.rewards:
                    near = difflib.get_close_matches(name, self.world.rewards, n=1, cutoff=0.3)
                    hint = f"; did you mean '{near[0]}'?" if near else ""
                    raise LunarError(f"stages[{i}].rewards: '{name}' multiplies no weight of world.rewards{hint}")
