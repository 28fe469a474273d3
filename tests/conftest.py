"""For all tests: small networks are fastest on one thread, and on a busy machine by far."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch; processes that tests start have it too


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes that must keep documented times have three tries: a shared machine may stand still for longer.

    Their limits are those that users are promised. What can be tested on a simulated clock is, and has one try.
    """
    for item in items:
        if item.get_closest_marker("wall_clock"):
            item.add_marker(pytest.mark.flaky(reruns=2))
