"""The batched world: N robots, their commands, observations, rewards and resets, as torch tensors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from sim.errors import LunarError
from sim.mdp import commands, events, observations
from sim.mdp.curriculum import Curriculum
from sim.mdp.events import Pushes
from sim.mdp.state import State, heading, rotate_inverse, to_heading
from sim.physics.backend import make_physics
from sim.spec.gravity import lunar_weight
from sim.spec.hops import LOAD_FRACTION, LOAD_TIME, HopDetector
from sim.spec.observation import PRONK_OBSERVATION
from sim.tasks.pronk import TRUNK_LOAD, WorldConfig, check_terms, total
from sim.terrain.generators import LEVELS, make_levels, make_terrain
from sim.terrain.height_field import stack

MAP_STRIDE = 1000
"""Between the seeds of a terrain's maps."""


@dataclass
class Step:
    """Outcome of one control step; every tensor has N rows."""

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
        restart: start robots anew whose trial ends; without it they go on after a fall or the end of their time, so
            that one sees what becomes of them, and only a diverged simulation is started anew.
        threads: C++ threads of physics on the CPU; 0 takes every core.
        privileged: observe the group ``critic`` too, which no robot senses.
    """

    def __init__(
        self, cfg: WorldConfig, seed: int, device: str = "cpu", restart: bool = True, threads: int = 0,
        privileged: bool = True,
    ) -> None:  # fmt: skip
        check_terms(cfg.rewards, "rewards")
        self.cfg = cfg
        self.device = torch.device(device)
        self.restart = restart
        self.privileged = privileged
        self.num_envs = n = cfg.num_envs
        if n < 1:
            raise LunarError(f"num_envs is {n}; a world needs one robot or more")
        if not 0.0 < cfg.physics.timestep <= LOAD_TIME:
            raise LunarError(f"physics.timestep is {cfg.physics.timestep} s; hops need one of at most {LOAD_TIME} s")
        events.check_randomisation(cfg.randomisation, cfg.physics)
        self.spec = replace(PRONK_OBSERVATION, ages=cfg.ages, scan=cfg.scan)
        self.kinds = 1 + len(cfg.other_terrains)
        if cfg.curriculum.enabled:
            kinds = [cfg.terrain, *(replace(cfg.terrain, kind=kind) for kind in cfg.other_terrains)]
            terrain = stack([make_levels(kind, seed + MAP_STRIDE * k) for kind in kinds for k in range(cfg.maps)])
            self.physics = make_physics(cfg.physics, n, terrain, self.device, threads)
            robot = torch.arange(n, device=self.device)
            grounds = self.kinds * cfg.maps
            first = robot // grounds % (cfg.curriculum.start + 1)
            self.physics.level[:] = LEVELS * (robot % grounds) + first
            self.curriculum = Curriculum(cfg.curriculum, grounds, self.device)
        elif cfg.other_terrains:
            raise LunarError("world.other_terrains needs a curriculum: set curriculum.enabled, or name one terrain")
        else:
            maps = [make_terrain(cfg.terrain, seed + MAP_STRIDE * k) for k in range(cfg.maps)]
            self.physics = make_physics(cfg.physics, n, stack(maps), self.device, threads)
            self.physics.level[:] = torch.arange(n, device=self.device) % cfg.maps
        self.everyone = torch.arange(n, device=self.device)
        self.dt = cfg.physics.control_dt
        self.max_steps = round(cfg.episode_length / self.dt)
        self.weights = dict(cfg.rewards)
        self.generator = torch.Generator(self.device)
        self.seed(seed)
        weight = lunar_weight(self.physics.mass)
        self.hops = HopDetector(np.full(n, weight), cfg.physics.timestep)
        self.weight = torch.full((n,), weight, device=self.device)
        self.nominal = torch.as_tensor(self.physics.robot.nominal_pose, dtype=torch.float32, device=self.device)
        self.steps = torch.zeros(n, dtype=torch.long, device=self.device)
        self.diverged = 0
        self.command = torch.zeros(n, 5, device=self.device)
        self.last_action = torch.zeros(n, 12, device=self.device)
        self._action_before = torch.zeros(n, 12, device=self.device)
        self._ages = torch.tensor(self.spec.ages, device=self.device)
        self._frames = torch.zeros(max(self.spec.ages) + 1, n, self.spec.frame_size, device=self.device)
        self._newest = 0
        self.travelled = torch.zeros(n, 2, device=self.device)  # m along the command, and as commanded
        self.air_time = torch.zeros(n, device=self.device)
        self.stance_time = torch.zeros(n, device=self.device)
        self.liftoff_com_height = torch.zeros(n, device=self.device)
        self.sensor_bias = torch.zeros(n, self.spec.frame_size, device=self.device)
        self.friction = torch.zeros(n, device=self.device)
        self._scan = torch.tensor(observations.scanned(self.spec).points, device=self.device)
        self._contact, self._limb_contact = torch.zeros(2, n, 4, dtype=torch.bool, device=self.device)
        self._trunk_load, self.lying_time = torch.zeros(2, n, device=self.device)
        self.pushes = Pushes(cfg.pushes, n, self.dt, self.device)
        self.state: State
        self.observations: dict[str, Tensor]
        """Those that ``reset`` or the newest step returned."""

    def seed(self, seed: int) -> None:
        """Restart the random numbers of commands, resets and noise; the terrain stays as it is."""
        self.generator.manual_seed(seed)

    def reset(self) -> dict[str, Tensor]:
        """Start all trials; return observations."""
        self._start(self.everyone)
        self.state = self._measure(None)
        self._frames[:] = self._frame(self.state)
        self.observations = self._observations(self.state, slice(None))
        return self.observations

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
        self._frames[:, robots] = self._frame(fresh)
        return self._observations(fresh, robots)

    def step(self, action: Tensor) -> Step:
        """Advance every robot by one control period with ``action`` (N, 12). Robots whose trial ends start anew.

        Raises:
            LunarError: the actions have another shape, or one is not finite.
        """
        action = action.detach().to(self.device, torch.float32)
        if action.shape != self.last_action.shape:
            raise LunarError(f"actions have shape {tuple(action.shape)}, this world's {tuple(self.last_action.shape)}")
        if not torch.isfinite(action).all():
            bad = int(torch.nonzero(~torch.isfinite(action).all(1))[0])
            raise LunarError(f"the action of robot {bad} is not finite: the policy is broken, nothing was moved")
        self._action_before, self.last_action = self.last_action, action.clone()
        if self.pushes.enabled:
            self.physics.set_push(self.everyone, self.pushes.draw(self.state.in_flight, self.generator))
        diverged = self.physics.step(self.nominal + self.cfg.action_scale * action)
        lost = diverged.nonzero().squeeze(1)
        if len(lost):
            self.diverged += len(lost)
            self._start(lost)  # finite again before anything reads it
        self.steps += 1
        self._update_timers()
        s = self.state = self._measure(None)
        self._count_hops(s)
        speed = s.command[:, :2].norm(dim=1)
        along = (s.velocity[:, :2] * s.command[:, :2]).sum(1) / speed.clamp(min=1e-6)
        self.travelled += self.dt * torch.stack([along, speed], dim=1)

        cfg = self.cfg
        terminated = cfg.fall.fell(s.lying_time, s.tilt, s.touching) | diverged
        truncated = (self.steps >= self.max_steps) & ~terminated
        terms: dict[str, Tensor] = {}
        reward = total(s, self.weights, cfg.shaping, terms) * self.dt - cfg.fall_penalty * terminated

        self._renew_commands()
        self._newest = (self._newest + 1) % len(self._frames)
        self._frames[self._newest] = self._frame(s)
        observations = self._observations(s, slice(None))
        ended = (terminated | truncated if self.restart else diverged).nonzero().squeeze(1)
        final = {name: value[ended] for name, value in observations.items()}
        hops, pronks = self.hops.hops.copy(), self.hops.pronks.copy()
        if len(ended):
            for name, value in self.begin(ended, terminated).items():
                observations[name][ended] = value
        self.observations = observations
        return Step(observations, reward, terminated, truncated, ended, final, hops, pronks, terms)

    def _start(self, ids: Tensor) -> None:
        """New trials for robots ``ids``: state, randomisation, command; timers and action history zero."""
        self.physics.reset(
            ids, *events.reset_states(self.cfg.resets, self.physics, self.physics.level[ids], self.generator)
        )
        self.friction[ids] = events.randomise(self.cfg.randomisation, self.physics, ids, self.generator)
        self.sensor_bias[ids] = observations.sensor_bias(self.cfg.noise, len(ids), self.generator)
        if self.pushes.enabled:
            self.pushes.start(ids, self.generator)
        self.hops.reset(ids.cpu().numpy())
        self.steps[ids] = 0
        self.command[ids] = commands.draw(self.cfg.commands, len(ids), self.generator)
        trial = (self.last_action, self._action_before, self.air_time, self.stance_time, self.travelled)
        for tensor in (*trial, self._trunk_load, self.lying_time):
            tensor[ids] = 0.0
        self._contact[ids] = self._limb_contact[ids] = False
        self.liftoff_com_height[ids] = self.physics.robot.com_height  # where a hop begins until one is seen

    def _renew_commands(self) -> None:
        period = round(self.cfg.commands.period / self.dt)
        if period:
            due = (self.steps % period == 0).nonzero().squeeze(1)
            if len(due):
                self.command[due] = commands.draw(self.cfg.commands, len(due), self.generator)

    def _update_timers(self) -> None:
        self._contact = self.physics.foot_force.amax(1) > LOAD_FRACTION * self.weight[:, None]
        self._limb_contact = self.physics.limb_force.amax(1) > LOAD_FRACTION * self.weight[:, None]
        self._trunk_load = self.physics.trunk_force.mean(1) / self.weight
        lies = self._trunk_load >= TRUNK_LOAD
        self.lying_time = torch.where(lies, self.lying_time + self.dt, torch.zeros_like(self.lying_time))
        grounded = (self._contact | self._limb_contact).any(1) | (self._trunk_load > LOAD_FRACTION)
        self.air_time = torch.where(grounded, torch.zeros_like(self.air_time), self.air_time + self.dt)
        self.stance_time = torch.where(grounded, self.stance_time + self.dt, torch.zeros_like(self.stance_time))

    def _measure(self, ids: Tensor | None) -> State:
        """Copy the physics of robots ``ids`` (None for all) into a state; timers must be up to date."""
        physics = self.physics

        def pick(tensor: Tensor) -> Tensor:
            return tensor.clone() if ids is None else tensor[ids]

        qpos, qvel, force, ground = (pick(t) for t in (physics.qpos, physics.qvel, physics.foot_force, physics.ground))
        quaternion = qpos[:, 3:7]
        down = torch.zeros_like(qpos[:, :3])
        down[:, 2] = -1.0
        projected_gravity = rotate_inverse(quaternion, down)
        angular = qvel[:, 3:6]
        foot_ground, base_ground = ground[:, :4], ground[:, 4]
        return State(
            position=qpos[:, :3],
            height=qpos[:, 2] - base_ground,
            quaternion=quaternion,
            velocity=to_heading(quaternion, qvel[:, :3]),
            angular_velocity=angular,
            yaw_rate=-(projected_gravity * angular).sum(1),
            projected_gravity=projected_gravity,
            joint_position=qpos[:, 7:],
            joint_velocity=qvel[:, 6:],
            torque=pick(physics.torque),
            last_action=pick(self.last_action),
            action_before=pick(self._action_before),
            foot_force=force.amax(1),
            total_force=force.sum(2).amax(1),
            foot_height=pick(physics.foot_position[..., 2]) - foot_ground,
            contact=pick(self._contact),
            limb_contact=pick(self._limb_contact),
            trunk_load=pick(self._trunk_load),
            lying_time=pick(self.lying_time),
            air_time=pick(self.air_time),
            stance_time=pick(self.stance_time),
            # the sensors' moment is one physics step before that of positions and velocities
            com_height=pick(physics.com[:, 2] + self.cfg.physics.timestep * physics.com_velocity[:, -1, 2])
            - base_ground,
            com_vertical_velocity=pick(physics.com_velocity[:, -1, 2]),
            liftoff_com_height=pick(self.liftoff_com_height),
            angular_momentum=pick(physics.angular_momentum),
            command=pick(self.command),
            weight=pick(self.weight),
            gravity=pick(physics.effective_gravity),
            friction=pick(self.friction),
            ground_ahead=self._ground_ahead(qpos, pick(physics.level)),
            sensor_bias=pick(self.sensor_bias),
        )

    def _ground_ahead(self, qpos: Tensor, level: Tensor) -> Tensor:
        if self.physics.terrain.is_flat:
            return qpos[:, 2:3].expand(-1, len(self._scan))
        cos, sin = heading(qpos[:, 3:7])[:, None].unbind(-1)
        x, y = self._scan.unbind(1)
        points = qpos[:, None, :2] + torch.stack([cos * x - sin * y, sin * x + cos * y], dim=2)
        return qpos[:, 2:3] - self.physics.terrain_height(points, level)

    def _count_hops(self, s: State) -> None:
        """Remember the lift-off height while on the ground, and feed the hop detector every physics step."""
        self.liftoff_com_height = torch.where(s.in_flight, self.liftoff_com_height, s.com_height)
        physics = self.physics
        ground = physics.ground[:, :4]
        still = torch.stack([s.tilt, ground.amax(1) - ground.amin(1)])
        other = physics.limb_force.sum(2) + physics.trunk_force
        single = torch.stack([physics.base_height, physics.com_velocity[:, :, 2], other], dim=2)
        moving = torch.cat([physics.foot_force, single], dim=2)
        tilt, spread = still.cpu().numpy()
        for sample in moving.transpose(0, 1).contiguous().cpu().numpy():
            self.hops.update(sample[:, :4], sample[:, 4], sample[:, 5], tilt, spread, sample[:, 6])

    def _frame(self, s: State) -> Tensor:
        return observations.frame(s, self.cfg.noise, self.generator)

    def _observations(self, s: State, rows: slice | Tensor) -> dict[str, Tensor]:
        """Groups of the robots ``rows``, whose state is ``s``; frames newest first."""
        past = (self._newest - self._ages) % len(self._frames)
        frames = self._frames[past][:, rows].transpose(0, 1)
        seen = [observations.scan(s, self.spec)] if self.spec.scan else []
        policy = torch.cat([frames.flatten(1), observations.scaled_command(s, self.spec), *seen], dim=1)
        return {"policy": policy} | ({"critic": observations.critic(s, self.spec)} if self.privileged else {})

    def _promote(self, ended: Tensor, fell: Tensor) -> None:
        """Choose the terrain levels of the robots whose trial ended."""
        way = self.travelled[ended]
        hops = torch.as_tensor(self.hops.hops, device=self.device)[ended]
        self.physics.level[ended] = self.curriculum.next(
            self.physics.level[ended], self.steps[ended] * self.dt, self.max_steps * self.dt, fell[ended], hops,
            way[:, 0], way[:, 1], self.generator,
        )  # fmt: skip
