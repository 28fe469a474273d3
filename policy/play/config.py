"""Configuration of ``lunar play``."""

from __future__ import annotations

from dataclasses import dataclass, field

from sim.mdp.config import NoiseConfig


@dataclass(frozen=True)
class PlayConfig:
    """Watch a policy hop in a browser, live: steer it, push it, change gravity and ground. Ctrl-C ends it."""

    policy: str = ""
    """Folder with policy.onnx and card.json, or the name of a shipped policy; the shipped one that does best on the
    terrain when empty."""
    robot: str = ""
    """Name, folder or MJCF of another robot (docs/robots.md), instead of the policy's own."""
    traverse: str = ""
    """File of 'lunar traverse plan': the robot follows it on the plan's ground, with the plan's policies; the command's
    sliders are not heard until another ground is chosen."""
    terrain: str = "mare"
    """Preset in configs/terrain/ to begin with."""
    level: int = 9
    """0 to 9, its difficulty."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Of the sensors, by default as in training."""
    seed: int = 0
    """Of ground, places and noise."""
    port: int = 8080
    """Of the page on 127.0.0.1; when it is taken, the next free one. 0 takes any."""
    browser: bool = True
    """Open the page in the desktop's browser, where there is one."""
