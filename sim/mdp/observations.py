"""Observation groups: ``policy`` (proprioception only, noisy) and ``critic`` (privileged, exact)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from sim.mdp.config import NoiseConfig
from sim.mdp.state import State, to_heading
from sim.rows import like
from sim.spec.observation import SENSORS, Channel, ObservationSpec, ScanGrid, Sensor
from sim.tensors import constant


def _widths(sensors: Sequence[Sensor], noise: NoiseConfig, suffix: str = "") -> list[float]:
    """Scaled half widths of the sensors' errors, one per sensor."""
    return [getattr(noise, s.name + suffix, 0.0) * s.scale for s in sensors]


def sensor_bias(
    noise: NoiseConfig, count: int, generator: torch.Generator, sensors: Sequence[Sensor] = SENSORS
) -> Tensor:
    """(count, 42) scaled biases of trials that begin; a bias of zero draws no random numbers."""
    device = generator.device
    parts = []
    for width, s in zip(_widths(sensors, noise, "_bias"), sensors, strict=True):
        part = torch.zeros(count, s.size, device=device)
        if width:
            part = width * (2.0 * torch.rand(count, s.size, generator=generator, device=device) - 1.0)
        parts.append(part)
    return torch.cat(parts, dim=1)


def frame(
    s: State, noise: NoiseConfig, generator: torch.Generator | None, sensors: Sequence[Sensor] = SENSORS
) -> Tensor:
    """(N, 42) one scaled frame of proprioception, as ``sim.spec.observation.make_frame`` makes it for one robot.

    Noise and the trial's bias are added when a generator, of the state's device, is given.
    """
    read = torch.cat([getattr(s, sensor.name) for sensor in sensors], dim=1)
    offset, scale, width = (like(part, read) for part in _layout(tuple(sensors), noise, read.device))
    clean = (read - offset) * scale
    if generator is None:
        return clean
    uniform = like(torch.rand(tuple(clean.shape), generator=generator, device=clean.device), clean)
    return clean + s.sensor_bias + (2.0 * uniform - 1.0) * width


@cache
def _layout(sensors: tuple[Sensor, ...], noise: NoiseConfig, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(42,) each: offset and scale of a frame's values, and the half width of their scaled noise."""
    offset = np.concatenate([np.broadcast_to(sensor.offset, sensor.size) for sensor in sensors])
    sizes = [sensor.size for sensor in sensors]
    scale, width = (np.repeat(of, sizes) for of in ([s.scale for s in sensors], _widths(sensors, noise)))
    return constant(offset, device), constant(scale, device), constant(width, device)


def scaled_command(s: State, spec: ObservationSpec) -> Tensor:
    """(N, 5) command as the policy sees it."""
    return s.command * constant([c.scale for c in spec.command], s.command.device)


def _per_value(numbers: Sequence[float], channels: Sequence[Channel | Sensor], like: Tensor) -> Tensor:
    """(size,) the number of each channel at all of its values, on the device of ``like``."""
    return constant(np.repeat(numbers, [c.size for c in channels]), like.device)


def _energy_gain(s: State) -> Tensor:
    """(N,) m, height gain that the vertical energy since lift-off amounts to."""
    return s.com_height - s.liftoff_com_height + s.com_vertical_velocity.square() / (2.0 * s.gravity)


NEAR = ScanGrid(x=(-0.2, 0.6), side=0.2, spacing=0.2)
"""Where the critic of a blind policy sees the ground; of one that sees, it sees the same as the policy."""

# Everything that helps to judge a state, exact; the scale brings it to about one.
CRITIC: tuple[tuple[Channel, Callable[[State], Tensor]], ...] = (
    (Channel("velocity", 3, "m/s, heading frame", 1.0), lambda s: s.velocity),
    (Channel("angular_velocity", 3, "rad/s, base frame", 0.5), lambda s: s.angular_velocity),
    (Channel("projected_gravity", 3, "unit vector, base frame", 1.0), lambda s: s.projected_gravity),
    (Channel("joint_position", 12, "rad", 1.0), lambda s: s.joint_position),
    (Channel("joint_velocity", 12, "rad/s", 0.05), lambda s: s.joint_velocity),
    (Channel("last_action", 12, "1", 1.0), lambda s: s.last_action),
    (Channel("height", 1, "m above ground", 2.0), lambda s: s.height[:, None]),
    (Channel("foot_height", 4, "m above ground", 2.0), lambda s: s.foot_height),
    (Channel("contact", 4, "bool", 1.0), lambda s: s.contact.float()),
    (Channel("foot_force", 4, "lunar body weights", 0.2), lambda s: s.foot_force / s.weight[:, None]),
    (Channel("limb_contact", 4, "bool", 1.0), lambda s: s.limb_contact.float()),
    (Channel("trunk_load", 1, "lunar body weights", 0.5), lambda s: s.trunk_load[:, None]),
    (Channel("air_time", 1, "s", 1.0), lambda s: s.air_time[:, None]),
    (Channel("stance_time", 1, "s", 5.0), lambda s: s.stance_time[:, None]),
    (Channel("com_height", 1, "m above ground", 2.0), lambda s: s.com_height[:, None]),
    (Channel("energy_gain", 1, "m", 2.0), lambda s: _energy_gain(s)[:, None]),
    (
        Channel("angular_momentum", 3, "kg*m^2/s, heading frame", 1.0),
        lambda s: to_heading(s.quaternion, s.angular_momentum),
    ),
    (Channel("gravity", 1, "m/s^2", 0.5), lambda s: s.gravity[:, None]),
    (Channel("friction", 1, "1", 1.0), lambda s: s.friction[:, None]),
    (Channel("joint_friction", 1, "N*m", 4.0), lambda s: s.joint_rub[:, :1]),
    (Channel("joint_damping", 1, "N*m*s/rad", 0.5), lambda s: s.joint_rub[:, 1:]),
)


def scan(s: State, spec: ObservationSpec) -> Tensor:
    """(N, K) scaled scan of the ground."""
    return s.ground_ahead * scanned(spec).channel.scale


def scanned(spec: ObservationSpec) -> ScanGrid:
    """The policy's grid, or the one that its critic has alone."""
    return spec.scan or NEAR


def critic(s: State, spec: ObservationSpec) -> Tensor:
    """(N, 79 + K) ``CRITIC``'s channels, the scan, then the command."""
    state = torch.cat([read(s) for _, read in CRITIC], dim=1)
    channels = [channel for channel, _ in CRITIC]
    scale = _per_value([channel.scale for channel in channels], channels, state)
    return torch.cat([state * scale, scan(s, spec), scaled_command(s, spec)], dim=1)


def group_specs(spec: ObservationSpec) -> dict[str, tuple[Channel, ...]]:
    """Channels of each observation group in their order: names, sizes, units and scales."""
    seen = (spec.scan.channel,) if spec.scan else ()
    return {
        "policy": tuple(_past(c, age) for age in spec.ages for c in spec.frame) + spec.command + seen,
        "critic": (*(c for c, _ in CRITIC), scanned(spec).channel, *spec.command),
    }


def _past(channel: Channel, age: int) -> Channel:
    return replace(channel, name=f"{channel.name}[-{age}]") if age else channel
