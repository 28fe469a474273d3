"""The twelve joints of a quadruped in the order used everywhere: FL, FR, RL, RR x (abduction, hip, knee).

Names follow Unitree's description: ``hip`` is the abduction, ``thigh`` the hip, ``calf`` the knee joint. The figures
are those of the robot that policies and rig are specified for, the Go2 (``sim.robots.go2``).
"""

from sim.robots.go2.facts import GO2

LEGS = ("FL", "FR", "RL", "RR")
JOINT_NAMES = tuple(f"{leg}_{joint}_joint" for leg in LEGS for joint in ("hip", "thigh", "calf"))

NOMINAL_POSE = GO2.nominal_pose  # rad, the stance that action zero commands
LOWER, UPPER = GO2.lower, GO2.upper  # rad
TORQUE_LIMIT = GO2.torque_limit  # N*m
SPEED_LIMIT = GO2.speed_limit  # rad/s

ACTION_BOUND = 4.0
"""1. Action spaces reach to plus and minus this; an action of 1 is a joint target of the card's ``action_scale``, rad,
away from the nominal pose."""
