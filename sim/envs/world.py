"""The batched world: N robots, their commands, observations, rewards and resets, as torch tensors."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sim.envs.grounds import grounds
from sim.errors import LunarError
from sim.mdp import commands, events, observations
from sim.mdp.curriculum import Curriculum
from sim.mdp.events import Pushes
from sim.mdp.state import State, heading, projected_gravity, to_heading
from sim.physics.backend import make_physics
from sim.rows import Rows, like, tensor
from sim.spec.gravity import lunar_weight
from sim.spec.hops import LOAD_FRACTION, LOAD_TIME, HopDetector
from sim.spec.observation import PRONK_OBSERVATION, sensors_of
from sim.tasks.config import WorldConfig
from sim.tasks.pronk import TRUNK_LOAD, check_terms, total
from sim.terrain.generators import LEVELS
from sim.terrain.height_field import HeightField

FEW = 32
"""Robots up to which a world on the CPU computes with NumPy (``sim.rows``): PyTorch's dispatch would cost more."""
_STEPPED = (
    "command", "last_action", "action_before", "steps", "last_step", "travelled", "air_time", "stance_time",
    "liftoff_com_height", "sensor_bias", "friction", "joint_rub", "weight", "contact", "limb_contact", "trunk_load",
    "lying_time", "frames", "nominal", "size",
)  # fmt: skip
"""What of a world changes, or is read, in every step."""
_SENSED = (
    "qpos", "qvel", "torque", "foot_force", "calf_force", "trunk_force", "com", "com_velocity", "base_height",
    "angular_momentum", "foot_position", "ground", "effective_gravity", "level",
)  # fmt: skip
"""What of its physics is read."""


@dataclass
class Step:
    """Outcome of one control step; every tensor has N rows. In ``PronkWorld.advance`` they may be ``Rows``."""

    observations: dict[str, Tensor]
    """``policy`` and ``critic``; of the new trial where one ended."""
    reward: Tensor
    """(N,)."""
    terminated: Tensor
    """(N,) bool, fell or diverged."""
    truncated: Tensor
    """(N,) bool, ran out of time."""
    ended: Tensor
    """Indices of the robots whose trial ended, (n,)."""
    final_observations: dict[str, Tensor]
    """Last observations of those trials, rows as in ``ended``."""
    hops: np.ndarray
    """(N,) of the trial so far, or of the one that ended."""
    pronks: np.ndarray
    """(N,) likewise."""
    terms: dict[str, Tensor] = field(default_factory=dict)
    """(N,) each reward term per second, without its weight."""


class PronkWorld:
    """N robots told to pronk. Same seed, same rollout.

    Args:
        cfg: the world.
        seed: reaches terrain, commands, resets, randomisation and sensor noise.
        device: ``cpu`` or ``cuda``: where physics and terms are computed and observations live.
        restart: start robots anew whose trial ends; without it they go on, to see what becomes of them, and only a
            diverged simulation is started anew.
        threads: C++ threads of physics on the CPU; 0 takes every core.
        privileged: observe the group ``critic`` too, which no robot senses.
        ground: a map, or a stack over which the robots are spread, instead of ``cfg.terrain``'s.
    """

    def __init__(
        self, cfg: WorldConfig, seed: int, device: str = "cpu", restart: bool = True, threads: int = 0,
        privileged: bool = True, ground: HeightField | None = None,
    ) -> None:  # fmt: skip
        check_terms(cfg.rewards, "rewards")
        self.cfg = cfg
        self.device = torch.device(device)
        self.restart = restart
        self.privileged = privileged
        self.places: Tensor | None = None
        """(N, 3) x and y in m and yaw in rad, where trials start instead of at places drawn."""
        self.num_envs = n = cfg.num_envs
        if n < 1:
            raise LunarError(f"num_envs is {n}; a world needs one robot or more")
        if not 0.0 < cfg.physics.timestep <= LOAD_TIME:
            raise LunarError(f"physics.timestep is {cfg.physics.timestep} s; hops need one of at most {LOAD_TIME} s")
        events.check_randomisation(cfg.randomisation, cfg.physics)
        self.spec = replace(PRONK_OBSERVATION, ages=cfg.ages, scan=cfg.scan)
        self.kinds = 1 + len(cfg.other_terrains)
        terrain = grounds(cfg, seed, ground)
        self.physics = make_physics(cfg.physics, n, terrain, self.device, threads)
        robot = self.everyone = torch.arange(n, device=self.device)
        if cfg.curriculum.enabled:
            maps = self.kinds * cfg.maps
            self.physics.level[:] = LEVELS * (robot % maps) + robot // maps % (cfg.curriculum.start + 1)
            self.curriculum = Curriculum(cfg.curriculum, maps, self.device)
        else:
            self.physics.level[:] = robot % len(terrain)
        self.dt = cfg.physics.control_dt
        self.max_steps = round(cfg.episode_length / self.dt)
        self.weights = dict(cfg.rewards)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        weight = lunar_weight(self.physics.mass)
        self.hops = HopDetector(np.full(n, weight), cfg.physics.timestep)
        self.weight = torch.full((n,), weight, device=self.device)
        self.nominal = torch.as_tensor(self.physics.robot.nominal_pose, dtype=torch.float32, device=self.device)
        body = self.physics.robot
        torque, time = body.torque_ratio, body.time_ratio
        self.size = torch.tensor([torque, torque / time, torque * time, time**2], device=self.device)
        self.action_scale = body.action_scale if cfg.action_scale is None else cfg.action_scale
        """rad per unit of action."""
        self._sensors = sensors_of(body.nominal_pose)
        self.steps, self.last_step = torch.zeros(2, n, dtype=torch.long, device=self.device)
        self.diverged = 0
        self.command = torch.zeros(n, 5, device=self.device)
        self.last_action = torch.zeros(n, 12, device=self.device)
        self.action_before = torch.zeros(n, 12, device=self.device)
        self._ages, self._depth = torch.tensor(self.spec.ages, device=self.device), max(self.spec.ages) + 1
        self.frames = torch.zeros(self._depth, n, self.spec.frame_size, device=self.device)
        self._newest = 0
        self.travelled = torch.zeros(n, 2, device=self.device)  # m along the command, and as commanded
        self.air_time, self.stance_time = torch.zeros(2, n, device=self.device)
        self.liftoff_com_height = torch.zeros(n, device=self.device)
        self.sensor_bias = torch.zeros(n, self.spec.frame_size, device=self.device)
        self.friction = torch.zeros(n, device=self.device)
        self.joint_rub = torch.zeros(n, 2, device=self.device)
        self._scan = torch.tensor(observations.scanned(self.spec).points, device=self.device)
        self.contact, self.limb_contact = torch.zeros(2, n, 4, dtype=torch.bool, device=self.device)
        self.trunk_load, self.lying_time = torch.zeros(2, n, device=self.device)
        self.pushes = Pushes(cfg.pushes, n, self.dt, self.device)
        # the same memory as NumPy's where there are few robots: all of it is written in place
        self.few = self.device.type == "cpu" and n <= FEW
        self._own: Any = _as_rows(self, _STEPPED) if self.few else self
        self._sensed: Any = _as_rows(self.physics, _SENSED) if self.few else self.physics
        self._level_ground = torch.zeros(1, len(self._scan), device=self.device)
        self._nobody = self.everyone[:0]
        self._state: State
        self.observations: dict[str, Tensor]
        """Those that ``reset`` or the newest step returned."""

    def seed(self, seed: int) -> None:
        """Restart the random numbers of commands, resets and noise; the terrain stays as it is."""
        self.generator.manual_seed(seed)

    @property
    def state(self) -> State:
        """Of all robots, after ``reset`` or the newest step."""
        s = self._state
        return State(*(tensor(getattr(s, f.name)) for f in fields(State))) if self.few else s

    def reset(self) -> dict[str, Tensor]:
        """Start all trials; return observations."""
        self._start(self.everyone)
        self._state = self._measure(None)
        self._own.frames[:] = self._frame(self._state)
        self.observations = _tensors(self._observations(self._state, None))
        return self.observations

    def stagger(self) -> None:
        """Let the trials that ``reset`` began end one by one, as if they had begun at different times."""
        ends = torch.randint(self.max_steps, self.steps.shape, generator=self.generator, device=self.device)
        self.last_step[:] = 1 + ends

    def begin(self, robots: Tensor, fell: Tensor | None = None) -> dict[str, Tensor]:
        """Start new trials of some robots.

        Args:
            robots: (n,) their indices.
            fell: (N,) bool, where trials ended: whose did by a fall, for the curriculum to choose the next ground.

        Returns:
            Their first observations, n rows.
        """
        if self.cfg.curriculum.enabled and fell is not None:
            self._promote(robots, fell)
        self._start(robots)
        fresh = self._measure(robots)
        self._own.frames[:, robots] = self._frame(fresh)
        return _tensors(self._observations(fresh, robots))

    def step(self, action: Tensor) -> Step:
        """Advance every robot by one control period with ``action`` (N, 12). Robots whose trial ends start anew.

        Raises:
            LunarError: the actions have another shape, or one is not finite.
        """
        step = self.advance(action)
        if self.few:
            parts: list[Any] = [getattr(step, f.name) for f in fields(Step)]
            as_tensors: Any = (_tensors(part) if isinstance(part, dict) else tensor(part) for part in parts)
            step = Step(*as_tensors)
        self.observations = step.observations
        return step

    def advance(self, action: Tensor) -> Step:
        """``step`` for who reads NumPy arrays: a world of few robots returns them as ``Rows``."""
        action = action.detach().to(self.device, torch.float32)
        if action.shape != self.last_action.shape:
            raise LunarError(f"actions have shape {tuple(action.shape)}, this world's {tuple(self.last_action.shape)}")
        if not bool(torch.isfinite(like(action, self._own.nominal)).all()):
            bad = int(torch.nonzero(~torch.isfinite(action).all(1))[0])
            raise LunarError(f"the action of robot {bad} is not finite: the policy is broken, nothing was moved")
        cfg, own = self.cfg, self._own
        own.action_before[:] = own.last_action
        own.last_action[:] = action
        if self.pushes.enabled:
            self.physics.set_push(self.everyone, self.pushes.draw(tensor(self._state.in_flight), self.generator))
        diverged = self.physics.step(tensor(own.nominal + self.action_scale * own.last_action))
        if not self.few or diverged.numpy().any():
            lost = diverged.nonzero().squeeze(1)
            if len(lost):
                self.diverged += len(lost)
                self._start(lost)  # finite again before anything reads it
        diverged = like(diverged, own.steps)
        own.steps += 1
        self._update_timers()
        s = self._state = self._measure(None)
        self._count_hops(s)
        if cfg.curriculum.enabled:
            speed = s.command[:, :2].norm(dim=1)
            along = (s.velocity[:, :2] * s.command[:, :2]).sum(1) / speed.clamp(min=1e-6)
            own.travelled[:] = own.travelled + self.dt * torch.stack([along, speed], dim=1)

        terminated = cfg.fall.fell(s.lying_time, s.tilt, s.touching) | diverged
        truncated = (own.steps >= own.last_step) & ~terminated
        terms: dict[str, Tensor] = {}
        reward = total(s, self.weights, cfg.shaping, terms) * self.dt - cfg.fall_penalty * terminated

        self._renew_commands()
        self._newest = (self._newest + 1) % self._depth
        own.frames[self._newest] = self._frame(s)
        observations = self._observations(s, None)
        over = terminated | truncated if self.restart else diverged
        nobody = self.few and not bool(over.any())
        ended = self._nobody if nobody else tensor(over).nonzero().squeeze(1)
        final = {name: value[:0] if nobody else value[ended] for name, value in observations.items()}
        hops, pronks = self.hops.hops.copy(), self.hops.pronks.copy()
        if len(ended):
            for name, value in self.begin(ended, tensor(terminated)).items():
                observations[name][ended] = value
        return Step(observations, reward, terminated, truncated, ended, final, hops, pronks, terms)

    def _start(self, ids: Tensor) -> None:
        """New trials for robots ``ids``: state, randomisation, command; timers and action history zero."""
        cfg, level, places = self.cfg, self.physics.level[ids], None if self.places is None else self.places[ids]
        self.physics.reset(ids, *events.reset_states(cfg.resets, self.physics, level, self.generator, places))
        self.friction[ids], self.joint_rub[ids] = events.randomise(cfg.randomisation, self.physics, ids, self.generator)
        self.sensor_bias[ids] = observations.sensor_bias(cfg.noise, len(ids), self.generator)
        if self.pushes.enabled:
            self.pushes.start(ids, self.generator)
        self.hops.reset(ids.cpu().numpy())
        self.steps[ids], self.last_step[ids] = 0, self.max_steps
        self.command[ids] = commands.draw(cfg.commands, len(ids), self.generator)
        trial = (self.last_action, self.action_before, self.air_time, self.stance_time, self.travelled)
        for kept in (*trial, self.trunk_load, self.lying_time):
            kept[ids] = 0.0
        self.contact[ids] = self.limb_contact[ids] = False
        self.liftoff_com_height[ids] = self.physics.robot.com_height  # where a hop begins until one is seen

    def _renew_commands(self) -> None:
        period = round(self.cfg.commands.period / self.dt)
        if period:
            due = self._own.steps % period == 0
            if self.few and not bool(due.any()):
                return
            ids = tensor(due).nonzero().squeeze(1)
            if len(ids):
                self.command[ids] = commands.draw(self.cfg.commands, len(ids), self.generator)

    def _update_timers(self) -> None:
        own, sensed = self._own, self._sensed
        loaded = LOAD_FRACTION * own.weight[:, None]
        own.contact[:] = sensed.foot_force.amax(1) > loaded
        own.limb_contact[:] = (sensed.calf_force - sensed.foot_force).amax(1) > loaded
        own.trunk_load[:] = sensed.trunk_force.sum(1) / (self.cfg.physics.substeps * own.weight)
        lies = own.trunk_load >= TRUNK_LOAD
        own.lying_time[:] = (own.lying_time + self.dt) * lies
        grounded = (own.contact | own.limb_contact).any(1) | (own.trunk_load > LOAD_FRACTION)
        own.air_time[:] = (own.air_time + self.dt) * ~grounded
        own.stance_time[:] = (own.stance_time + self.dt) * grounded

    def _measure(self, ids: Tensor | None) -> State:
        """Copy the physics of robots ``ids`` (None for all) into a state; timers must be up to date."""
        sensed, own = self._sensed, self._own

        def pick(array: Any) -> Any:
            return array.clone() if ids is None else array[ids]

        qpos, qvel, force, ground = (pick(t) for t in (sensed.qpos, sensed.qvel, sensed.foot_force, sensed.ground))
        quaternion, angular = qpos[:, 3:7], qvel[:, 3:6]
        down = projected_gravity(quaternion)
        foot_ground, base_ground = ground[:, :4], ground[:, 4]
        com_height, com_velocity = pick(sensed.com[:, 2]), pick(sensed.com_velocity[:, -1, 2])
        return State(
            position=qpos[:, :3],
            height=qpos[:, 2] - base_ground,
            quaternion=quaternion,
            velocity=to_heading(quaternion, qvel[:, :3]),
            angular_velocity=angular,
            yaw_rate=-(down * angular).sum(1),
            projected_gravity=down,
            joint_position=qpos[:, 7:],
            joint_velocity=qvel[:, 6:],
            torque=pick(sensed.torque),
            last_action=pick(own.last_action),
            action_before=pick(own.action_before),
            foot_force=force.amax(1),
            total_force=force.sum(2).amax(1),
            foot_height=pick(sensed.foot_position[..., 2]) - foot_ground,
            contact=pick(own.contact),
            limb_contact=pick(own.limb_contact),
            trunk_load=pick(own.trunk_load),
            lying_time=pick(own.lying_time),
            air_time=pick(own.air_time),
            stance_time=pick(own.stance_time),
            # the sensors' moment is one physics step before that of positions and velocities
            com_height=com_height + self.cfg.physics.timestep * com_velocity - base_ground,
            com_vertical_velocity=com_velocity,
            liftoff_com_height=pick(own.liftoff_com_height),
            angular_momentum=pick(sensed.angular_momentum),
            command=pick(own.command),
            weight=pick(own.weight),
            gravity=pick(sensed.effective_gravity),
            friction=pick(own.friction),
            joint_rub=pick(own.joint_rub),
            ground_ahead=self._ground_ahead(qpos, sensed.level if ids is None else sensed.level[ids]),
            sensor_bias=pick(own.sensor_bias),
            nominal_pose=own.nominal,
            size=own.size,
        )

    def _ground_ahead(self, qpos: Any, level: Any) -> Any:
        if self.physics.terrain.is_flat:
            return qpos[:, 2:3] + self._level_ground
        place = tensor(qpos)
        cos, sin = heading(place[:, 3:7])[:, None].unbind(-1)
        x, y = self._scan.unbind(1)
        points = place[:, None, :2] + torch.stack([cos * x - sin * y, sin * x + cos * y], dim=2)
        return like(place[:, 2:3] - self.physics.terrain_height(points, tensor(level)), qpos)

    def _count_hops(self, s: State) -> None:
        """Remember the lift-off height while on the ground, and feed the hop detector every physics step."""
        own, sensed = self._own, self._sensed
        own.liftoff_com_height[:] = torch.where(s.in_flight, own.liftoff_com_height, s.com_height)
        ground = sensed.ground[:, :4]
        spread = ground.amax(1) - ground.amin(1)
        other = (sensed.calf_force - sensed.foot_force).clamp(min=0.0).sum(2) + sensed.trunk_force
        height, rising = sensed.base_height, sensed.com_velocity[:, :, 2]
        if self.few:
            feet, height, rising, other = (p.array.swapaxes(0, 1) for p in (sensed.foot_force, height, rising, other))
            tilt, spread = s.tilt.array, spread.array  # type: ignore[attr-defined]
        else:  # in two copies, for which the host of a GPU must wait
            moving = torch.cat([sensed.foot_force, torch.stack([height, rising, other], dim=2)], dim=2)
            tilt, spread = torch.stack([s.tilt, spread]).cpu().numpy()
            samples = moving.transpose(0, 1).contiguous().cpu().numpy()
            feet, height, rising, other = samples[:, :, :4], samples[:, :, 4], samples[:, :, 5], samples[:, :, 6]
        self.hops.update_all(feet, height, rising, tilt, spread, other)

    def _frame(self, s: State) -> Tensor:
        return observations.frame(s, self.cfg.noise, self.generator, self._sensors)

    def _observations(self, s: State, robots: Tensor | None) -> dict[str, Any]:
        """Groups of ``robots`` (None for all), whose state is ``s``; frames newest first."""
        if robots is None:
            frames = [self._own.frames[(self._newest - age) % self._depth] for age in self.spec.ages]
        else:
            past = (self._newest - self._ages) % self._depth
            frames = [like(self.frames[past][:, robots].transpose(0, 1).flatten(1), s.command)]
        seen = [observations.scan(s, self.spec)] if self.spec.scan else []
        policy = torch.cat([*frames, observations.scaled_command(s, self.spec), *seen], dim=1)
        return {"policy": policy} | ({"critic": observations.critic(s, self.spec)} if self.privileged else {})

    def _promote(self, ended: Tensor, fell: Tensor) -> None:
        """Choose the terrain levels of the robots whose trial ended."""
        way = self.travelled[ended]
        hops = torch.as_tensor(self.hops.hops, device=self.device)[ended]
        self.physics.level[ended] = self.curriculum.next(
            self.physics.level[ended], self.steps[ended] * self.dt, self.max_steps * self.dt, fell[ended], hops,
            way[:, 0], way[:, 1], self.generator,
        )  # fmt: skip


def _as_rows(owner: Any, names: tuple[str, ...]) -> SimpleNamespace:
    """The memory of tensors that are never replaced."""
    return SimpleNamespace(**{name: Rows(getattr(owner, name).numpy()) for name in names})


def _tensors(groups: dict[str, Any]) -> dict[str, Tensor]:
    return {name: tensor(value) for name, value in groups.items()}
