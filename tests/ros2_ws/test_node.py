"""The base of the nodes: what each lifecycle transition opens and closes, and the end of a process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from policy.runtime.starter import STARTER

NODE = """
import sys

from lunar_policy.node import ERROR, Health, ManagedNode, Parameter, run
from sim.errors import LunarError


class Probe(ManagedNode):
    parameters = (Parameter("refuse", "", "Transition that fails."),)

    def __init__(self):
        super().__init__("probe")
        self.events = []

    def configure(self):
        self.keep(self.events.append, "close what configure opened")
        self.check("configure")

    def activate(self):
        self.keep(self.events.append, "close what activate opened")
        self.check("activate")

    def check(self, name):
        if self.value("refuse") == name:
            raise LunarError(f"{name} is refused")
        if self.value("refuse") in (f"crash {name}", f"crash {name} at the end"):
            raise ZeroDivisionError(f"{name} has a fault")
        self.events.append(name)

    def deactivate(self):
        self.check("deactivate")

    def release(self):
        self.check("release")

    def health(self):
        return Health(ERROR, "", {})

    def start(self):
        good = super().start()
        if good and self.value("refuse") == "crash deactivate":
            self.trigger_shutdown()
        elif good and not self.value("refuse").endswith("at the end"):
            self.trigger_deactivate()
            self.trigger_activate()
        self.finished = True
        return good

    def destroy_node(self):
        super().destroy_node()
        self.events.append("destroyed")

    def close(self):
        super().close()
        print(*self.events, sep="\\n")


sys.exit(run(Probe, sys.argv))
"""


@pytest.mark.parametrize(
    ("refuse", "status", "events"),
    [
        (
            "",
            0,
            [
                *("configure", "activate", "close what activate opened", "deactivate"),
                *("activate", "close what activate opened", "deactivate", "release", "close what configure opened"),
            ],
        ),
        ("configure", 1, ["release", "close what configure opened", "release"]),
        ("activate", 1, ["configure", "close what activate opened", "release", "close what configure opened"]),
        ("crash configure", 1, ["release", "close what configure opened", "release"]),
        ("crash activate", 1, ["configure", "close what activate opened", "release", "close what configure opened"]),
        (
            "crash deactivate",
            0,
            [
                *("configure", "activate", "close what activate opened", "release", "close what configure opened"),
                *("release", "release"),  # on the error, and at the end
            ],
        ),
        (
            "crash deactivate at the end",
            1,
            ["configure", "activate", "close what activate opened", "release", "close what configure opened"],
        ),
        (
            "crash release at the end",
            1,
            ["configure", "activate", "close what activate opened", "deactivate", "close what configure opened"],
        ),
    ],
)
def test_each_transition_closes_what_its_opposite_opened(
    refuse: str, status: int, events: list[str], ros: dict[str, str]
) -> None:
    line = [sys.executable, "-c", NODE, "--ros-args", "-p", "autostart:=true", "-p", f"refuse:='{refuse}'"]
    result = subprocess.run(line, env=ros, capture_output=True, text=True, timeout=120)
    assert result.returncode == status, result.stderr
    assert result.stdout.splitlines() == [*events, "destroyed"]
    if refuse.startswith("crash"):  # rclpy alone would pass over it in silence
        assert "ZeroDivisionError" in result.stderr and "has a fault" in result.stderr
    else:
        assert not refuse or f"{refuse} is refused" in result.stderr


def test_a_node_whose_starter_is_another_says_which_variable_names_it(ros: dict[str, str]) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            line, environment = [sys.executable, "-c", NODE], ros | {STARTER: str(stranger.pid)}
            result = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
        finally:
            stranger.kill()
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and f"{STARTER} names process {stranger.pid}" in result.stderr
