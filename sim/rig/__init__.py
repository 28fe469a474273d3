"""The MATRIX rig as a MuJoCo model: robot, belt, 6-DoF platform, rope, pulley, counterweight and winch on Earth."""
