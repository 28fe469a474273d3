"""The peer: the same task on the same MuJoCo model as an ordinary single-robot Gymnasium environment in NumPy.

Written as a good user of Gymnasium would: one ``mj_step`` call for all substeps, no torch, no allocation that can be
avoided. It leaves out the critic's observation, which favours it.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

from sim.envs.spaces import ACTION_BOUND, action_space
from sim.envs.world import WorldConfig
from sim.mdp.events import CLEARANCE
from sim.physics.scene import build_scene
from sim.robots.load import load_robot
from sim.spec.gravity import lunar_weight
from sim.spec.hops import LOAD_FRACTION
from sim.spec.joints import NOMINAL_POSE
from sim.spec.observation import PRONK_OBSERVATION

SPEC = PRONK_OBSERVATION
SCALE = np.concatenate([np.full(c.size, c.scale) for c in SPEC.frame])
COMMAND_SCALE = np.array([c.scale for c in SPEC.command])


class PeerEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One pronking robot on flat ground with all reward terms of training."""

    def __init__(self, config: WorldConfig | None = None) -> None:
        cfg = self.cfg = config or WorldConfig()
        self.model = build_scene(cfg.physics)
        self.data = mujoco.MjData(self.model)
        self.weight = lunar_weight(float(self.model.body_mass.sum()))
        self.observation_space = spaces.Box(-np.inf, np.inf, (SPEC.size,), np.float32)
        self.action_space = action_space(ACTION_BOUND)
        noise = cfg.noise
        widths = (noise.angular_velocity, noise.projected_gravity, noise.joint_position, noise.joint_velocity, 0.0)
        self._noise = np.concatenate([np.full(c.size, w) for c, w in zip(SPEC.frame, widths, strict=True)])
        self._low, self._high = np.array(cfg.commands.low()), np.array(cfg.commands.high())
        self._frames = np.zeros((len(SPEC.ages), SPEC.frame_size), np.float32)
        self._raw = np.zeros(SPEC.frame_size)
        self._max_steps = round(cfg.episode_length / cfg.physics.control_dt)
        self._command_steps = round(cfg.commands.period / cfg.physics.control_dt)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a trial, in the air for half of them."""
        super().reset(seed=seed)
        rng, cfg, d = self.np_random, self.cfg.resets, self.data
        mujoco.mj_resetData(self.model, d)
        yaw = rng.uniform(-math.pi, math.pi)
        d.qpos[3], d.qpos[6] = math.cos(yaw / 2), math.sin(yaw / 2)
        d.qpos[7:] = NOMINAL_POSE + rng.uniform(-cfg.joint_noise, cfg.joint_noise, 12)
        d.qpos[2] = load_robot(self.cfg.physics.robot).standing_height + CLEARANCE
        if rng.random() < cfg.air_fraction:
            speed = rng.uniform(*cfg.forward_speed)
            d.qpos[2] += rng.uniform(*cfg.air_height)
            d.qvel[:3] = speed * math.cos(yaw), speed * math.sin(yaw), rng.uniform(*cfg.air_speed)
        d.ctrl[:] = d.qpos[7:]
        mujoco.mj_forward(self.model, d)
        self.command = rng.uniform(self._low, self._high)
        self.action = np.zeros(12)
        self.liftoff_com = 0.26
        self.steps = 0
        self._frames[:] = self._frame()
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control period."""
        d, cfg = self.data, self.cfg
        d.ctrl[:] = NOMINAL_POSE + cfg.action_scale * action
        force = np.zeros(4)
        total = 0.0
        for _ in range(cfg.physics.substeps):
            mujoco.mj_step(self.model, d)
            now = d.sensordata[:4]
            np.maximum(force, now, out=force)
            total = max(total, float(now.sum()))
        self.steps += 1
        last, self.action = self.action, action
        frame = self._frame()
        reward, fell = self._judge(force, total, last)
        if self._command_steps and self.steps % self._command_steps == 0:
            self.command = self.np_random.uniform(self._low, self._high)
        self._frames[1:] = self._frames[:-1]
        self._frames[0] = frame
        return self._observation(), reward, fell, self.steps >= self._max_steps, {}

    def _frame(self) -> np.ndarray:
        d, raw = self.data, self._raw
        w, x, y, z = d.qpos[3:7].tolist()
        raw[:3] = d.qvel[3:6]
        raw[3:6] = -2 * (x * z - w * y), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1
        np.subtract(d.qpos[7:], NOMINAL_POSE, out=raw[6:18])
        raw[18:30] = d.qvel[6:]
        raw[30:] = self.action
        noise = self.np_random.uniform(-1.0, 1.0, len(raw))
        noise *= self._noise
        noise += raw
        noise *= SCALE
        return noise

    def _observation(self) -> np.ndarray:
        return np.concatenate([self._frames.ravel(), self.command * COMMAND_SCALE], dtype=np.float32)

    def _judge(self, force: np.ndarray, total: float, last: np.ndarray) -> tuple[float, bool]:
        d, cfg, weights = self.data, self.cfg, self.cfg.rewards
        gx, gy, gz = self._raw[3:6].tolist()
        vx, vy = d.qvel[:2].tolist()
        wx, wy, wz = d.qvel[3:6].tolist()
        com, speed = float(d.sensordata[6]), float(d.sensordata[9])
        momentum = d.sensordata[10:13]
        command = self.command.tolist()
        feet = int((force > LOAD_FRACTION * self.weight).sum())
        economy = 1.0 + self.cfg.shaping.economy_gain * command[4]
        w, x, y, z = d.qpos[3:7].tolist()
        fx, fy = 1 - 2 * (y * y + z * z), 2 * (w * z + x * y)
        norm = max(math.hypot(fx, fy), 1e-6)
        fx, fy = fx / norm, fy / norm
        yaw_error = -(gx * wx + gy * wy + gz * wz) - command[2]
        terms = dict.fromkeys(weights, 0.0)
        if feet == 0:
            gap = abs(com - self.liftoff_com + speed * speed / (2 * cfg.physics.gravity) - command[3])
            terms["apex"] = 0.5 * math.exp(-((gap / 0.08) ** 2)) + 0.5 * max(1 - gap / 0.4, 0.0)
            ex, ey = fx * vx + fy * vy - command[0], fx * vy - fy * vx - command[1]
            terms["velocity"] = math.exp(-(ex * ex + ey * ey) / 0.04)
            terms["flight_momentum"] = float(momentum @ momentum)
        else:
            self.liftoff_com = com
            terms["partial_contact"] = float(feet < 4)
            terms["push_off"] = min(max(speed, 0.0), 1.0) if feet == 4 else 0.0
        terms["yaw_rate"] = math.exp(-((yaw_error / 0.4) ** 2))
        terms["yaw_rate_error"] = abs(yaw_error)
        terms["tilt"] = gx * gx + gy * gy
        terms["impact"] = max(total / self.weight - self.cfg.shaping.soft_impact, 0.0) * economy
        terms["torque"] = float(d.actuator_force @ d.actuator_force) * economy
        change = self.action - last
        terms["action_rate"] = float(change @ change)
        terms["angular_rate"] = wx * wx + wy * wy
        pose = self._raw[6:18]
        terms["pose"] = float(pose @ pose)
        rate = sum(weight * terms[name] for name, weight in weights.items())
        fell = -gz < math.cos(cfg.max_tilt) or float(d.qpos[2]) < cfg.min_height
        return rate * cfg.physics.control_dt - cfg.fall_penalty * fell, fell
