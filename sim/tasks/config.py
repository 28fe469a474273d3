"""The config of a world: ground, robot, commands, resets, randomisation, pushes, sensor errors, curriculum, the weights
of its rewards and when a trial ends. Free of torch, as every config is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from sim.mdp.config import CommandConfig, CurriculumConfig, NoiseConfig, PushConfig, RandomisationConfig, ResetConfig
from sim.physics.scene import PhysicsConfig
from sim.spec.observation import PRONK_OBSERVATION, ScanGrid
from sim.terrain.generators import TerrainConfig


def default_rewards() -> dict[str, float]:
    """Weights per second of the last training stage."""
    return {
        "apex": 2.0, "velocity": 3.0, "yaw_rate": 0.5, "yaw_rate_error": -0.5, "push_off": 1.0,
        "partial_contact": -3.0, "limb_contact": -2.0, "trunk_load": -2.0, "righting": 2.0, "tilt": -3.0,
        "flight_momentum": -2.0, "impact": -0.5, "torque": -1e-4,
        "power": -0.02, "action_rate": -0.03, "angular_rate": -0.02, "pose": -0.05,
    }  # fmt: skip


@dataclass(frozen=True)
class Shaping:
    """Parameters of the reward terms."""

    apex_width: float = 0.08
    """m. Error of the apex at which the narrow half of ``apex`` has fallen to 1/e."""
    apex_range: float = 0.4
    """m. Error at which its wide half is zero."""
    velocity_width: float = 0.2
    """m/s. Error at which ``velocity`` has fallen to 1/e."""
    yaw_rate_width: float = 0.4
    """rad/s. Error at which ``yaw_rate`` has fallen to 1/e."""
    level_width: float = 0.12
    """rad. Tilt at which ``level`` has fallen to 1/e."""
    crouch_height: float = 0.17
    """m. Height of the base above the ground, of a robot of the Go2's size, from which down ``crouch`` counts."""
    push_off_speed: float = 1.0
    """m/s. Upward speed up to which ``push_off`` grows."""
    trunk_most: float = 2.0
    """Lunar body weights up to which ``trunk_load`` grows."""
    soft_impact: float = 6.0
    """Lunar body weights that ``impact`` leaves free: what a stance of a 0.3 m hop needs anyway."""
    economy_gain: float = 2.0
    """1. An economy of 1 raises the cost of torque and impact by this times itself."""


@dataclass(frozen=True)
class FallConfig:
    """When a robot has fallen. The defaults judge policies; training may be looser, so that getting up is practised."""

    lying_time: float = 0.25
    """s for which its trunk has borne 0.3 lunar body weights or more."""
    tilt: float = math.radians(60.0)
    """rad, while something touches the ground."""
    tilt_in_flight: float = math.radians(90.0)
    """rad, at any time."""

    def fell(self, lying_time: Any, tilt: Any, touching: Any) -> Any:
        """Whether robots have fallen, of numbers or tensors of one shape.

        Args:
            lying_time: s, as ``State.lying_time``.
            tilt: rad.
            touching: bool, whether something touches the ground.
        """
        lies = lying_time >= self.lying_time - 1e-6
        return lies | ((tilt > self.tilt) & touching) | (tilt > self.tilt_in_flight)


@dataclass(frozen=True)
class WorldConfig:
    """A world full of robots."""

    num_envs: int = 512
    """Robots stepped together."""
    episode_length: float = 20.0
    """s."""
    action_scale: float | None = None
    """rad per unit of action, around the nominal pose; the robot's own by default."""
    terrain: TerrainConfig = field(default_factory=TerrainConfig)
    other_terrains: tuple[str, ...] = ()
    """Presets besides ``terrain`` that the robots are spread over, each with its ten levels; with a curriculum only."""
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    commands: CommandConfig = field(default_factory=CommandConfig)
    resets: ResetConfig = field(default_factory=ResetConfig)
    randomisation: RandomisationConfig = field(default_factory=RandomisationConfig)
    pushes: PushConfig = field(default_factory=PushConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    ages: tuple[int, ...] = PRONK_OBSERVATION.ages
    """Control steps back of the frames in the observation group ``policy``. Those that look back over a whole hop,
    1.6 s, take 0, 1, 2, 3, 4, 5, then every fifth up to 80."""
    scan: ScanGrid | None = None
    """Where the ground is seen in the observation group ``policy``; None: the policy is blind."""
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    rewards: dict[str, float] = field(default_factory=default_rewards)
    """Weight per second of each reward term, by its name in sim/tasks/pronk.py."""
    shaping: Shaping = field(default_factory=Shaping)
    fall_penalty: float = 1.0
    """Taken off once when a trial ends by a fall."""
    fall: FallConfig = field(default_factory=FallConfig)
    maps: int = 1
    """Maps of each terrain, made with successive seeds, that the robots are spread over."""
