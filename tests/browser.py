"""A headless Chromium whose mouse and keys the tests move, over its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs the chromium browser")
# viser draws with WebGL, here in software
FLAGS = (
    "--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--no-first-run",
)  # fmt: skip
KEY_CODES = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35}


class Tab:
    """One page. ``errors`` holds exceptions that it did not catch."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._count = 0
        self.errors: list[str] = []
        self.call("Runtime.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser; its answer."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=90.0))
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(message["params"]["exceptionDetails"]))
            if message.get("id") == self._count:
                assert "error" not in message, f"{method}: {message}"
                return message["result"]

    def evaluate(self, script: str) -> Any:
        """Value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self) -> str:
        """What can be read on the page."""
        return self.evaluate("document.body?.innerText") or ""

    def click(self, label: str) -> None:
        """Press the left mouse button in the middle of the button that says ``label``."""
        with self.held(label):
            pass

    @contextlib.contextmanager
    def held(self, label: str) -> Iterator[None]:
        """Inside, the left mouse button is down in the middle of the button that says ``label``."""
        place = until(
            lambda: self.evaluate(
                "(() => { const b = [...document.querySelectorAll('button')]"
                f".find(b => b.innerText.trim() === {json.dumps(label)});"
                "if (!b) return null; b.scrollIntoView({block: 'nearest'}); const r = b.getBoundingClientRect();"
                "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
            )
        )
        mouse = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **mouse)
        try:
            yield
        finally:
            self.call("Input.dispatchMouseEvent", type="mouseReleased", **mouse)

    def press(self, key: str) -> None:
        """Press and release a letter or one of ``KEY_CODES``, wherever the focus is."""
        named = key in KEY_CODES
        code = {"key": key, "code": key if named else f"Key{key.upper()}"}
        number = KEY_CODES[key] if named else ord(key.upper())
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, windowsVirtualKeyCode=number, **code)

    def screenshot(self) -> bytes:
        """PNG of the page."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@contextlib.contextmanager
def open_tab(url: str, folder: Path, width: int = 640, height: int = 480) -> Iterator[Tab]:
    """A browser with its profile in ``folder`` that looks at ``url``."""
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [
            CHROMIUM, *FLAGS, f"--window-size={width},{height}", f"--user-data-dir={folder / 'profile'}",
            "--remote-debugging-port=0", "--remote-allow-origins=*", url,
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def address() -> str | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=90.0) as answer:
            pages = (p for p in json.load(answer) if p["type"] == "page" and p["url"].startswith(url))
            return next((p["webSocketDebuggerUrl"] for p in pages), None)

    try:
        file = folder / "profile" / "DevToolsActivePort"
        port = until(lambda: file.is_file() and file.read_text().split("\n")[0])
        with connect(until(address), max_size=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        process.wait(20)


def until(condition: Any, seconds: float = 90.0) -> Any:
    """The condition's first true value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
    return value
