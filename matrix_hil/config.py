"""Configuration that the commands share: the machines, the rig that they make up, and a run on it.

The settings of one pure module (sync, safety, trim) stand beside its code; here they are put together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from matrix_hil.control.counterweight import TrimConfig
from matrix_hil.control.stewart import PlatformLimits
from matrix_hil.control.sync import SyncConfig
from matrix_hil.link import BAUD, DEVICES
from matrix_hil.link.go2 import Go2Config
from matrix_hil.link.modbus import ModbusConfig
from matrix_hil.link.protocol import HOST_SILENCE
from matrix_hil.safety.limits import SafetyConfig
from matrix_hil.twin.config import EMBEDDED, TwinConfig
from sim.rig.config import RigConfig
from sim.spec.command import HopCommand
from sim.spec.gravity import EARTH, MOON
from sim.terrain.generators import TerrainConfig

EMULATED = "emulated"
"""Port name that stands for a device of the virtual rig."""


# ---- machines: where each is reached, and how its emulator behaves --------------------------------------------------


@dataclass(frozen=True)
class LineConfig:
    """The device's end of the serial line."""

    baud: int = BAUD
    """bit/s."""
    tick: float = 0.001
    """s. Step of the device's firmware."""
    watchdog: float = HOST_SILENCE
    """s of silence from the host after which the device makes itself safe."""


@dataclass(frozen=True)
class Platform(PlatformLimits):
    """Motion platform. Its limits bind planner and supervisor; the other figures, but the port, are its emulator's."""

    bandwidth: float = 60.0
    """rad/s of the critically damped servo. Over 4 * acceleration / speed it would overshoot a step."""
    dead_time: float = 0.01
    """s from the last bit of a command to the first motion."""
    resolution: float = 1e-5
    """m and rad, step of the measured pose."""
    line: LineConfig = field(default_factory=LineConfig)
    port: str = EMULATED
    """``emulated``, or what pyserial opens: /dev/ttyUSB0, socket://host:port, rfc2217://host:port."""


@dataclass(frozen=True)
class Treadmill:
    """Belt and its drive; figures other than port and protocol are those of its emulator."""

    max_speed: float = 3.0
    """m/s, each way."""
    max_acceleration: float = 2.0
    """m/s^2."""
    dead_time: float = 0.02
    """s from the last bit of a command to the first change of speed."""
    resolution: float = 0.005
    """m/s, step of the commanded and of the measured speed."""
    breakaway: float = 0.01
    """m/s. Stiction: from rest, a smaller command does not move the belt."""
    scale: float = 1.0
    """True metres per metre that the drive counts: a worn belt or roller."""
    line: LineConfig = field(default_factory=LineConfig)
    port: str = EMULATED
    """``emulated``, or what pyserial opens."""
    protocol: Literal["lunar", "modbus"] = "lunar"
    """``lunar``: docs/protocol.md. ``modbus``: a drive with the registers of docs/modbus.md."""
    modbus: ModbusConfig = field(default_factory=ModbusConfig)
    """Address and line of a Modbus drive."""

    @property
    def watchdog(self) -> float:
        """s of silence from the host after which the drive makes itself safe, in the protocol that it speaks."""
        return self.modbus.watchdog if self.protocol == "modbus" else self.line.watchdog


@dataclass(frozen=True)
class Winch:
    """Winch that adds a force to the rope's passive tension, load cell at the harness, brake on the drum."""

    passive_tension: float = 15.206 * (EARTH - MOON)
    """N at the harness at rest with the winch idle, as the hanging weight gives it."""
    winch_force: float = 300.0
    """N that the winch adds at most, each way."""
    lag: float = 0.01
    """s, first-order time constant of the winch force."""
    noise: float = 0.5
    """N, standard deviation of the load cell."""
    resolution: float = 0.1
    """N, step of the load cell."""
    zero: float = 0.0
    """N that the load cell reports without load."""
    tension_limit: float = 600.0
    """N. The device reports its limit above."""
    line: LineConfig = field(default_factory=LineConfig)


@dataclass(frozen=True)
class Counterweight(Winch):
    """Counterweight with winch; figures other than the port are those of its emulator."""

    port: str = EMULATED
    """``emulated``, or what pyserial opens."""


@dataclass(frozen=True)
class Tracker:
    """Camera-based pose tracker; figures other than the port are those of its emulator."""

    noise: float = 0.002
    """m, standard deviation per axis."""
    turn_noise: float = 0.002
    """rad, standard deviation per axis."""
    latency: float = 0.01
    """s from exposure to the frame's first bit."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """m, what it reports of the rig's origin."""
    line: LineConfig = field(default_factory=LineConfig)
    port: str = EMULATED
    """``emulated``, or what pyserial opens."""


@dataclass(frozen=True)
class Robot:
    """The robot's own controller: PD to the last targets, and a way down when the host falls silent.

    Figures other than port, protocol and those of a Go2 are those of its emulator.
    """

    hold_time: float = 0.03
    """s that it holds its measured pose after the watchdog has tripped, before it stands."""
    damp_time: float = 0.1
    """s after the watchdog has tripped until it damps."""
    stand_rate: float = 3.0
    """rad/s at which targets go to the nominal pose in ``stand``."""
    kp: float = 30.0
    """N*m/rad before the first command."""
    kd: float = 0.75
    """N*m*s/rad before the first command."""
    dead_time: float = 0.0
    """s from the last bit of a command until the servos have it."""
    line: LineConfig = field(default_factory=LineConfig)
    port: str = EMULATED
    """``emulated``, or what pyserial opens; for a Go2 ``dds://`` and the network interface, such as dds://eth0."""
    protocol: Literal["lunar", "go2"] = "lunar"
    """``lunar``: docs/protocol.md. ``go2``: a Unitree Go2 by its LowState and LowCmd, docs/go2.md."""
    go2: Go2Config = field(default_factory=Go2Config)
    """Its foot forces, and how it gets up."""


# ---- the rig and a run on it ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RigSetup:
    """The rig with all its machines, and the loop that runs it."""

    rig: RigConfig = field(default_factory=RigConfig)
    """Mechanics of the virtual rig."""
    trim: TrimConfig = field(default_factory=TrimConfig)
    """Force loop of the emulated winch drive."""
    platform: Platform = field(default_factory=Platform)
    treadmill: Treadmill = field(default_factory=Treadmill)
    counterweight: Counterweight = field(default_factory=Counterweight)
    tracker: Tracker = field(default_factory=Tracker)
    robot: Robot = field(default_factory=Robot)
    sync: SyncConfig = field(default_factory=SyncConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)

    @property
    def ports(self) -> dict[str, str]:
        """Port by device name."""
        return {name: getattr(self, name).port for name in DEVICES}


@dataclass(frozen=True)
class RunPlan:
    """How long each part of a run takes."""

    duration: float = 20.0
    """s with the policy driving."""
    stand: float = 1.5
    """s of standing between arming and the start."""
    arm_timeout: float = 5.0
    """s within which the rig must agree to be armed."""
    down: float = 0.5
    """s of safe commands at the end, also after Ctrl-C or a trip."""
    traverse: str = ""
    """Plan of 'lunar traverse plan' to follow: its policies, gaits, ground, start and heading in place of ``policy``,
    ``command``, ``terrain``, ``seed``, ``sync.start_x``, ``sync.start_y`` and ``sync.heading``; the run ends at the
    goal, or after ``sync.ramp`` and twice the expected time in place of ``duration``."""


@dataclass(frozen=True)
class CalibrationConfig:
    """Where the calibration is kept, how long it holds, and how it is measured."""

    file: str = "runs/hil/calibration.json"
    """File that ``lunar hil calibrate`` writes and a run with real machines reads."""
    max_age: float = 43200.0
    """s. An older calibration is refused."""
    load: float = 0.0
    """N that hang on the load cell while it is tared; 0 is the open hook."""
    marker_height: float = 0.01
    """m, tracked point of the marker above the belt."""
    average: float = 0.5
    """s over which a reading is averaged."""
    belt_travel: float = 0.3
    """m that the marker rides on the belt, each way, with the way to a stop."""
    belt_speed: float = 0.25
    """m/s."""
    platform_step: float = 0.03
    """m along each axis that the platform moves under the tracker's eyes; 0 leaves that out."""
    platform_speed: float = 0.05
    """m/s of homing and of those steps."""
    timeout: float = 20.0
    """s for each part."""


@dataclass(frozen=True)
class Twin(TwinConfig):
    """Where Unreal runs and how its ground is read."""

    host: str = EMBEDDED
    """``embedded`` starts a stand-in server over ``terrain``; else the computer that runs Unreal with UnrealCV."""
    rate: float = 10.0
    """Hz. Patches read per second of simulated time; in wall time ``period`` bounds it."""


@dataclass(frozen=True)
class HilConfig(RigSetup):
    """Run a policy on the MATRIX rig. Unless ports and the twin's host are given, everything outside is emulated."""

    policy: str = "policy/zoo/pronk"
    """Folder with policy.onnx and card.json."""
    monitor: Literal["off", "warn", "trip"] = "warn"
    """When the monitor beside the policy says that the policy does not know a state: nothing, as when there is none; a
    note; or a trip of rule S32, for which there must be one."""
    clock: Literal["simulated", "wall"] = "simulated"
    """``simulated``: deterministic, as fast as it goes, everything emulated. ``wall``: real time, real deadlines."""
    pace: float = 1.0
    """s of the rig per s of wall time, at most 1: below it a slow computer runs an emulated rig in slow motion."""
    allow_mixed: bool = False
    """Let real machines run beside emulated ones, which measure nothing of what the real ones do."""
    command: HopCommand = field(default_factory=HopCommand)
    plan: RunPlan = field(default_factory=RunPlan)
    terrain: TerrainConfig = field(default_factory=TerrainConfig)
    """Ground of the embedded twin."""
    twin: Twin = field(default_factory=Twin)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    log: str = ""
    """Folder for the log, without one already; empty makes one below runs/hil/ named after date and time."""
    split_mb: float = 0.0
    """MB. The log goes on in a new file when one has this size; 0 keeps one file."""
    keep: int = 0
    """Hops that the log keeps while the run goes on: so many that differ most from each other, and all trips; 0 keeps
    the whole run."""
    seed: int = 0
    """Of terrain, sensor noise and the robot's first pose."""
    json: str = ""
    """File for the results as data."""
    live: bool = False
    """Show the running rig in a browser on this computer, with gauges and an e-stop."""
    panel: bool = False
    """Operate the rig from that page and the keyboard instead of following ``plan``: arm, run, hold, reset, e-stop."""
    live_port: int = 8080
    """Port of that page on 127.0.0.1; 0 takes a free one."""
    quick: bool = False
    """5 s with the policy driving."""
