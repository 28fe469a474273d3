"""Run an exported policy on a simulated robot: ``ros2 launch lunar_bringup sim.launch.py policy:=/path/to/policy``.

What is started is written in tables.yaml of this package; 'lunar up sim' starts the same.
"""

from launch import LaunchDescription
from lunar_bringup.table import describe


def generate_launch_description() -> LaunchDescription:
    """The table 'sim'."""
    return describe(__file__)
