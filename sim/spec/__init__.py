"""What simulation, policies, rig and robot agree on, in NumPy alone: joints, gravity, observations, hop metrics."""
