"""The virtual world: heights of the ground read from Unreal Engine through UnrealCV.

``TwinClient`` turns depth images into ``TwinPatch`` height maps in the ROS world. Unreal's centimetres and left-handed
axes do not leave this package. docs/unreal.md tells how to prepare a real Unreal project; a stand-in server is in
``matrix_hil.virtual.unreal``.
"""

from matrix_hil.twin.calibration import Calibration
from matrix_hil.twin.client import TwinClient
from matrix_hil.twin.config import TwinConfig, TwinStats
from matrix_hil.twin.height_map import height_at, to_height_field

__all__ = ["Calibration", "TwinClient", "TwinConfig", "TwinStats", "height_at", "to_height_field"]
