"""Headless Chromium, driven over the DevTools protocol: enough to press keys, ask the page, and see it."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

_START = 90.0  # s
# viser renders with WebGL, here in software
_FLAGS = (
    "--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--remote-debugging-port=0", "--no-first-run",
)  # fmt: skip
_KEY_CODES = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35}


class Browser:
    """One page; a context manager.

    Args:
        url: of the page.
        folder: for the browser's profile.
        size: width and height in pixels.
    """

    def __init__(self, url: str, folder: Path, size: tuple[int, int] = (1000, 700)) -> None:
        profile = folder / "profile"
        self._process = subprocess.Popen(
            ["chromium", *_FLAGS, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={profile}", url],
            stderr=subprocess.DEVNULL,
        )
        self._count = 0
        self.errors: list[str] = []
        """Exceptions that the page did not catch."""
        try:
            self._socket = connect(_page_address(profile / "DevToolsActivePort", url), max_size=None)
            self._call("Runtime.enable")
        except BaseException:
            self._end()
            raise

    def ask(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a letter or one of ``_KEY_CODES``, wherever the focus is."""
        named = key in _KEY_CODES
        code = {"key": key, "code": key if named else f"Key{key.upper()}"}
        number = _KEY_CODES[key] if named else ord(key.upper())
        for kind in ("rawKeyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, windowsVirtualKeyCode=number, **code)

    def picture(self) -> bytes:
        """PNG of the page."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=_START))
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(message["params"]["exceptionDetails"]))
            if message.get("id") == self._count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(20)


def _page_address(file: Path, url: str) -> str:
    """The DevTools address of the page ``url``, once the browser has written its port to ``file``."""
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        if file.is_file() and (lines := file.read_text().splitlines()):
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json", timeout=_START) as answer:
                for target in json.load(answer):
                    if target["type"] == "page" and target["url"].startswith(url):
                        return target["webSocketDebuggerUrl"]
        time.sleep(0.1)
    raise RuntimeError("the browser did not open the page")
