"""Where Unreal runs and how its ground is read; and how reading it has gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EMBEDDED = "embedded"
"""Host that stands for a stand-in UnrealCV server of our own."""


@dataclass(frozen=True)
class TwinConfig:
    """Where Unreal runs and how its ground is read."""

    host: str = "127.0.0.1"
    """Name or address of the computer that runs Unreal with the UnrealCV plugin."""
    port: int = 9000
    """TCP port of UnrealCV."""
    camera: int = 1
    """Number of the camera that this program moves; 0 is usually the player's."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """cm, Unreal location of the ROS world's origin."""
    extent: float = 1.5
    """m, half the edge of a patch."""
    resolution: float = 0.05
    """m between samples of a patch."""
    height: float = 3.0
    """m, camera above the ground."""
    relief: float = 0.5
    """m, ground in a patch may rise this much above its centre and still be seen to the patch's edge."""
    pixels: int = 96
    """pixels, edge of the depth image; 0 takes the image as large as Unreal makes it."""
    depth_unit: Literal["auto", "cm", "m"] = "auto"
    """Unit of depth; ``auto`` measures it, a unit is checked against the measurement."""
    depth_kind: Literal["auto", "plane", "ray"] = "auto"
    """Depth along the optical axis or each ray; ``auto`` measures it, a kind is checked against the measurement."""
    settle_images: int = 0
    """Number of depth images thrown away after each change of pose, for an engine whose images lag."""
    start_height: float = 20.0
    """m, ROS world: where the camera looks for ground that it knows nothing about. Must lie above all ground."""
    timeout: float = 2.0
    """s, to connect; also the longest silence in an answer."""
    deadline: float = 0.5
    """s, for one patch, a reconnection included."""
    lead: float = 0.4
    """s ahead along the velocity for which ``request`` fetches the ground."""
    prefetch: float = 10.0
    """s ahead along the velocity whose ground is read before the robot comes there; 0 reads none."""
    remember: float = 30.0
    """s for which ground that was seen stands in for ground that an image does not show, or for Unreal's silence."""
    known_ground: float | None = None
    """m, ROS world: height of the ground at the start as the level's author knows it; checked to 2 cm. The one check
    that finds a constant error of depth. Null leaves it out."""
    filter: str = "none"
    """A map filter of ``lunar terrain restore``, or file.onnx with its card beside it, through which heights go before
    anybody sees them; unknown ground stays unknown. none leaves them as they were seen."""
    period: float = 0.05
    """s, shortest time between patches of the background thread, which keeps the load on Unreal bounded."""
    retry: float = 0.25
    """s between attempts of the background thread after an error."""


@dataclass
class TwinStats:
    """Counts since the client was made."""

    requests: int = 0
    """Patches asked for."""
    errors: int = 0
    """Patches that did not come."""
    reconnects: int = 0
    """Connections made after the first."""
    prefetched: int = 0
    """Patches read ahead of the robot."""
    last_latency: float = float("nan")
    """s, duration of the newest successful patch."""
    last_error: str = ""
    """Why the newest failed patch failed."""
