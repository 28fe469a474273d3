"""A process table as a launch description; the launch files call ``describe`` and hold nothing else."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import EqualsSubstitution, LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from matrix_hil.bringup.runner import RESTART_DELAY
from matrix_hil.bringup.tables import ARGUMENTS, TABLES, Process, arguments_of


def describe(table: str, config: Path) -> LaunchDescription:
    """The launch arguments of ``table``, then its processes in their order.

    Args:
        table: name in ``matrix_hil.bringup.tables.TABLES``.
        config: folder of the parameter files.
    """
    processes = sorted(TABLES[table], key=lambda p: p.order)
    arguments = [
        DeclareLaunchArgument(
            name, default_value=ARGUMENTS[name].default, description=ARGUMENTS[name].help,
            choices=list(ARGUMENTS[name].choices) or None,
        )
        for name in arguments_of(table)
    ]  # fmt: skip
    return LaunchDescription([*arguments, *(action(process, config) for process in processes)])


def action(process: Process, config: Path) -> Node:
    """One row of a table as a launch action."""
    parameters: list = [str(config / process.parameters)] if process.parameters else []
    parameters += [{name: LaunchConfiguration(name) for name in process.arguments}] if process.arguments else []
    condition = None
    if process.only:
        condition = IfCondition(EqualsSubstitution(LaunchConfiguration(process.only[0]), process.only[1]))
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
        condition=condition,
    )
