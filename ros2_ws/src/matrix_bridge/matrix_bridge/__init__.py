"""The MATRIX rig as ROS 2 nodes; thin shells around ``matrix_hil``. ``graph`` is the table of what they exchange."""
