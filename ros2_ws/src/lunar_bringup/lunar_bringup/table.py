"""A process table as a launch description; the launch files call ``describe`` and hold nothing else."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import EqualsSubstitution, LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from matrix_hil.bringup.tables import ARGUMENTS, SECURE, SECURITY, TABLES, Process, arguments_of


def describe(launch_file: str) -> LaunchDescription:
    """The launch arguments of a table of ``matrix_hil.bringup.tables``, then its processes in their order.

    Args:
        launch_file: path of ``launch/TABLE.launch.py``; the parameter files are in ``config`` beside its folder.
    """
    file = Path(launch_file).resolve()
    table, config = file.name.removesuffix(".launch.py"), file.parent.parent / "config"
    arguments = [
        DeclareLaunchArgument(
            name, default_value=ARGUMENTS[name].default, description=ARGUMENTS[name].help,
            choices=list(ARGUMENTS[name].choices) or None,
        )
        for name in arguments_of(table)
    ]  # fmt: skip
    security = []
    if SECURE in arguments_of(table):
        on = IfCondition(LaunchConfiguration(SECURE))
        security = [SetEnvironmentVariable(name, value, condition=on) for name, value in SECURITY.items()]
    processes = sorted(TABLES[table], key=lambda p: p.order)
    return LaunchDescription([*arguments, *security, *(action(process, config) for process in processes)])


def action(process: Process, config: Path) -> Node:
    """One row of a table as a launch action; ``config`` is the folder of the parameter files."""
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
        ros_arguments=["--enclave", process.enclave] if process.enclave else None,
        on_exit=Shutdown(reason=f"{process.name} has ended") if process.required else None,
        output="screen",
        condition=condition,
    )
