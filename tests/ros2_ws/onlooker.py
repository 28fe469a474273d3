"""Waits for nodes and says what the graph is, and whether a parameter may be set, in a process of its own.

Usage: ``onlooker.py NODES RESULT [NODE NAME VALUE ...]``; NODES is a JSON list of full names, VALUE is JSON. RESULT
gets ``{"topics": {topic: [node, ...]}, "set": [[successful, reason], ...]}``: the nodes that publish or hear each
topic, and the answers to setting NAME of NODE to VALUE.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import rclpy
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

PATIENCE = 120.0  # s


def main() -> None:
    """Wait, ask, look, write."""
    wanted, result, questions = set(json.loads(sys.argv[1])), Path(sys.argv[2]), sys.argv[3:]
    rclpy.init()
    node = rclpy.create_node("onlooker")
    deadline = time.monotonic() + PATIENCE
    while missing := wanted - {f"{ns.rstrip('/')}/{name}" for name, ns in node.get_node_names_and_namespaces()}:
        assert time.monotonic() < deadline, f"{missing} did not come"
        time.sleep(0.05)
    answers = []
    for target, name, value in zip(questions[::3], questions[1::3], questions[2::3], strict=True):
        client = node.create_client(SetParameters, f"{target}/set_parameters")
        assert client.wait_for_service(PATIENCE)
        parameter = Parameter(name, value=json.loads(value)).to_parameter_msg()
        future = client.call_async(SetParameters.Request(parameters=[parameter]))
        rclpy.spin_until_future_complete(node, future, timeout_sec=PATIENCE)
        answer = future.result().results[0]
        answers.append([answer.successful, answer.reason])
    time.sleep(1.0)  # endpoints are found after their node
    topics: dict[str, list[str]] = {}
    for topic, _ in node.get_topic_names_and_types():
        ends = [*node.get_publishers_info_by_topic(topic), *node.get_subscriptions_info_by_topic(topic)]
        names = {f"{end.node_namespace.rstrip('/')}/{end.node_name}" for end in ends} - {"/onlooker"}
        topics[topic] = sorted(names)
    result.write_text(json.dumps({"topics": topics, "set": answers}))
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
