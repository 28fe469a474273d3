"""Configuration of ``lunar eval``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EvalConfig:
    """Measure a policy in one or more suites (files in configs/eval/) and print the hop metrics."""

    policy: str
    """Folder with policy.safetensors and card.json."""
    suite: str = "flat"
    """Suite names or files like those in configs/eval/, separated by commas, or ``all``."""
    terrain: str = ""
    """A preset in configs/terrain/ or such a file, instead of the suites' grounds."""
    robot: str = ""
    """Name, folder or MJCF of another robot (docs/robots.md), instead of the policy's own."""
    robots: int = 512
    """Trials per suite."""
    seed: int | None = None
    """Of worlds, commands and sensor noise, instead of the suites' own."""
    all: bool = False
    """Print every metric, not only the chief ones; data and page have them anyway."""
    device: str = "cpu"
    """Where physics and policy run: ``cpu`` or ``cuda``."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """64 robots for 5 s."""
    save: bool = False
    """Write the metrics into the policy's card."""
    out: str = ""
    """Folder for a page with a picture and a video of each suite."""
    video: float = 10.0
    """s of video per suite in ``out``; 0 for none."""
    picture: str = ""
    """PNG file for a picture of one robot's hops in the first suite."""
