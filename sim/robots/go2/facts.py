"""Unitree Go2, from its maker's public data sheet and robot description unless another source is named.

Masses, lengths and shapes stand in ``go2.xml``; ``sim.robots.load`` measures heights, hips and the trunk's size there.
"""

import numpy as np

from sim.robots.facts import Facts
from sim.robots.legs import LegLengths

GO2 = Facts(
    lower=np.array([[-1.0472, -1.5708, -2.7227]] * 2 + [[-1.0472, -0.5236, -2.7227]] * 2).ravel(),
    upper=np.array([[1.0472, 3.4907, -0.83776]] * 2 + [[1.0472, 4.5379, -0.83776]] * 2).ravel(),
    torque_limit=np.tile([23.7, 23.7, 45.43], 4),
    speed_limit=np.tile([30.1, 30.1, 15.7], 4),
    corner=0.45,  # the maker's figure, full torque up to 13.5 of 30 rad/s (unitree_rl_lab)
    # Feet right below the hips' axes; the legs' 0.426 m are bent to 0.265 m, which leaves 0.16 m to push off with.
    nominal_pose=np.tile([0.0, 0.9, -1.8], 4),
    # Soft: a standing robot's lunar weight bends the legs by 7 mm. A rotor alone (armature I = 0.01 kg*m^2) swings at
    # sqrt(kp / I) = 55 rad/s with a damping ratio of kd / (2 sqrt(kp I)) = 0.68.
    kp=30.0,
    kd=0.75,
    action_scale=0.35,  # at kp an action of 1 asks a still joint for 10.5 N*m, 44% of what a hip has
    kneeling_pose=np.tile([0.0, 0.6, -2.6], 4),
    kneeling_height=0.22,
    legs=LegLengths(hip=(0.1934, 0.0465), abduction=0.0955, thigh=0.213, calf=0.213),
    standing_com_height=0.26,  # 0.266 by the kinematics, less the 7 mm, rounded
)

# Order of the robot's own motors: FR, FL, RR, RL. Motor i drives joint MOTOR_TO_JOINT[i]; it is its own inverse.
MOTOR_TO_JOINT = (3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8)
