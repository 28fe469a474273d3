"""The MATRIX rig as a MuJoCo model: robot, belt, 6-DoF platform, rope, pulley, counterweight and winch on Earth."""

from sim.rig.config import RigConfig
from sim.rig.signals import RigInputs, RigOutputs
from sim.rig.virtual_rig import VirtualRig

__all__ = ["RigConfig", "RigInputs", "RigOutputs", "VirtualRig"]
