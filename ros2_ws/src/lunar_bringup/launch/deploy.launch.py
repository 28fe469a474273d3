"""Run an exported policy on a robot: ``ros2 launch lunar_bringup deploy.launch.py policy:=/path/to/policy``.

What is started is written in ``matrix_hil/processes.py`` (table ``deploy``), which 'lunar up deploy' starts as well.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from matrix_hil.processes import ARGUMENTS, RESTART_DELAY, TABLES, Process

CONFIG = Path(__file__).resolve().parent.parent / "config"


def generate_launch_description() -> LaunchDescription:
    """The table's arguments, then its processes in their order."""
    table = sorted(TABLES["deploy"], key=lambda p: p.order)
    wanted = sorted({name for process in table for name in process.arguments})
    arguments = [DeclareLaunchArgument(name, description=ARGUMENTS[name]) for name in wanted]
    return LaunchDescription([*arguments, *map(action, table)])


def action(process: Process) -> Node:
    """One row of the table as a launch action."""
    parameters: list = [str(CONFIG / process.parameters)] if process.parameters else []
    parameters += [{name: LaunchConfiguration(name) for name in process.arguments}] if process.arguments else []
    return (LifecycleNode if process.lifecycle else Node)(
        name=process.name,
        package=process.package,
        executable=process.executable,
        namespace=process.namespace,
        parameters=parameters,
        remappings=list(process.remaps),
        respawn=process.restart == "on-failure",
        respawn_delay=RESTART_DELAY,
        output="screen",
    )
