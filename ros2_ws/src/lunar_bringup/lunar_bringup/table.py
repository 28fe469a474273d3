"""A table of ``tables.yaml`` as a launch description; the launch files call ``describe`` and hold nothing else.

Needs nothing but ROS's own Python. Launch drives the lifecycle: processes of a later order start when all lifecycle
nodes before them are active. A required process that ends, or a node that does not become active, is raised as an
exception, for that alone makes ``ros2 launch`` stop all the others and end with a status that is not 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

# Both as in policy/runtime/starter.py, which ROS's own Python may lack: the nodes end with this process.
STARTER = "LUNAR_STARTER"
FOREIGN = "setpriv --pdeathsig TERM"


def describe(launch_file: str) -> LaunchDescription:
    """The launch arguments of a table, then its processes in their order.

    Args:
        launch_file: path of ``launch/TABLE.launch.py``; ``tables.yaml`` and ``config`` are beside its folder.
    """
    file = Path(launch_file).resolve()
    folder, table = file.parent.parent, file.name.removesuffix(".launch.py")
    content = yaml.safe_load((folder / "tables.yaml").read_text())
    processes = content["tables"][table]["processes"]
    named = {name for p in processes for name in (*p["arguments"], *p["only"])}
    arguments = {name: content["arguments"][name] for name in sorted(named | {"namespace", "ready_timeout"})}
    declared = [
        DeclareLaunchArgument(
            name,
            default_value=argument.get("default"),
            description=argument["help"],
            choices=_choices(argument) or None,
        )
        for name, argument in arguments.items()
    ]

    def start(context: LaunchContext) -> list:
        values = {name: LaunchConfiguration(name).perform(context) for name in arguments}
        # resolved now: what starts later is outside the group whose PushRosNamespace this launch file may be in
        pushed = context.launch_configurations.get("ros_namespace", "")
        home = content["tables"][table]["namespace"]
        values["namespace"] = _absolute(pushed, values["namespace"] or home)
        secure = values.get("secure") == "true"
        if secure and values["namespace"] != f"/{home}":
            raise RuntimeError(f"secure and namespace: the shipped policy is for /{home} alone")
        environment = {STARTER: str(os.getpid())} | (content["security"] if secure else {})
        return Bringup(folder / "config", processes, arguments, values, environment, home).start()

    return LaunchDescription([*declared, OpaqueFunction(function=start)])


class Bringup:
    """Starts processes order by order, each when the lifecycle nodes before it are active.

    Args:
        config: folder of the parameter files.
        processes: rows of a table.
        arguments: of the table, by name.
        values: of the arguments.
        environment: variables that every process gets.
        home: namespace of the enclaves in the shipped SROS 2 policy.

    Raises:
        RuntimeError: a value is not what its argument takes.
    """

    def __init__(
        self,
        config: Path,
        processes: list[dict],
        arguments: dict[str, dict],
        values: dict[str, str],
        environment: dict[str, str],
        home: str,
    ) -> None:
        self._config, self._environment, self._home = config, environment, home
        self._values = {name: _typed(name, argument["kind"], values[name]) for name, argument in arguments.items()}
        chosen = [p for p in processes if all(values[name] in allowed for name, allowed in p["only"].items())]
        self._orders: Iterator[list[dict]] = iter(
            [p for p in chosen if p["order"] == order] for order in sorted({p["order"] for p in chosen})
        )
        self._waiting: set[str] = set()
        self._over = False

    def start(self) -> list:
        """Launch actions that start the next order, and those after it."""
        actions: list = []
        for group in self._orders:
            for process in group:
                actions += self._actions(process)
            self._waiting = {p["name"] for p in group if p["lifecycle"]}
            if self._waiting:
                late = OpaqueFunction(function=self._late, args=[frozenset(self._waiting)])
                return [*actions, TimerAction(period=self._values["ready_timeout"], actions=[late])]
        return actions

    def _actions(self, process: dict) -> list:
        parameters: list = [str(self._config / process["parameters"])] if process["parameters"] else []
        given = {name: self._values[name] for name in process["arguments"] if self._values[name] != ""}
        if process["lifecycle"]:
            given["autostart"] = False  # launch does it, and sees what comes of it
        namespace = self._values["namespace"]
        if process["urdf"]:
            try:
                get_package_prefix(process["package"])
            except PackageNotFoundError:
                return [LogInfo(msg=f"{process['package']} is not installed: nobody publishes the robot's tf")]
            urdf = Path(get_package_share_directory("lunar_description"), "urdf", process["urdf"])
            given["robot_description"] = urdf.read_text()
            given["frame_prefix"] = f"{namespace}/".lstrip("/")
        # a text that looks like a number would become one
        typed = {name: ParameterValue(v, value_type=str) if isinstance(v, str) else v for name, v in given.items()}
        node = (LifecycleNode if process["lifecycle"] else Node)(
            name=process["name"],
            package=process["package"],
            executable=process["executable"],
            namespace=namespace,
            parameters=[*parameters, *([typed] if typed else [])],
            remappings=list(process["remap"].items()),
            ros_arguments=["--enclave", f"/{self._home}/{process['name']}"] if process["secured"] else None,
            additional_env=self._environment,
            prefix=FOREIGN if process["urdf"] else None,
            on_exit=self._on_exit(process),
            output="screen",
        )
        if not process["lifecycle"]:
            return [node]
        moved = OpaqueFunction(function=self._moved, args=[process["name"], node])
        return [
            RegisterEventHandler(OnStateTransition(target_lifecycle_node=node, entities=[moved])),
            node,
            _change(node, Transition.TRANSITION_CONFIGURE),
        ]

    def _moved(self, context: LaunchContext, name: str, node: LifecycleNode) -> list | None:
        """A lifecycle node has changed its state: lead it on until it is active, then start what waits for it."""
        event = context.locals.event
        if name not in self._waiting or self._over or event.goal_state in ("configuring", "activating"):
            return None
        if event.goal_state == "active":
            self._waiting.remove(name)
            return None if self._waiting else self.start()
        if (event.start_state, event.goal_state) == ("configuring", "inactive"):
            return [_change(node, Transition.TRANSITION_ACTIVATE)]
        if not _required(context, self._over):
            return None
        return self._end(f"{name} has not become active; its own messages say why")

    def _late(self, context: LaunchContext, expected: frozenset[str]) -> None:
        late = sorted(self._waiting & expected)
        if late and _required(context, self._over):
            self._end(f"{', '.join(late)}: not active after {self._values['ready_timeout']:g} s")

    def _on_exit(self, process: dict) -> Callable[[Any, LaunchContext], list | None]:
        def ended(event: Any, context: LaunchContext) -> list | None:
            name, status = process["name"], event.returncode
            if not _required(context, self._over):
                return None
            if process["finite"] and status == 0:
                self._over = True
                return [Shutdown(reason=f"{name} has done its work")]
            if process["required"]:
                self._end(f"{name} has ended with status {status}")
            if name not in self._waiting:
                return None
            self._waiting.remove(name)  # nobody shall wait for it
            return None if self._waiting else self.start()

        return ended

    def _end(self, why: str) -> None:
        self._over = True
        raise RuntimeError(f"{why}; everything stops")


def _required(context: LaunchContext, over: bool) -> bool:
    """Whether what happens now is not the consequence of a stop."""
    return not (over or context.is_shutdown)


def _change(node: LifecycleNode, transition: int) -> EmitEvent:
    return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition))


def _absolute(outer: str, namespace: str) -> str:
    inner = namespace if namespace.startswith("/") else f"{outer}/{namespace}"
    return "/" + inner.strip("/")


def _choices(argument: dict) -> list[str]:
    choices = list(argument.get("choices", ()))
    return [*choices, ""] if choices and argument.get("default") == "" else choices


def _typed(name: str, kind: str, value: str) -> str | float | bool:
    """An argument's value as the parameter that it becomes; empty stays empty."""
    if kind == "number":
        try:
            return float(value)
        except ValueError:
            raise RuntimeError(f"{name} is '{value}'; it must be a number") from None
    return value == "true" if kind == "switch" and value else value
