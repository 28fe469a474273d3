"""``lunar log info|recover|export|diff``: what is done with a log besides replaying it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from sim.errors import LunarError

TOOLS = {
    "info": ("matrix_hil.log.info", ("log",), "rates, gaps, jitter, losses and trips"),
    "recover": ("matrix_hil.log.recover", ("log",), "write what is whole of a cut or damaged log as a new one"),
    "export": ("matrix_hil.log.export", ("log",), "one Parquet or CSV file per topic"),
    "diff": ("matrix_hil.log.diff", ("a", "b"), "compare two runs topic by topic; exit status 1 if they differ"),
}


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar log``."""
    argv = list(argv)
    if not argv or argv[0] not in TOOLS:
        if argv and argv[0] in ("-h", "--help"):
            lines = "".join(f"\n  {name:8} {' '.join(p).upper():4} {text}" for name, (_, p, text) in TOOLS.items())
            print(f"usage: lunar log TOOL LOG [--key value ...]\n{lines}")
            return
        raise LunarError(f"name a tool: {', '.join(TOOLS)}")
    module, positional, _ = TOOLS[argv[0]]
    rest = argv[1:]
    named: list[str] = []
    for option in positional:
        if rest and not rest[0].startswith("-"):
            named += [f"--{option}", rest.pop(0)]
    if not named and not any(a in ("-h", "--help", "--config") or a.startswith(f"--{positional[0]}") for a in rest):
        raise LunarError(f"no log is named; give the folder that 'lunar hil' wrote: lunar log {argv[0]} LOG")
    importlib.import_module(module).main([*named, *rest])
