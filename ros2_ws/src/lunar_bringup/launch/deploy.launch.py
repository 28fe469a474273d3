"""Run an exported policy on a robot: ``ros2 launch lunar_bringup deploy.launch.py policy:=/path/to/policy``.

What is started is written in tables.yaml of this package; 'lunar up deploy' starts the same.
"""

from launch import LaunchDescription
from lunar_bringup.table import describe


def generate_launch_description() -> LaunchDescription:
    """The table 'deploy'."""
    return describe(__file__)
