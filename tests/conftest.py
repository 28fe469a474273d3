"""For all tests: small networks are fastest on one thread, and on a busy machine by far."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch; processes that tests start have it too

# A busy machine is no failure.
hypothesis.settings.register_profile("lunar", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("lunar")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that no worker waits for it alone at the end."""
    items.sort(key=lambda item: item.path.name != "test_wheel.py")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread, whatever a command under test has set, and back."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
