"""PPO on Stable-Baselines3's API with rollouts that stay torch tensors, so that hundreds of robots keep two cores busy.

``learn``, callbacks and the logger are SB3's; collecting and updating are ours. Differences from SB3's PPO: adaptive
learning rate by the KL divergence of an update (as in rsl_rl), value targets bootstrapped through time limits with the
critic's value of the final observation, mirrored samples, an internal model that learns beside the policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from policy.networks.actor import Actor
from policy.networks.distributions import Gaussian
from policy.networks.policy_file import check_finite, drop_run, model_config, refuse_used, save_policy
from policy.runtime.card import Card
from policy.training import checkpoint, state
from policy.training.actor_critic import AsymmetricPolicy
from policy.training.arguments import robots_of, with_hyperparameters
from policy.training.card import make_card
from policy.training.config import EstimatorConfig, PPOConfig
from policy.training.distributed import ALONE, Group
from policy.training.internal_model import EstimatorLearner
from policy.training.rollout import Rollout
from policy.training.start import take_over
from policy.training.trials import TrialLog
from policy.training.vec_env import LunarVecEnv
from sim.envs.world import PronkWorld, WorldConfig
from sim.errors import LunarError
from sim.mdp.mirror import ACTION, Mirror
from sim.mdp.observations import group_specs
from sim.output import locked, writing
from sim.physics.scene import PhysicsConfig
from sim.physics.threads import physics_first
from sim.results import revision
from sim.tasks.pronk import check_reward


class LunarPPO(PPO):
    """PPO over the robots of a ``LunarVecEnv``.

    Args:
        policy: ``pronk``, the one that it trains: ``AsymmetricPolicy`` with the networks of ``config.model``.
        env: the robots, perhaps in SB3's VecMonitor, VecVideoRecorder or VecCheckNan.
        config: hyperparameters.
        seed: of networks, commands, resets, sensor and action noise, and the order of samples; in every process.
        device: of networks and rollouts, which must be the robots'; ``auto`` takes that.
        group: the processes that train together; all call ``learn`` and ``save`` alike.
        verbose: as SB3's, like the two that follow: 1 prints the log.
        tensorboard_log: folder for TensorBoard's events.
        stats_window_size: trials that ``rollout/ep_rew_mean`` is a mean over.
        hyperparameters: by SB3's names (``n_steps=24``), in place of the config's.

    Raises:
        LunarError: robots, an argument or a device that it cannot train with.
    """

    policy: AsymmetricPolicy
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"pronk": AsymmetricPolicy}

    def __init__(
        self, policy: str | type[BasePolicy], env: VecEnv, config: PPOConfig | None = None, *, seed: int | None = None,
        device: str | torch.device = "auto", group: Group = ALONE, verbose: int = 0,
        tensorboard_log: str | None = None, stats_window_size: int = 100, **hyperparameters: Any,
    ) -> None:  # fmt: skip
        if policy not in ("pronk", AsymmetricPolicy):
            name = policy if isinstance(policy, str) else getattr(policy, "__name__", type(policy).__name__)
            raise LunarError(f"LunarPPO trains the policy 'pronk', not '{name}': for that use stable_baselines3.PPO")
        self.robots, self.group = robots_of(env), group
        self.world: PronkWorld = self.robots.world
        if device != "auto" and torch.device(device).type != self.world.device.type:
            raise LunarError(f"device is {device}, but the robots are on {self.world.device}: they must be the same")
        config = self.config = with_hyperparameters(config or PPOConfig(), hyperparameters)
        self.lr = self.max_lr = config.learning_rate
        self.entropy_weight = config.entropy
        self.warm_up = 0
        self.std: float | None = None
        super().__init__(
            AsymmetricPolicy,
            env,
            learning_rate=config.learning_rate,
            n_steps=config.rollout,
            batch_size=min(config.minibatch // group.size, config.rollout * env.num_envs),
            n_epochs=config.epochs,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            policy_kwargs={"model": config.model, "spec": self.world.spec, "initial_std": config.initial_std},
            seed=seed,
            device=self.world.device,
            verbose=verbose,
            tensorboard_log=tensorboard_log,
            stats_window_size=stats_window_size,
        )
        if seed is not None:
            env.seed(group.seed(seed))
            torch.manual_seed(group.seed(seed))  # of the action noise; the networks are the same in all processes

    def start_from(self, actor: Actor, warm_up: int) -> None:
        """Take over the weights of ``actor``, which may estimate less; for ``warm_up`` updates the critic and the
        internal model's targets alone learn.

        Raises:
            LunarError: its networks are others.
        """
        take_over(self.policy.actor, actor)
        self.warm_up = warm_up

    def set_stage(self, learning_rate: float, entropy: float, std: float | None = None) -> None:
        """From the next update on multiply the configured learning rates, the encoders' too, and entropy weight; from
        the next rollout on explore with the standard deviation ``std``; None lets the policy learn it."""
        self.std = std
        self.max_lr, self.entropy_weight = learning_rate * self.config.learning_rate, entropy * self.config.entropy
        self.lr = min(self.lr, self.max_lr)
        if self.estimator:
            self.estimator.scale_rate(learning_rate)

    def _setup_model(self) -> None:
        super()._setup_model()
        world, actor, cfg = self.world, self.policy.actor, self.config
        groups = group_specs(world.spec)
        self.mirrors = {name: Mirror(channels, self.device) for name, channels in groups.items()}
        self.mirrors["actions"] = Mirror([ACTION], self.device)
        self.estimator = EstimatorLearner(actor, cfg.estimator, self.device, self.group) if actor.encoders else None
        learned = set(self.estimator.parameters) if self.estimator and not cfg.estimator.policy_gradient else set()
        self.parameters = [p for p in self.policy.parameters() if p not in learned]
        self.policy.optimizer = torch.optim.Adam(self.parameters, lr=self.lr, eps=1e-5)
        self.rollout_buffer = None  # type: ignore[assignment]  # SB3's NumPy buffer is not used
        sizes = {name: sum(c.size for c in channels) for name, channels in groups.items()}
        self.rollout = Rollout.empty(cfg.rollout, self.n_envs, sizes, actor.feature_size, self.device)
        self.trials = TrialLog(world)
        self.shuffle = torch.Generator(self.device).manual_seed(self.seed or 0)  # the same in all processes

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        before = self._last_obs
        prepared = super()._setup_learn(*args, **kwargs)
        if self._last_obs is not before:  # all trials began anew
            self.trials = TrialLog(self.world)
            self.world.stagger()
        return prepared

    @torch.no_grad()
    @physics_first()
    def collect_rollouts(self, env: Any, callback: BaseCallback, rollout_buffer: Any, n_rollout_steps: int) -> bool:
        """Fill the rollout; False when a callback asks to stop. Robots that nobody watches are stepped as tensors."""
        world, policy = self.world, self.policy
        obs = world.observations
        data, terms = self.rollout, []
        self.robots.keeps_hops = True
        self.policy.fix_std(self.std)
        callback.on_rollout_start()
        for t in range(n_rollout_steps):
            features = policy.actor.features(obs["policy"])
            said = policy.distribution(features)
            action = said.sample()
            values = policy.critic(obs["critic"]).squeeze(1)
            step = world.step(action) if env is self.robots else self.robots.watched(env, action)
            reward = step.reward
            if step.truncated.any():
                final = policy.critic(step.final_observations["critic"]).squeeze(1)
                reward = reward.clone()
                reward[step.ended] += self.gamma * final * step.truncated[step.ended]
            data.policy[t], data.critic[t], data.features[t] = obs["policy"], obs["critic"], features
            data.actions[t], data.means[t], data.log_probs[t] = action, said.mean, said.log_prob(action)
            data.values[t], data.rewards[t] = values, reward
            data.dones[t] = (step.terminated | step.truncated).float()
            terms.append(step.terms)
            self.ep_info_buffer.extend(self.trials.add(step))  # type: ignore[union-attr]
            obs = self._last_obs = step.observations  # type: ignore[assignment]
            self.num_timesteps += world.num_envs * self.group.size
            callback.update_locals(locals())
            if not callback.on_step():
                return False
        self.robots.keeps_hops = False
        if not bool(torch.isfinite(data.rewards).all()):  # asked once, since the host waits for the answer
            for reward, of_step in zip(data.rewards, terms, strict=True):
                check_reward(reward, of_step)
        data.critic[-1] = obs["critic"]
        data.compute_advantages(policy.critic(obs["critic"]).squeeze(1), self.gamma, self.gae_lambda)
        self.trials.record(self.logger, data.rewards, data.dones, terms)
        callback.on_rollout_end()
        return True

    def train(self) -> None:
        """One update of the policy, then of the internal model, from the rollout."""
        cfg = self.config
        self.policy.actor.requires_grad_(self.warm_up <= 0)
        self.warm_up -= 1
        if cfg.mirror:
            self._mirror_half()
        columns = self._columns()
        old_log_std = self.policy.log_std.detach().clone()
        sums = dict.fromkeys(("policy_loss", "value_loss", "kl"), 0.0)
        count = 0
        for rows, size in self._minibatches(cfg.epochs, cfg.rollout):
            losses = self._minibatch({name: column[rows] for name, column in columns.items()}, size, old_log_std)
            for name, value in losses.items():
                sums[name] += value
            count += 1
        self.policy.fix_std(self.std)
        self._n_updates += cfg.epochs
        for name, total in sums.items():
            self.logger.record(f"train/{name}", total / count)
        self.logger.record("train/learning_rate", self.lr)
        self.logger.record("train/std", self.policy.log_std.exp().mean().item())
        if self.estimator:
            self._train_estimator(self.estimator)

    @torch.no_grad()
    def _mirror_half(self) -> None:
        """Exchange left for right in what every second robot lived through, by turns.

        Its actions keep the probability that they had: a policy that is even from side to side starts from a ratio of
        one, and an uneven one is pulled towards evenness without ratios that overflow.
        """
        data, actor = self.rollout, self.policy.actor
        turn = self._n_updates // self.config.epochs + self.group.rank * self.n_envs
        robots = slice(turn % 2, None, 2)
        for name, mirror in self.mirrors.items():
            column = getattr(data, name)[:, robots]
            column[:] = mirror(column.flatten(0, 1)).unflatten(0, column.shape[:2])
        seen = data.policy[:, robots]
        features = actor.features(seen.flatten(0, 1))
        data.features[:, robots] = features.unflatten(0, seen.shape[:2])
        data.means[:, robots] = actor.head(features).unflatten(0, seen.shape[:2])

    def _columns(self) -> dict[str, Tensor]:
        """What the policy learns from, (T * N, ...)."""
        data = self.rollout
        columns = {n: data.flat(n) for n in ("features", "actions", "means", "log_probs", "returns")}
        columns["critic"] = data.critic[:-1].flatten(0, 1)
        columns["advantages"] = self._normalised(data.flat("advantages"))
        if self.config.estimator.policy_gradient and self.estimator:
            columns["features"] = data.flat("policy")  # features are computed anew, with their gradient
        return columns

    def _normalised(self, advantages: Tensor) -> Tensor:
        """Mean 0 and standard deviation 1 over the samples of all processes."""
        count = len(advantages) * self.group.size
        centred = advantages - self.group.sum(advantages.sum()) / count
        std = (self.group.sum(centred.square().sum()) / (count - 1)).sqrt()
        return centred / (std + 1e-8)

    def _minibatches(self, epochs: int, steps: int) -> Iterator[tuple[Tensor, int]]:
        """Passes in random order over ``steps`` of all robots in all processes, the same order in all of them.

        Yields:
            Of a minibatch, the rows (b,) that this process holds, and the whole minibatch's size.
        """
        robots = self.n_envs
        count = steps * robots * self.group.size
        for _ in range(epochs):
            for batch in torch.randperm(count, generator=self.shuffle, device=self.device).split(self.config.minibatch):
                yield self.group.cards(batch, robots), len(batch)

    def _minibatch(self, rows: dict[str, Tensor], size: int, old_log_std: Tensor) -> dict[str, float]:
        """One gradient step; ``rows`` are this process's part of ``size`` samples. Losses are over all of them."""
        cfg, policy = self.config, self.policy
        features = rows["features"]
        if cfg.estimator.policy_gradient and self.estimator:
            features = policy.actor.features(features)
        said = policy.distribution(features)
        ratio = torch.exp(said.log_prob(rows["actions"]) - rows["log_probs"])
        advantage = rows["advantages"]
        gain = torch.min(ratio * advantage, ratio.clamp(1.0 - cfg.clip, 1.0 + cfg.clip) * advantage)
        error = (policy.critic(rows["critic"]).squeeze(1) - rows["returns"]).square()
        loss = (cfg.value_weight * error.sum() - gain.sum()) / size
        loss = loss - len(gain) / size * self.entropy_weight * said.entropy()
        policy.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():
            divergence = Gaussian(rows["means"], old_log_std).kl(said)
        sums = torch.stack([-gain.detach().sum(), error.detach().sum(), divergence.sum()]) / size
        policy_loss, value_loss, kl = self.group.sum_gradients(self.parameters, sums).tolist()
        self._adapt(kl)
        clip_grad_norm_(self.parameters, cfg.max_grad_norm)
        policy.optimizer.step()
        return {"policy_loss": policy_loss, "value_loss": value_loss, "kl": kl}

    def _train_estimator(self, estimator: EstimatorLearner) -> None:
        """Passes over every few steps of the rollout."""
        data, cfg = self.rollout, self.config.estimator
        steps = slice(None, None, cfg.stride)
        observation, critic = data.policy[steps].flatten(0, 1), data.critic[:-1][steps].flatten(0, 1)
        successor, follows = data.critic[1:][steps].flatten(0, 1), data.dones[steps].flatten() == 0.0
        sums: dict[str, float] = {}
        count = 0
        for batch, _ in self._minibatches(cfg.epochs, len(data.dones[steps])):
            losses = estimator.step(observation[batch], critic[batch], successor[batch], follows[batch])
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
        for name, total in sums.items():
            self.logger.record(f"train/{name}", total / count)

    def _adapt(self, kl: float) -> None:
        """The learning rate follows the divergence within [1e-5, ``max_lr``]."""
        if kl > 2.0 * self.config.target_kl:
            self.lr = max(1e-5, self.lr / 1.5)
        elif kl < 0.5 * self.config.target_kl:
            self.lr = min(self.max_lr, self.lr * 1.5)
        for group in self.policy.optimizer.param_groups:
            group["lr"] = self.lr

    def save(self, path: str | Path) -> None:  # type: ignore[override]
        """Write a checkpoint (``policy/training/checkpoint.py``) to exactly this path; nothing is pickled. Called by
        all processes of the group; its leader writes."""
        self.save_with(Path(path), {})

    def save_with(self, path: Path, training: dict[str, Any]) -> None:
        """``save`` with more to keep: what is told of the training, plain data."""
        processes = state.processes(self)
        if not self.group.leads:
            return
        check_finite(self.policy.state_dict(), f"checkpoint {path} is not written and the one before stays")
        checkpoint.write(path, state.document(self, training, processes))

    @classmethod
    def load(  # type: ignore[override]
        cls, path: str | Path, env: VecEnv | None = None, device: str = "auto", **kwargs: Any
    ) -> LunarPPO:
        """A model that goes on learning where ``save`` was called; ``learn(..., reset_num_timesteps=False)`` keeps
        counting its steps. The robots of ``env`` start new trials.

        Args:
            path: the file.
            env: as ``get_env()`` was, to go on learning; without it, one robot of the checkpoint in the default world.
            device: as of the constructor.
            kwargs: other arguments of the constructor.

        Raises:
            LunarError: a damaged file, or one of another robot or network.
        """
        document = checkpoint.read(Path(path))
        with checkpoint.fitting(Path(path)):
            fields = document["ppo"]
            parts = {"model": model_config(fields["model"]), "estimator": EstimatorConfig(**fields["estimator"])}
            config = PPOConfig(**(fields | parts))
            whose = document["identity"]
            physics = PhysicsConfig(robot=whose["robot"])
            one = WorldConfig(
                num_envs=1, physics=physics, action_scale=whose["action_scale"], ages=config.model.ages,
                scan=config.model.scan,
            )  # fmt: skip
        model = cls("pronk", env or LunarVecEnv(PronkWorld(one, 0)), config, device=device, **kwargs)
        model.restore(document, Path(path))
        return model

    def save_policy(self, folder: str | Path, overwrite: bool = False) -> Card:
        """Write the policy as ``lunar train`` does, for 'lunar eval', 'export', 'hil' and 'play': weights, ONNX file
        and card, which it returns.

        Raises:
            LunarError: the folder holds another policy and is not to be overwritten, or cannot be written.
        """
        folder = Path(folder)
        refuse_used(folder, overwrite, "choose another folder")
        with locked(folder), writing(folder):
            if overwrite:
                drop_run(folder)
            training = {"steps": self.num_timesteps, "seed": self.seed, "revision": revision()}
            card = make_card(self.world.cfg, self.config.model, training)
            return save_policy(folder, self.policy.actor, card)

    def restore(self, document: dict[str, Any], path: Path) -> list[str]:
        """Go to where ``save`` was called. The robots start new trials; world, rewards and hyperparameters may differ.

        Args:
            document: from ``checkpoint.read``.
            path: for messages.

        Returns:
            What could not be restored and starts anew, in words.

        Raises:
            LunarError: another robot or network, or a damaged document.
        """
        with checkpoint.fitting(path):
            checkpoint.refuse_others(document["identity"], state.identity(self), path)
            self.policy.load_state_dict(document["policy"])
            self.policy.optimizer.load_state_dict(document["optimizer"])
            if self.estimator:
                self.estimator.targets.load_state_dict(document["targets"])
                self.estimator.optimizer.load_state_dict(document["estimator_optimizer"])
                self.estimator.scale_rate(1.0)
            self.lr = min(document["learning_rate"], self.max_lr)
            self.num_timesteps, self._n_updates = document["steps"], document["updates"]
            self.warm_up = document["warm_up"]
            self.robots._reset_seeds()  # the next trials go on with the random numbers of the checkpoint
            return state.restore_processes(self, document)
