"""Who gets the cores: physics or torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def physics_first() -> Iterator[None]:
    """Run torch on one thread while robots are stepped.

    Torch's idle workers spin for milliseconds after each operation and would hold a core that physics needs: without
    this, 1024 robots on two cores step at 0.78 of the speed.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
