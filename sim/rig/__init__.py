"""The MATRIX rig as a MuJoCo model: robot, belt, 6-DoF platform, rope, pulley, counterweight and winch on Earth."""

from sim.rig.virtual_rig import RigConfig, RigInputs, RigOutputs, VirtualRig

__all__ = ["RigConfig", "RigInputs", "RigOutputs", "VirtualRig"]
