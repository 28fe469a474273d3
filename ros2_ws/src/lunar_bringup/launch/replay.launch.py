"""Publish a log again: ``ros2 launch lunar_bringup replay.launch.py bag:=/path/to/log rate:=1.0``.

What is started is written in tables.yaml of this package; 'lunar up replay' starts the same.
"""

from launch import LaunchDescription
from lunar_bringup.table import describe


def generate_launch_description() -> LaunchDescription:
    """The table 'replay'."""
    return describe(__file__)
