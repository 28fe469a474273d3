"""``lunar play``: a policy on one robot, live in a browser on this computer."""

from __future__ import annotations

import contextlib
import os
import webbrowser
from collections.abc import Sequence

from policy.play.config import PlayConfig
from sim.config import parse
from sim.terminal import Terminal


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar play``."""
    cfg = parse(PlayConfig, argv, "lunar play", first=("policy",))
    from policy.play.session import Session  # brings torch, which takes seconds: only for what makes sense

    console = Terminal()
    with Session(cfg) as session, contextlib.suppress(KeyboardInterrupt):
        url = session.page.url
        console.print(f"{url} shows {session.shows}; Ctrl-C ends it", soft_wrap=True)
        if cfg.browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(url)
        session.run()
