"""``lunar distill``, which a HIL log may teach too; that package knows nothing of logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from policy.distill.cli import main as distill

if TYPE_CHECKING:
    from policy.distill.teachers import Demonstrations


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar distill``."""
    distill(argv, _from_log)


def _from_log(path: Path) -> Demonstrations:
    from matrix_hil.replay.demonstrations import from_log  # brings torch

    return from_log(path)
