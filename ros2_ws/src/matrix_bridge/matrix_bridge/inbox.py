"""Messages together with who published them, taken by the thread that acts on them and not by an executor.

The executor of the rig's nodes does not hand on who sent a message, and whatever keeps it busy would hold up an e-stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile

from matrix_bridge.graph import GRAPH
from matrix_bridge.node import BridgeNode, message_type

_MOST = 20  # messages of a subscription per call: whoever floods a topic does not hold up the reader


@dataclass(frozen=True)
class Letter:
    """A message and its sender."""

    content: Any
    """The message, or its bytes."""
    sender: bytes
    """DDS's own name of the publisher, the same for as long as it lives. Before ROS 2 Kilted rclpy does not say: it is
    the topic's only publisher, and empty where there are several."""
    number: int
    """Rises with every message of a publisher."""


class Inbox:
    """Subscriptions of a node of the rig, read by ``take``. Close it by ``close``.

    Args:
        node: whose subscriptions these are; configuring.
    """

    def __init__(self, node: BridgeNode) -> None:
        self._owner = node
        # in no executor; without what a node otherwise offers
        self._node = rclpy.create_node(
            f"{node.get_name()}_inbox",
            namespace=node.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
            parameter_overrides=[Parameter("start_type_description_service", value=False)],
        )
        self._subscriptions: dict[str, list[Any]] = {}
        self._raw: dict[str, bool] = {}

    def listen(self, topic: str, *profiles: QoSProfile, raw: bool = False) -> None:
        """Subscribe to a topic of the graph, once with each quality of service."""
        row = GRAPH[topic]
        assert self._owner.role in row.subscribers, f"{topic} is not read by {self._owner.role}"
        name, kind = self._owner.resolve_topic_name(topic), message_type(row.ros_type)
        self._raw[topic] = raw
        self._subscriptions[topic] = [
            self._node.create_subscription(kind, name, lambda message: None, profile, raw=raw) for profile in profiles
        ]

    def take(self, topic: str) -> Iterator[Letter]:
        """What has come since the last call; what came twice, by two subscriptions, comes twice."""
        for subscription in self._subscriptions[topic]:
            for _ in range(_MOST):
                try:
                    with subscription.handle:
                        taken = subscription.handle.take_message(subscription.msg_type, self._raw[topic])
                except RuntimeError as error:  # bytes that are no message
                    self._owner.get_logger().warning(f"{topic}: {error}", throttle_duration_sec=1.0)
                    continue
                if taken is None:
                    break
                message, info = taken
                named = bytes((info.get("publisher_gid") or {}).get("data", b""))
                # the numbers of one who is not named may be another's, who has just left
                number = info.get("publication_sequence_number") if named else None
                yield Letter(message, named or self._only(topic), int(number or info["source_timestamp"]))

    def publishers(self, topic: str) -> dict[bytes, tuple[str, str]]:
        """Who publishes a topic now: name and namespace of the node by DDS's name of the publisher."""
        found = self._node.get_publishers_info_by_topic(self._owner.resolve_topic_name(topic))
        return {bytes(info.endpoint_gid): (info.node_name, info.node_namespace) for info in found}

    def _only(self, topic: str) -> bytes:
        """The topic's publisher where it has one alone."""
        found = [*self.publishers(topic)]
        return found[0] if len(found) == 1 else b""

    def close(self) -> None:
        """End the subscriptions."""
        self._node.destroy_node()
