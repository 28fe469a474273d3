"""The virtual world: heights of the ground read from Unreal Engine through UnrealCV, and a stand-in server for it.

``TwinClient`` turns depth images into ``TwinPatch`` height maps in the ROS world; ``TwinServer`` speaks UnrealCV's wire
protocol over any height field, so that everything runs without Unreal. Unreal's centimetres and left-handed axes do not
leave this package. docs/unreal.md tells how to prepare a real Unreal project.
"""

from matrix_hil.twin.calibration import Calibration
from matrix_hil.twin.client import TwinClient
from matrix_hil.twin.config import TwinConfig, TwinStats
from matrix_hil.twin.height_map import fit_plane, height_at, to_height_field
from matrix_hil.twin.scene_commands import ServerConfig
from matrix_hil.twin.server import Misbehaviour, TwinServer

__all__ = [
    "Calibration",
    "Misbehaviour",
    "ServerConfig",
    "TwinClient",
    "TwinConfig",
    "TwinServer",
    "TwinStats",
    "fit_plane",
    "height_at",
    "to_height_field",
]
