"""Attacks from outside on a rig that stands: pages, logs, cards, the twin's server and ROS 2."""

from __future__ import annotations

import dataclasses
import json
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.attacks.attack import Attack, Ending
from benchmarks.attacks.stage import Stage
from matrix_hil.config import HilConfig
from matrix_hil.log import Recorder, read_log
from matrix_hil.replay.logged import PARTS, logged_config
from matrix_hil.run.run_log import attachments
from matrix_hil.twin import TwinClient, TwinConfig
from matrix_hil.virtual.unreal.server import HEADER, MAGIC
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy
from sim.config import ROOT
from sim.errors import LunarError
from sim.spec.command import HopCommand
from sim.terminal import plain

EVIL = "http://evil.example"


def attacks() -> list[Attack]:
    """Those on pages, logs, cards, the twin's line and the ROS graph."""
    greedy, chatty = HEADER.pack(MAGIC, 0xFFFFFFF0), _frame(b"connected to vset /action/game/quit; rm -rf /")
    return [
        Attack("A01", "ROS", "a second publisher of commands", _gate(b"stranger", "virtual:key", 9)),
        Attack("A02", "ROS", "commands of a session that nobody announced", _gate(b"stranger", "virtual:other", 9)),
        Attack("A03", "ROS", "the supervisor's own commands, replayed", _gate(b"ours", "virtual:key", 1)),
        Attack("A04", "page", "a WebSocket of another page", _page(origin=EVIL, socket=True), quick=True),
        Attack("A05", "page", "a name that only leads here (DNS rebinding)", _page(host="evil.example"), quick=True),
        Attack("A06", "page", "the page without its token", _page(token=False)),
        Attack("A07", "page", "a message that sets an attribute of a handle", _attribute),
        Attack("A25", "twin", "a frame that promises 4 GB", _server(greedy)),
        Attack("A26", "twin", "text that contains commands", _server(chatty)),
        Attack("A27", "log", "config.json with real ports, paths, hosts and a thousand threads", _logged_config),
        Attack("A28", "log", "a reason with markup and terminal sequences", _text),
        Attack("A29", "card", "kp 1e4, action scale 50, a stance at the stop", _card),
        Attack("A30", "card", "a network that is not this card's policy", _network),
    ]  # fmt: skip


# ---- ROS: the rule by which drivers obey ----------------------------------------------------------------------------


def _gate(sender: bytes, key: str, number: int) -> Callable[[Stage], Ending]:
    def attack(stage: Stage) -> Ending:
        sys.path.insert(0, str(ROOT / "ros2_ws/src/matrix_bridge"))
        try:
            from matrix_bridge.session import Gate
        except ImportError as error:
            raise LunarError(f"the rig's ROS package is not here ({error}); run this bench in a checkout") from None
        finally:
            sys.path.pop(0)
        gate = Gate("virtual", lambda publisher: publisher == b"ours", 0.06)
        gate.announce("virtual:key", b"ours")
        if not gate.admits("virtual:key", b"ours", 5, 0.0):
            return Ending("moved", "the rig's own supervisor is not obeyed")
        gate.announce("virtual:other", b"stranger")
        if gate.admits(key, sender, number, 0.005):
            return Ending("moved", "a driver obeyed")
        return Ending("blocked", f"driver: {', '.join(gate.refused)}")

    return attack


# ---- pages ----------------------------------------------------------------------------------------------------------


def _page(origin: str = "", host: str = "", token: bool = True, socket: bool = False) -> Callable[[Stage], Ending]:
    def attack(stage: Stage) -> Ending:
        from sim.view.server import close_server, open_server

        server = open_server()
        try:
            port = server.get_port()
            url = server.url if token else f"http://127.0.0.1:{port}/"
            headers = {"Host": f"{host}:{port}"} if host else {}
            headers |= {"Origin": origin} if origin else {}
            if socket:
                headers |= {
                    "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                }  # fmt: skip
            try:
                with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30.0) as answer:
                    return Ending("moved", f"let in, status {answer.status}")
            except urllib.error.HTTPError as error:
                return Ending("blocked", f"page: {error.code}, {error.read().decode().strip()}")
        finally:
            close_server(server)

    return attack


def _attribute(stage: Stage) -> Ending:
    import msgspec

    from sim.view.guard import permitted

    for update in ({"disabled": False}, {"value": 1, "_impl": 0}, {"__class__": "x"}):
        message = {"type": "GuiUpdateMessage", "uuid": "x", "updates": update}
        if permitted(msgspec.msgpack.encode(message)):
            return Ending("moved", f"{update} passed")
    return Ending("blocked", "page: only an input's value may be set")


# ---- the twin's line ------------------------------------------------------------------------------------------------


def _frame(payload: bytes) -> bytes:
    return HEADER.pack(MAGIC, len(payload)) + payload


@contextmanager
def _serving(answer: bytes) -> Iterator[int]:
    """A server that says ``answer`` to everybody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.sendall(answer)
                client.settimeout(10.0)
                try:
                    while client.recv(4096):
                        client.sendall(answer)
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]


def _server(answer: bytes) -> Callable[[Stage], Ending]:
    def attack(stage: Stage) -> Ending:
        with _serving(answer) as port:
            try:
                with TwinClient(TwinConfig(host="127.0.0.1", port=port, timeout=2.0, deadline=3.0)) as client:
                    client.fetch(0.0, 0.0, 0.0)
            except LunarError as error:
                return Ending("blocked", f"twin: {error}")
        return Ending("moved", "it was taken for ground")

    return attack


# ---- logs and cards -------------------------------------------------------------------------------------------------


def _logged_config(stage: Stage) -> Ending:
    kept = attachments(HilConfig(policy=stage.policy), stage.policy)
    config = json.loads(kept["config.json"])
    for machine in ("platform", "treadmill", "counterweight", "tracker", "robot"):
        config[machine]["port"] = "/dev/ttyUSB0"
    config |= {"clock": "wall", "log": "/etc", "json": "/etc/passwd", "threads": 1000, "live": True, "panel": True}
    config["twin"]["host"], config["calibration"]["file"] = "evil.example", "/etc/passwd"
    folder = stage.scratch / "stranger"
    with Recorder(folder, kept | {"config.json": json.dumps(config).encode()}, 0.0) as recorder:
        recorder.write("/hop_command", HopCommand(), 0.0)
    cfg = logged_config(read_log(folder), [*PARTS, "policy"])
    default = HilConfig(policy=cfg.policy)
    same = ("ports", "clock", "log", "json", "twin", "calibration", "live", "panel")
    taken = [name for name in same if getattr(cfg, name) != getattr(default, name)]
    return Ending("moved", f"taken from the log: {taken}") if taken else Ending("blocked", "replay: an allow-list")


def _text(stage: Stage) -> Ending:
    import io

    from matrix_hil.replay.look.page import table_page
    from sim.terminal import Terminal

    text = "\x1b]0;owned\x07[bold]S99[/bold]<script>alert(1)</script>"
    out = io.StringIO()
    Terminal(file=out, width=200).print(text)
    page = table_page(text, text, [text], [text], [[text]], [])
    if "\x1b" in out.getvalue() or "\x1b" in plain(text) or "<script>alert" in page:
        return Ending("moved", "the text is obeyed")
    return Ending("blocked", "terminal and page: written out")


def _card(stage: Stage) -> Ending:
    card = Card.load(Path(stage.policy) / "card.json")
    pose = list(card.default_pose)
    pose[2] = 0.0
    for change in ({"kp": 1e4}, {"kd": 1e3}, {"action_scale": 50.0}, {"default_pose": pose}, {"kp": float("nan")}):
        folder = stage.scratch / "card"
        folder.mkdir(exist_ok=True)
        document = json.loads((Path(stage.policy) / "card.json").read_text(encoding="utf-8")) | change
        (folder / "card.json").write_text(json.dumps(document), encoding="utf-8")
        try:
            Card.load(folder / "card.json")
        except LunarError as error:
            why = str(error)
        else:
            return Ending("moved", f"a card with {change} was taken")
    return Ending("blocked", f"card: {why.rpartition(': ')[2]}")


def _network(stage: Stage) -> Ending:
    from benchmarks.faults.broken_policy import write_broken

    folder = write_broken(Path(stage.policy), stage.scratch / "other")
    card = dataclasses.replace(Card.load(folder / "card.json"), weights="1" * 64)
    card.save(folder / "card.json")
    try:
        OnnxPolicy(str(folder))
    except LunarError as error:
        return Ending("blocked", f"policy: {error}")
    return Ending("moved", "it was loaded")
