"""Configuration of ``lunar film``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sim.spec.command import HopCommand


@dataclass(frozen=True)
class Camera:
    """From where it is filmed."""

    path: Literal["follow", "orbit", "fixed"] = "follow"
    """``follow``: beside the robot. ``orbit``: around it, once in ``orbit_time``. ``fixed``: where the first picture
    was taken from, turning after the robot."""
    azimuth: float = 50.0
    """deg, direction of view from the robot's first heading, counter-clockwise; 90 looks at its right side."""
    elevation: float = -7.0
    """deg, of the direction of view; negative looks down."""
    distance: float = 2.2
    """m from what is looked at."""
    orbit_time: float = 12.0
    """s of film for a whole turn."""


@dataclass(frozen=True)
class FilmConfig:
    """Make a moving picture of a policy on lunar ground, or of a HIL log: on the Moon, and on the rig beside it."""

    log: str = ""
    """Folder that ``lunar hil`` wrote; may also be given as the first argument."""
    policy: str = ""
    """Folder with policy.onnx and card.json, to be filmed in simulation in place of a log."""
    beside: str = ""
    """A second policy or log, filmed beside the first over the same time; logs then show ``view`` each."""
    view: Literal["both", "moon", "rig"] = "both"
    """Of a log: the robot where MATRIX believes it to be, the robot on the rig, or both."""
    out: str = "film.webp"
    """File to write: .webp and .gif go round and round, .mp4 is for players and papers."""
    terrain: str = ""
    """Preset in configs/terrain/, or the path of such a file. Of a policy: crater-rim when empty. Of a log: the ground
    that its twin saw when empty."""
    level: int = 9
    """0 to 9, its difficulty."""
    seed: int = 0
    """Of ground, of the place where a policy starts and of its sensors' noise."""
    robot: str = ""
    """Name, folder or MJCF of a robot (docs/robots.md): of a policy instead of its own, of a log that does
    not tell it."""
    looks: str = ""
    """Name, folder or MJCF of another model of the robot, whose shapes are drawn in place of its own: with the maker's
    meshes, perhaps."""
    command: HopCommand = field(default_factory=HopCommand)
    """What a policy is asked to do."""
    begin: float = 2.0
    """s from the start that are left out."""
    duration: float = 8.0
    """s that are filmed; less where a log ends."""
    speed: float = 1.0
    """s that pass per s of film; 0.25 is slow motion."""
    frame_rate: float = 25.0
    """Hz."""
    width: int = 640
    """px, of one picture; pictures stand side by side."""
    height: int = 480
    """px."""
    overlay: str = ""
    """What is drawn over it, of ``height``, ``forces``, ``estimates`` (of policies), with commas."""
    camera: Camera = field(default_factory=Camera)
