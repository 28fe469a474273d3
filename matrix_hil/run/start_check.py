"""What is refused before anything is opened: a rig that cannot work, and limits that do not fit its machines."""

from __future__ import annotations

import numpy as np

from matrix_hil.config import EMULATED, HilConfig
from matrix_hil.control.stewart import reachable
from matrix_hil.control.sync import SyncConfig
from matrix_hil.link import DEVICES
from matrix_hil.link.go2 import DDS
from matrix_hil.link.modbus import MODBUS_TREADMILL
from matrix_hil.safety.outer import CYCLES, HARNESS, outside
from policy.runtime.card import Card
from sim.errors import LunarError
from sim.spec.command import COMMAND_NAMES, COMMAND_UNITS
from sim.spec.gravity import EARTH, MOON

_GO2 = SyncConfig().mass  # kg, of the robot that a real rig is made for


def check(cfg: HilConfig) -> None:
    """Refuse a rig that cannot work or whose limits protect nothing. Raises LunarError with the key to mend."""
    check_pace(cfg)
    if cfg.pace != 1.0 and cfg.clock == "simulated":
        raise LunarError(f"pace is {cfg.pace:g}, but simulated time has none; set clock to 'wall'")
    emulated = [name for name, port in cfg.ports.items() if port == EMULATED]
    if 0 < len(emulated) < len(DEVICES) and not cfg.allow_mixed:
        names = " and ".join(", ".join(emulated).rsplit(", ", 1))
        raise LunarError(
            f"{names} would be emulated beside real machines, of which an emulator knows nothing; name"
            f" {emulated[0]}.port too, or set allow_mixed"
        )
    if cfg.treadmill.protocol == "modbus" and cfg.safety.treadmill_stale < MODBUS_TREADMILL.stale_limit:
        raise LunarError(
            f"safety.treadmill_stale is {cfg.safety.treadmill_stale:g} s, but a Modbus treadmill reports every"
            f" {MODBUS_TREADMILL.period:g} s; set it to {MODBUS_TREADMILL.stale_limit:g} (docs/modbus.md)"
        )
    if (cfg.robot.protocol == "go2") != cfg.robot.port.startswith(DDS) and cfg.robot.port != EMULATED:
        raise LunarError(
            f"robot.port is {cfg.robot.port} and robot.protocol '{cfg.robot.protocol}', but a Go2, and nothing else, is"
            f" reached by {DDS} and a network interface, such as {DDS}eth0, with protocol 'go2'"
        )
    if cfg.robot.protocol == "go2" and cfg.rig.robot != "go2":
        raise LunarError(f"robot.protocol is 'go2', but rig.robot is '{cfg.rig.robot}'; set one of them")
    if not CYCLES[0] <= cfg.sync.rate <= CYCLES[1]:
        raise LunarError(f"sync.rate is {cfg.sync.rate:g} Hz; it must lie between {CYCLES[0]:g} and {CYCLES[1]:g}")
    if cfg.robot.port != EMULATED and not cfg.sync.mass * (EARTH - MOON) < _GO2 * EARTH:
        raise LunarError(
            f"sync.mass is {cfg.sync.mass:g} kg, for which the rope would haul a Go2 of {_GO2:g} kg up; weigh the robot"
        )
    if why := outside(cfg.safety, len(emulated) < len(DEVICES), cfg.platform) or misfit(cfg):
        raise LunarError(why)


def check_pace(cfg: HilConfig) -> None:
    """Refuse a pace that is none, or one that real machines do not keep. Raises LunarError."""
    real = [name for name, port in cfg.ports.items() if port != EMULATED]
    if not 0.01 <= cfg.pace <= 1.0:
        raise LunarError(f"pace is {cfg.pace:g}; it must lie between 0.01 and 1")
    if cfg.pace != 1.0 and real:
        raise LunarError(f"pace is {cfg.pace:g}, but {real[0]} is real and lives in real time; set pace to 1")


def check_policy(cfg: HilConfig, card: Card) -> None:
    """Refuse a policy that the supervisor would hold up or weaken, and a command that it was not trained for. Raises
    LunarError."""
    safety, period, cycle = cfg.safety, 1.0 / card.observation.rate, 1.0 / cfg.sync.rate
    if period + cycle > safety.command_stale:
        raise LunarError(
            f"policy {cfg.policy} acts every {period:g} s, but a command is sent for {safety.command_stale:g} s"
            f" only; take a policy faster than {1.0 / (safety.command_stale - cycle):.0f} Hz"
        )
    for name, wanted, most in (("kp", card.kp, safety.kp_max), ("kd", card.kd, safety.kd_max)):
        if not 0.0 <= wanted <= most:
            raise LunarError(
                f"policy {cfg.policy} was trained with {name} {wanted:g}, but safety.{name}_max is {most:g}; it would"
                " drive another robot than its own"
            )
    ranges = zip(COMMAND_NAMES, COMMAND_UNITS, cfg.command.array(), card.command_low, card.command_high, strict=True)
    for name, unit, wanted, low, high in ranges:
        if not low <= wanted <= high:
            raise LunarError(
                f"command.{name} is {wanted:g}, but policy {cfg.policy} was trained for {low:g} to {high:g} {unit}"
            )


def misfit(cfg: HilConfig) -> str:
    """How the supervisor's limits and the machines contradict each other, in a sentence; empty when they do not."""
    safety, winch, belt, plate = cfg.safety, cfg.counterweight, cfg.treadmill, cfg.platform
    pull, weight = winch.passive_tension + winch.winch_force, cfg.sync.mass * EARTH
    if not pull < safety.tension_max:
        return (
            f"the winch can pull with {pull:.0f} N, but safety.tension_max, at which S10 trips, is"
            f" {safety.tension_max:.0f} N; set the drive's limit and counterweight.winch_force lower"
        )
    if not safety.tension_max <= HARNESS * weight:
        return (
            f"safety.tension_max is {safety.tension_max:.0f} N, over {HARNESS:g} weights of a robot of"
            f" {cfg.sync.mass:g} kg, which rope, harness and legs bear; set it to {HARNESS * weight:.0f} or less"
        )
    for name, limit, machine, its in (
        ("belt_speed", safety.belt_speed, "max_speed", belt.max_speed),
        ("belt_acceleration", safety.belt_acceleration, "max_acceleration", belt.max_acceleration),
    ):
        if not limit <= its:
            return f"safety.{name} is {limit:g}, over the drive's own treadmill.{machine} {its:g}; lower it"
    for name, axis in (("travel", 0), ("tilt", 3)):
        reach = plate.range * (np.arange(6) // 3 * 3 == axis)
        alone = [sign * np.where(np.arange(6) == i, reach, 0.0) for i in range(6) for sign in (-1.0, 1.0)]
        if not np.isfinite(plate.range).all() or not all(reachable(plate.geometry, pose) for pose in alone):
            return f"platform.{name} is {getattr(plate, name):g}, farther than its legs reach by platform.geometry"
    if not safety.height_max < cfg.rig.pulley_height:
        return f"safety.height_max is {safety.height_max:g} m, not below the pulley at rig.pulley_height"
    return ""
