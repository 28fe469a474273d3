"""The SROS 2 access policy of the rig, written from the graph: each node may do what its rows say and no more.

``python -m matrix_bridge.security > policy.xml``; the file in ``lunar_bringup/config/sros2`` is this text.
"""

from __future__ import annotations

from collections.abc import Sequence

from matrix_bridge.graph import ACTIONS, GRAPH, NODES, OPERATOR, SERVICES

NAMESPACE = "/matrix"
_EVERY_TOPIC = ("/diagnostics", "/parameter_events", "/rosout", "~/transition_event")
_PARAMETER_SERVICES = (
    "describe_parameters", "get_parameter_types", "get_parameters", "get_type_description", "list_parameters",
    "set_parameters", "set_parameters_atomically",
)  # fmt: skip
_LIFECYCLE_SERVICES = (
    "change_state", "get_available_states", "get_available_transitions", "get_state", "get_transition_graph",
)  # fmt: skip


def policy_xml() -> str:
    """The policy as SROS 2 reads it (``ros2 security create_enclave`` and ``create_permission``)."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- Written by matrix_bridge.security from matrix_bridge.graph; docs/ros2.md says how to use it. -->",
        '<policy version="0.2.0">',
        "  <enclaves>",
    ]
    for node in NODES:
        own = tuple(f"~/{name}" for name in (*_LIFECYCLE_SERVICES, *_PARAMETER_SERVICES))
        lines += _enclave(
            node,
            publish=[*_EVERY_TOPIC, *(t.name for t in GRAPH.values() if node in t.publishers)],
            subscribe=["/parameter_events", *(t.name for t in GRAPH.values() if node in t.subscribers)],
            reply=[*own, *(s.name for s in SERVICES.values() if s.server == node)],
            request=[s.name for s in SERVICES.values() if node in s.clients],
            execute=[a.name for a in ACTIONS.values() if a.server == node],
        )
    services = [s.name for s in SERVICES.values() if s.server == "sync"]
    lifecycle = [f"{node}/{name}" for node in NODES for name in _LIFECYCLE_SERVICES]
    lines += _enclave(
        OPERATOR,
        publish=["/parameter_events", "/rosout", *(t.name for t in GRAPH.values() if not t.publishers)],
        subscribe=["/diagnostics", "/rosout", *GRAPH],
        reply=[f"~/{name}" for name in _PARAMETER_SERVICES],
        request=[*services, *lifecycle],
        call=[*ACTIONS],
    )
    return "\n".join([*lines, "  </enclaves>", "</policy>", ""])


def _enclave(
    node: str, publish: Sequence[str], subscribe: Sequence[str], reply: Sequence[str], request: Sequence[str],
    execute: Sequence[str] = (), call: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    lines = [
        f'    <enclave path="{NAMESPACE}/{node}">',
        "      <profiles>",
        f'        <profile ns="{NAMESPACE}" node="{node}">',
    ]
    for kind, verb, names in (
        ("topic", "publish", publish),
        ("topic", "subscribe", subscribe),
        ("service", "reply", reply),
        ("service", "request", request),
        ("action", "execute", execute),
        ("action", "call", call),
    ):
        if names:
            lines.append(f'          <{kind}s {verb}="ALLOW">')
            lines += [f"            <{kind}>{name}</{kind}>" for name in sorted(names)]
            lines.append(f"          </{kind}s>")
    return [*lines, "        </profile>", "      </profiles>", "    </enclave>"]


if __name__ == "__main__":
    print(policy_xml(), end="")
