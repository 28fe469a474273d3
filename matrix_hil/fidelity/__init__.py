"""Is this really lunar gravity? ``lunar fidelity`` compares ways to take weight off a robot with the robot on the Moon.

``schemes`` says which ways, ``open_loop`` throws the robot up, ``closed_loop`` runs a policy on the whole rig,
``measures`` takes the figures, ``report`` draws them.
"""
