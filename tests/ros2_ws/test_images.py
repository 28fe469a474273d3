"""The container of a robot's computer, read as text: Docker is not needed to see what it would lack."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import yaml

from sim.config import ROOT

DOCKERFILE = ROOT / "ros2_ws/Dockerfile"
OWN = {f.parent.name for f in ROOT.glob("ros2_ws/src/*/package.xml")}
BUILD = {
    "build-essential", "cmake", "python3-dev", "python3-venv", "python3-colcon-common-extensions",
    "ros-${ROS_DISTRO}-rmw-cyclonedds-cpp",
}  # fmt: skip
"""What building and running needs beside what packages declare."""
BY_PIP = {"python3-onnxruntime-pip"}


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) in order, continued lines joined, comments dropped."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def test_apt_installs_what_the_packages_declare_and_nothing_else() -> None:
    run = next(rest for word, rest in instructions() if word == "RUN" and "apt-get install" in rest)
    words = re.split(r"&&", run.partition("apt-get install")[2])[0].split()
    assert words == ["-y", "--no-install-recommends", *sorted(words[2:])]
    wanted = set()
    for file in ROOT.glob("ros2_ws/src/*/package.xml"):
        for e in ET.parse(file).getroot():
            if e.tag in ("depend", "exec_depend", "build_depend", "buildtool_depend") and e.text not in OWN | BY_PIP:
                name = e.text or ""
                system = name.startswith("python3-")
                wanted.add(name if system else f"ros-${{ROS_DISTRO}}-{name.replace('_', '-')}")
    assert set(words[2:]) == wanted | BUILD


def test_the_environment_is_made_before_the_build_and_used_by_it() -> None:
    order = instructions()
    pip = next(i for i, (word, rest) in enumerate(order) if word == "RUN" and "pip install" in rest)
    build = next(i for i, (word, rest) in enumerate(order) if word == "RUN" and "ros2_ws/build.py" in rest)
    path = order.index(("ENV", "PATH=/opt/environment/bin:$PATH"))
    assert pip < path < build  # the nodes start with the python3 that is first on the path at the build
    assert "--system-site-packages" in order[pip][1] and '-e ".[deploy]"' in order[pip][1]
    assert '"numpy<2"' in order[pip][1]
    assert order[0] == ("ARG", "ROS_DISTRO=jazzy") and order[1] == ("FROM", "ros:${ROS_DISTRO}-ros-base")
    for word, rest in order:
        if word in ("CMD", "ENTRYPOINT"):
            assert all(isinstance(part, str) for part in json.loads(rest))


def test_the_workflow_builds_and_launches_each_distribution_on_both_processors() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/ros.yml").read_text())["jobs"]["launch"]
    matrix = job["strategy"]["matrix"]
    assert set(matrix["distro"]) == {"humble", "jazzy"}
    assert any(r.endswith("-arm") for r in matrix["runner"]) and not all(r.endswith("-arm") for r in matrix["runner"])
    steps = " ".join(step.get("run", "") for step in job["steps"])
    assert "-f ros2_ws/Dockerfile" in steps and "ROS_DISTRO=${{ matrix.distro }}" in steps
    tests = re.findall(r"tests/\S+\.py", steps)
    assert tests and all((ROOT / t.strip('"')).is_file() for t in tests)


def test_the_image_gets_the_sources_and_no_builds() -> None:
    left_out = set((ROOT / ".dockerignore").read_text().split())
    assert {".venv", "ros2_ws/build", "ros2_ws/install", "ros2_ws/log", "runs"} <= left_out
    assert not {"policy", "configs", "ros2_ws", "ros2_ws/src"} & left_out
