"""The same driver on every kind of port that pyserial opens."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import serial
from serial import rfc2217

from matrix_hil.config import (
    Treadmill,
)
from matrix_hil.link import TREADMILL, SerialDevice
from matrix_hil.link.framing import FrameDecoder
from matrix_hil.link.protocol import Reset, pack, unpack
from matrix_hil.messages import TreadmillCommand, TreadmillState
from matrix_hil.virtual.machines import (
    TreadmillEmulator,
)

DT = 0.005


class WithoutModem(serial.Serial):
    """A pseudo-terminal has none of these lines."""

    dtr = rts = cts = dsr = ri = cd = True


@pytest.fixture
def terminal_server() -> Iterator[Callable[[str], str]]:
    """Puts a serial port on the network by RFC 2217, as device servers do: its path to a URL."""
    with contextlib.ExitStack() as stack:

        def serve(path: str) -> str:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            line = stack.enter_context(WithoutModem(path, timeout=0.01))
            thread = threading.Thread(target=_forward, args=(server, line))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown, socket.SHUT_RDWR)
            return f"rfc2217://127.0.0.1:{server.getsockname()[1]}"

        yield serve


def _forward(server: socket.socket, line: serial.Serial) -> None:
    """Of one client, until it or the server is closed."""
    try:
        client, _ = server.accept()
    except OSError:
        return
    with client:
        client.settimeout(0.001)
        manager = rfc2217.PortManager(line, SimpleNamespace(write=client.sendall))
        while True:
            with contextlib.suppress(TimeoutError):
                data = client.recv(1024)
                if not data:
                    return
                line.write(b"".join(manager.filter(data)))
            if data := line.read(line.in_waiting):
                client.sendall(b"".join(manager.escape(data)))


def test_the_same_driver_works_through_a_terminal_server(terminal_server: Callable[[str], str]) -> None:
    """Commands arrive, states come back, and the safe command is written on the way out."""
    with TreadmillEmulator(Treadmill(), 0) as emulator:
        device = SerialDevice(TREADMILL, terminal_server(emulator.port))
        with device:
            for k in range(2000):
                now = k * DT
                emulator.poll(now)
                device.poll(now, wait=0.01)
                device.send(TreadmillCommand(now, 0.5))
                if device.state is not None and device.state.speed > 0.1:
                    break
            assert device.state is not None and device.state.speed > 0.1, device.stats
            assert device.stats.connected and device.stats.crc_errors == 0
        for k in range(2000, 4000):
            emulator.poll(k * DT)
            if emulator.last_command is not None and emulator.last_command.speed == 0.0:
                break
            time.sleep(0.001)
        assert emulator.last_command.speed == 0.0


def test_the_same_driver_works_over_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        device = SerialDevice(TREADMILL, f"socket://127.0.0.1:{port}")
        device.connect()
        peer, _ = server.accept()
        with peer:
            peer.settimeout(5.0)
            peer.sendall(pack(TreadmillState(3.0, 1.25, 7.0), 0))
            assert device.poll(0.0, wait=5.0) == 1
            assert (device.state.speed, device.state.position, device.state.time) == (1.25, 7.0, 0.0)
            frames = FrameDecoder().feed(peer.recv(100))
            assert isinstance(unpack(frames[0]), Reset)
            peer.close()
            for _ in range(100):
                device.poll(0.1, wait=0.05)
                if not device.stats.connected:
                    break
        assert not device.stats.connected
        device.disconnect()


def test_a_loop_port_counts_what_no_device_would_send() -> None:
    with SerialDevice(TREADMILL, "loop://") as device:
        device.send(TreadmillCommand(0.0, 1.0))
        for k in range(10):
            device.poll(k * DT)
        assert device.stats.unknown_frames == 1  # its own Reset
        assert device.state is None


def test_serial_errors_are_os_errors() -> None:
    """The driver catches both by name; this is why a pulled cable cannot slip through as something else."""
    assert issubclass(serial.SerialException, OSError)
