"""Run the MATRIX rig: ``ros2 launch lunar_bringup matrix.launch.py rig:=virtual policy:=/path/to/policy``.

What is started is written in tables.yaml of this package; 'lunar up matrix' starts the same.
"""

from launch import LaunchDescription
from lunar_bringup.table import describe


def generate_launch_description() -> LaunchDescription:
    """The table 'matrix'."""
    return describe(__file__)
