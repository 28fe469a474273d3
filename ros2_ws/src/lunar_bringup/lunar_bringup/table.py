"""A process table as a launch description; the launch files call ``describe`` and hold nothing else."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from matrix_hil.processes import ARGUMENTS, RESTART_DELAY, TABLES, Process


def describe(table: str, config: Path) -> LaunchDescription:
    """The launch arguments of ``table``, then its processes in their order.

    Args:
        table: name in ``matrix_hil.processes.TABLES``.
        config: folder of the parameter files.
    """
    processes = sorted(TABLES[table], key=lambda p: p.order)
    wanted = sorted({name for process in processes for name in process.arguments})
    arguments = [DeclareLaunchArgument(name, description=ARGUMENTS[name]) for name in wanted]
    return LaunchDescription([*arguments, *(action(process, config) for process in processes)])


def action(process: Process, config: Path) -> Node:
    """One row of a table as a launch action."""
    parameters: list = [str(config / process.parameters)] if process.parameters else []
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
