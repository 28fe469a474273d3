"""The twelve joints of a quadruped in the order used everywhere: FL, FR, RL, RR x (abduction, hip, knee).

Names follow Unitree's description: ``hip`` is the abduction, ``thigh`` the hip, ``calf`` the knee joint. Figures are
the Unitree Go2's, from its public data sheet and description; other robots bring their own limits in their MJCF and
keep the joint names.
"""

import numpy as np

LEGS = ("FL", "FR", "RL", "RR")
JOINT_NAMES = tuple(f"{leg}_{joint}_joint" for leg in LEGS for joint in ("hip", "thigh", "calf"))

# Order of the Go2's own motors: FR, FL, RR, RL. Motor i drives joint GO2_MOTOR_TO_JOINT[i]; it is its own inverse.
GO2_MOTOR_TO_JOINT = (3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8)

NOMINAL_POSE = np.tile([0.0, 0.9, -1.8], 4)  # rad, the stance that action zero commands
LOWER = np.array([[-1.0472, -1.5708, -2.7227]] * 2 + [[-1.0472, -0.5236, -2.7227]] * 2).ravel()  # rad
UPPER = np.array([[1.0472, 3.4907, -0.83776]] * 2 + [[1.0472, 4.5379, -0.83776]] * 2).ravel()  # rad
TORQUE_LIMIT = np.tile([23.7, 23.7, 45.43], 4)  # N*m
SPEED_LIMIT = np.tile([30.1, 30.1, 15.7], 4)  # rad/s

# Left-right mirror: swap FL with FR and RL with RR, and flip the abduction angles.
MIRROR_INDEX = np.array([3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8])
MIRROR_SIGN = np.tile([-1.0, 1.0, 1.0], 4)
