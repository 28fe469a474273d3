"""The table of topics and services against what is written elsewhere: security policy, layouts, docs, process table."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest

from matrix_hil.bringup.tables import TABLES
from matrix_hil.log import TOPICS
from sim.config import ROOT

BRINGUP = ROOT / "ros2_ws/src/lunar_bringup"


@pytest.fixture(autouse=True)
def bridge_importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``graph`` and ``security`` know no ROS."""
    monkeypatch.syspath_prepend(str(ROOT / "ros2_ws/src/matrix_bridge"))
    yield
    for name in [n for n in sys.modules if n.startswith("matrix_bridge")]:
        del sys.modules[name]


def test_every_logged_topic_has_one_row_and_its_nodes_exist() -> None:
    from matrix_bridge.graph import GRAPH, NODES, SERVICES

    # bytes of serial lines and the loop's own inputs are logged in the process that has them, if at all
    private = {t for t in TOPICS if t.startswith("/wire/") or t == "/sync/input"}
    assert sorted(row.log for row in GRAPH.values() if row.log) == sorted(set(TOPICS) - private)
    assert {p.name for p in TABLES["matrix"] if p.package == "matrix_bridge"} == set(NODES)
    named = {n for row in GRAPH.values() for n in (*row.publishers, *row.subscribers)}
    named |= {n for row in SERVICES.values() for n in (row.server, *row.clients)}
    assert named == set(NODES)
    assert all(row.qos == "command" for name, row in GRAPH.items() if name.endswith("/command"))


def test_the_security_policy_is_the_graph() -> None:
    from matrix_bridge.graph import ACTIONS, GRAPH, NODES, SERVICES
    from matrix_bridge.security import policy_xml

    text = (BRINGUP / "config/sros2/policy.xml").read_text()
    assert text == policy_xml(), "run: python -m matrix_bridge.security > policy.xml"
    allowed: dict[tuple[str, str], set[str]] = {}
    for profile in ET.fromstring(text).iter("profile"):
        for group in profile:
            verb = next(iter(group.attrib))
            allowed[profile.attrib["node"], verb] = {e.text or "" for e in group}
    for node in NODES:
        for verb, mine in (
            ("publish", {t.name for t in GRAPH.values() if node in t.publishers}),
            ("subscribe", {t.name for t in GRAPH.values() if node in t.subscribers}),
        ):
            beyond = allowed[node, verb] - mine
            assert mine <= allowed[node, verb]
            assert all(name.startswith(("/", "~/")) for name in beyond), beyond
        assert allowed.get((node, "request"), set()) == {s.name for s in SERVICES.values() if node in s.clients}
        assert allowed.get((node, "execute"), set()) == {a.name for a in ACTIONS.values() if a.server == node}
    assert {node for node, verb in allowed if verb == "call"} == {"operator"}
    # whoever is started with security on is somebody whom the policy knows, and the operator is one more
    enclaves = {e.attrib["path"] for e in ET.fromstring(text).iter("enclave")}
    assert {p.enclave for p in TABLES["matrix"] if p.enclave} | {"/matrix/operator"} == enclaves
    # nobody but sync commands a machine
    commands = {t.name for t in GRAPH.values() if t.qos == "command"}
    assert {node for (node, verb), names in allowed.items() if verb == "publish" and names & commands} == {"sync"}


def test_layouts_show_topics_that_exist() -> None:
    from matrix_bridge.graph import GRAPH, SERVICES

    text = (BRINGUP / "layouts/matrix.foxglove.json").read_text()
    shown = set(re.findall(r'"/matrix/([a-z_]+(?:/[a-z_]+)?)', text))
    assert shown <= set(GRAPH) | set(SERVICES) and len(shown) > 8
    layout = json.loads(text)

    def leaves(node: object) -> list[str]:
        return [node] if isinstance(node, str) else leaves(node["first"]) + leaves(node["second"])  # type: ignore[index]

    assert sorted(leaves(layout["layout"])) == sorted(layout["configById"])
    rviz = (BRINGUP / "layouts/matrix.rviz").read_text()
    assert set(re.findall(r"/matrix/([a-z_/]+)", rviz)) <= set(GRAPH)


def test_the_docs_name_every_topic_and_service() -> None:
    from matrix_bridge.graph import ACTIONS, GRAPH, SERVICES

    text = (ROOT / "docs/ros2.md").read_text()
    assert not [name for name in (*GRAPH, *ACTIONS) if f"`{name}`" not in text]
    assert not [a.type for a in ACTIONS.values() if a.type not in text]
    assert not [s.name for s in SERVICES.values() if s.server == "sync" and f"`{s.name}`" not in text]
