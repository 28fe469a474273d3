"""``lunar log info|recover|export|diff|keep``: what is done with a log besides replaying it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

from sim.errors import LunarError

TOOLS = {
    "info": ("matrix_hil.log.info", "rates, gaps, jitter, losses and trips"),
    "recover": ("matrix_hil.log.recover", "write what is whole of a cut or damaged log as a new one"),
    "export": ("matrix_hil.log.export", "one Parquet or CSV file per topic"),
    "diff": ("matrix_hil.log.diff", "compare two runs topic by topic; exit status 1 if they differ"),
    "keep": ("matrix_hil.replay.keep", "the few hops of many logs that stand for all, or differ from them"),
}
"""By name: module, and a line of help."""


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar log``."""
    dispatch("lunar log", TOOLS, argv)


def dispatch(prog: str, tools: Mapping[str, tuple[str, str]], argv: Sequence[str], default: str = "") -> None:
    """Call ``main`` of the tool that comes first in ``argv``, or of ``default``.

    Raises:
        LunarError: no tool is named and there is no default.
    """
    argv = list(argv)
    if argv in (["-h"], ["--help"]):
        lines = "".join(f"\n  {name:8} {text}" for name, (_, text) in tools.items())
        print(f"usage: {prog} TOOL LOG [--key value ...]\n{lines}\n\n'{prog} TOOL --help' lists its options.")
        return
    name = argv.pop(0) if argv and argv[0] in tools else default
    if not name:
        raise LunarError(f"name a tool: {', '.join(tools)}")
    importlib.import_module(tools[name][0]).main(argv)
