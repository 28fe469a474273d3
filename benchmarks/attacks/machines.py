"""Attacks on a rig that runs: its lines, the ground that it is shown, its policy, what the robot is made to feel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import serial
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import WriteMultipleRegistersRequest

from benchmarks.attacks.attack import Attack, Ending
from benchmarks.attacks.stage import Ground, Stage, risen
from benchmarks.faults import alterations as alter
from benchmarks.faults.alterations import Alteration
from benchmarks.faults.trial import PATCH_PERIOD, Trial
from matrix_hil.config import Treadmill
from matrix_hil.link.devices import TREADMILL
from matrix_hil.link.framing import Frame, FrameDecoder
from matrix_hil.link.modbus import CONTROL, CONTROL_COUNT, RUN, SPEED_STEP, ModbusConfig
from matrix_hil.link.protocol import pack
from matrix_hil.messages import TreadmillCommand, TwinPatch
from matrix_hil.rig import Rig
from matrix_hil.virtual.machines import TreadmillEmulator
from matrix_hil.virtual.modbus import ModbusTreadmillEmulator
from sim.spec.command import HopCommand
from sim.spec.joints import LOWER, UPPER

CREEP = 0.005  # m by which each patch, four a second, is higher than the one before


def attacks() -> list[Attack]:
    """Those on lines, twin, policy and observation, and orders within an operator's rights."""
    return [
        Attack("A08", "serial", "replayed states of the platform", _replayed("platform", "to_host"), quick=True),
        Attack("A09", "serial", "replayed commands to the belt", _replayed("treadmill", "to_device"), quick=True),
        Attack("A10", "serial", "commands to the robot, each twice and in turned order", _reordered),
        Attack("A11", "serial", "states of the rope, spliced in from a minute later", _spliced),
        Attack("A12", "serial", "a second writer on the belt's line", _second_writer, "R1"),
        Attack("A13", "serial", "another Modbus master on the belt's line", _second_master, "R1"),
        Attack("A14", "twin", "ground that creeps up by 5 mm a patch", _shows(_creep, 10.0), "R2", quick=True),
        Attack("A15", "twin", "a ramp of 35 degrees, aimed at the belt's edge", _shows(_ramp, 4.0), "R2"),
        Attack("A16", "twin", "islands of no ground around the landing place", _shows(_islands), "R2"),
        Attack("A17", "twin", "heights of 1e308 m", _shows(_far), "R2"),
        Attack("A18", "policy", "a trigger in its weights: full throttle from now on", _throttle, "R3", quick=True),
        Attack("A19", "policy", "it asks for 1e9 rad", _absurd),
        Attack("A20", "observation", "noise of 0.02 rad and 1 rad/s at joints, 0.3 rad/s of turn", _noisy, "R3"),
        Attack("A21", "observation", "a healthy window of a second, again and again", _window, "R3", quick=True),
        Attack("A22", "observation", "the direction of gravity drifts by 0.1 rad/s", _drift),
        Attack("A23", "operator", "hop_command within its range, as fast as it may", _hijack, "R4", quick=True),
        Attack("A24", "operator", "hop_command of NaN and 1e308", _nonsense),
    ]  # fmt: skip


# ---- lines ----------------------------------------------------------------------------------------------------------


def _replayed(device: str, way: Any) -> Callable[[Stage], Ending]:
    def inject(trial: Trial, rig: Rig) -> None:
        cable = trial.cables[device]
        cable.spoil(way, alter.replayed(tuple(cable.recorded[way])))

    return lambda stage: stage.drive(inject)


def _reordered(stage: Stage) -> Ending:
    def turned() -> Alteration:
        held: list[Frame] = []

        def change(frames: Sequence[Frame], now: float) -> bytes:
            held.extend(frames)
            if len(held) < 3:
                return b""
            out, held[:] = [*reversed(held), *held], []
            return alter.bytes_of(out)

        return change

    return stage.drive(lambda trial, rig: trial.to_device("robot", turned()))


def _spliced(stage: Stage) -> Ending:
    """Frames of another run follow the present ones: their clock and their sequence are of another time."""

    def later(frames: Sequence[Frame], now: float) -> bytes:
        return alter.bytes_of(replace(f, time=f.time + 60.0, sequence=(f.sequence + 12_000) & 0xFFFF) for f in frames)

    return stage.drive(lambda trial, rig: trial.to_host("counterweight", later))


def _second_writer(stage: Stage) -> Ending:
    """Nobody drives; a stranger with access to the line speaks the protocol, as anybody can who has read it."""
    drive = TreadmillEmulator(Treadmill(), stage.seed)
    with drive:
        return _stranger(drive, [pack(TreadmillCommand(0.001 * k, 1.0), k) for k in range(1, 400)])


def _second_master(stage: Stage) -> Ending:
    speed = round(1.0 / SPEED_STEP) & 0xFFFF
    framer = FramerRTU(DecodePDU(False))
    pdu = WriteMultipleRegistersRequest(
        address=CONTROL, count=CONTROL_COUNT, registers=[RUN, speed], dev_id=ModbusConfig().unit
    )
    drive = ModbusTreadmillEmulator(Treadmill(), stage.seed)
    with drive:
        return _stranger(drive, [framer.buildFrame(pdu)] * 40, every=10)


def _stranger(drive: TreadmillEmulator, frames: list[bytes], every: int = 1) -> Ending:
    fastest = 0.0
    with serial.Serial(drive.port, timeout=0) as line:
        for k, frame in enumerate(frames):
            line.write(frame)
            line.flush()
            for tick in range(every):
                drive.poll(0.001 * (k * every + tick + 1), 0.05 if tick == 0 else 0.0, None)
                fastest = max(fastest, abs(drive.actuated.speed))
    if fastest > 0.02:
        return Ending("moved", f"the belt ran at {fastest:.2f} m/s")
    return Ending("blocked", f"{TREADMILL.name}'s line")


# ---- the ground that is shown ---------------------------------------------------------------------------------------


def _shows(change: Ground, wait: float = 2.5) -> Callable[[Stage], Ending]:
    return lambda stage: stage.drive(None, change, wait=wait)


def _creep(patch: TwinPatch, since: float) -> TwinPatch:
    return risen(patch, CREEP * since / PATCH_PERIOD)


def _far(patch: TwinPatch, since: float) -> TwinPatch:
    return replace(patch, heights=np.full_like(patch.heights, 1e308))


def _ramp(patch: TwinPatch, since: float) -> TwinPatch:
    columns = np.arange(np.shape(patch.heights)[1]) * patch.resolution
    return risen(patch, min(since, 1.0) * np.tan(np.radians(35.0)) * (columns - columns.mean()))


def _islands(patch: TwinPatch, since: float) -> TwinPatch:
    heights = np.array(patch.heights)
    rows, columns = np.indices(heights.shape)
    heights[(rows // 3 + columns // 3) % 2 == 0] = np.nan
    return replace(patch, heights=heights)


# ---- policy, observation, orders ------------------------------------------------------------------------------------


def _acts(act: Callable[[int], np.ndarray]) -> Callable[[Trial, Rig], None]:
    def inject(trial: Trial, rig: Rig) -> None:
        count = iter(range(10**9))
        policy: Any = rig.loop.sync.policy
        policy.act = lambda sensors, command: act(next(count))

    return inject


def _throttle(stage: Stage) -> Ending:
    return stage.drive(_acts(lambda k: UPPER if k // 5 % 2 else LOWER))


def _absurd(stage: Stage) -> Ending:
    return stage.drive(_acts(lambda k: np.full(12, 1e9)))


def _noisy(stage: Stage) -> Ending:
    random = np.random.default_rng(stage.seed)

    def noise(size: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda v: v + random.uniform(-size, size, np.shape(v))

    fields = {"joint_position": 0.02, "joint_velocity": 1.0, "angular_velocity": 0.3}

    def inject(trial: Trial, rig: Rig) -> None:
        changes = [alter.field(name, noise(size)) for name, size in fields.items()]

        def all_of(frames: Sequence[Frame], now: float) -> bytes:
            return alter.bytes_of(_through(changes, frames, now))

        trial.to_host("robot", all_of)

    return stage.drive(inject)


def _through(changes: Sequence[Alteration], frames: Sequence[Frame], now: float) -> list[Frame]:
    for change in changes:
        frames = FrameDecoder().feed(change(frames, now))
    return list(frames)


def _window(stage: Stage) -> Ending:
    """Each state carries the payload of one a second before, under its own sequence and time."""

    def inject(trial: Trial, rig: Rig) -> None:
        cable = trial.cables["robot"]
        old = [f.payload for f in cable.recorded["to_host"]]
        kinds = [f.type for f in cable.recorded["to_host"]]
        place = iter(range(10**9))

        def again(frames: Sequence[Frame], now: float) -> bytes:
            out = []
            for frame in frames:
                k = next(place) % len(old)
                out.append(replace(frame, payload=old[k]) if kinds[k] == frame.type else frame)
            return alter.bytes_of(out)

        cable.spoil("to_host", again)

    return stage.drive(inject)


def _drift(stage: Stage) -> Ending:
    count = iter(range(10**9))

    def inject(trial: Trial, rig: Rig) -> None:
        def lean(v: np.ndarray) -> np.ndarray:
            angle = 0.1 * 0.005 * next(count)  # 200 states a second
            c, s = np.cos(angle), np.sin(angle)
            return np.array([c * v[0] + s * v[2], v[1], -s * v[0] + c * v[2]])

        trial.to_host("robot", alter.field("projected_gravity", lean))

    return stage.drive(inject, wait=6.0)


def _hijack(stage: Stage) -> Ending:
    def inject(trial: Trial, rig: Rig) -> None:
        rig.loop.command = HopCommand(0.8, 0.0, 0.0, 0.4, 0.0)

    return stage.drive(inject, wait=4.0)


def _nonsense(stage: Stage) -> Ending:
    def inject(trial: Trial, rig: Rig) -> None:
        rig.loop.command = HopCommand(float("nan"), 1e308, -1e308, 1e308, float("inf"))

    return stage.drive(inject)
