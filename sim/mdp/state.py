"""The state that all terms read: one dataclass of tensors, N robots first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sim.spec.hops import LOAD_FRACTION


@dataclass
class State:
    """World frame unless said otherwise; z up; SI units. Terms read it and never write it."""

    position: Tensor
    """(N, 3) base, m."""
    height: Tensor
    """(N,) base above the ground below it, m."""
    quaternion: Tensor
    """(N, 4) base, w x y z."""
    velocity: Tensor
    """(N, 3) base, m/s, heading frame (x forward, y left, z up)."""
    angular_velocity: Tensor
    """(N, 3) rad/s, base frame."""
    yaw_rate: Tensor
    """(N,) rad/s about the world's z axis."""
    projected_gravity: Tensor
    """(N, 3) unit vector along gravity, base frame."""
    joint_position: Tensor
    """(N, 12) rad."""
    joint_velocity: Tensor
    """(N, 12) rad/s."""
    torque: Tensor
    """(N, 12) N*m at the last physics step."""
    last_action: Tensor
    """(N, 12) newest action."""
    action_before: Tensor
    """(N, 12) the one before."""
    foot_force: Tensor
    """(N, 4) largest normal force of the last control step, N."""
    total_force: Tensor
    """(N,) largest sum over the feet of the last control step, N."""
    foot_height: Tensor
    """(N, 4) foot centre above the ground below it, m."""
    contact: Tensor
    """(N, 4) bool, foot loaded (over 5% of lunar body weight) at some time of the last control step."""
    limb_contact: Tensor
    """(N, 4) bool, knee or shin of a leg loaded likewise."""
    trunk_load: Tensor
    """(N,) force on trunk and hips, mean of the last control step, lunar body weights."""
    lying_time: Tensor
    """(N,) s for which the trunk has borne load (``sim.tasks.pronk.TRUNK_LOAD``) without a break."""
    air_time: Tensor
    """(N,) s since anything touched the ground; 0 on the ground."""
    stance_time: Tensor
    """(N,) s since something first touched it; 0 in the air."""
    com_height: Tensor
    """(N,) centre of mass above the ground below the base, m."""
    com_vertical_velocity: Tensor
    """(N,) m/s."""
    liftoff_com_height: Tensor
    """(N,) ``com_height`` at the last lift-off, m."""
    angular_momentum: Tensor
    """(N, 3) about the centre of mass, kg*m^2/s."""
    command: Tensor
    """(N, 5) vx, vy, yaw rate, apex gain, economy."""
    weight: Tensor
    """(N,) lunar body weight, N."""
    gravity: Tensor
    """(N,) m/s^2, at which the robot falls."""
    friction: Tensor
    """(N,) 1, feet against ground."""
    joint_rub: Tensor
    """(N, 2) Coulomb N*m and viscous N*m*s/rad friction of every joint of a robot of the Go2's size, besides what the
    robot's file has."""
    ground_ahead: Tensor
    """(N, K) m, base above the ground at the points of ``observations.scanned``'s grid."""
    sensor_bias: Tensor
    """(N, 42) of a scaled frame of proprioception, constant through a trial."""
    nominal_pose: Tensor
    """(12,) rad, the robot's stance."""
    size: Tensor
    """(4,) by which the robot's torques, powers, angular momenta and lengths are those of a Go2 that moves alike."""

    @cached_property
    def in_flight(self) -> Tensor:
        """(N,) bool, nothing touches the ground: neither feet nor knees, shins, hips or trunk."""
        return ~self.touching

    @cached_property
    def touching(self) -> Tensor:
        """(N,) bool, some part of the robot is loaded."""
        return self.contact.any(dim=1) | self.limb_contact.any(dim=1) | (self.trunk_load > LOAD_FRACTION)

    @cached_property
    def tilt(self) -> Tensor:
        """(N,) rad between the base's z axis and the vertical."""
        return torch.acos((-self.projected_gravity[:, 2]).clamp(-1.0, 1.0))


def projected_gravity(quaternion: Tensor) -> Tensor:
    """(N, 3) unit vector along gravity in the frame of ``quaternion`` (N, 4)."""
    w, x, y, z = quaternion.unbind(1)
    return torch.stack([2.0 * (w * y - x * z), -2.0 * (y * z + w * x), 2.0 * (x * x + y * y) - 1.0], dim=1)


def rotate_inverse(quaternion: Tensor, vector: Tensor) -> Tensor:
    """World vectors (N, 3) into the frame of ``quaternion`` (N, 4)."""
    w, xyz = quaternion[:, :1], quaternion[:, 1:]
    t = 2.0 * torch.linalg.cross(xyz, vector)
    return vector - w * t + torch.linalg.cross(xyz, t)


def heading(quaternion: Tensor) -> Tensor:
    """(N, 2) horizontal unit vector (cos yaw, sin yaw) along the base's x axis."""
    w, x, y, z = quaternion.unbind(1)
    forward = torch.stack([1.0 - 2.0 * (y * y + z * z), 2.0 * (w * z + x * y)], dim=1)
    return forward / forward.square().sum(1, keepdim=True).sqrt().clamp(min=1e-6)


def to_heading(quaternion: Tensor, vector: Tensor) -> Tensor:
    """World vectors (N, 3) into the heading frame of ``quaternion`` (N, 4): x forward, y left, z up."""
    cos, sin = heading(quaternion).unbind(1)
    x, y, z = vector.unbind(1)
    return torch.stack([cos * x + sin * y, cos * y - sin * x, z], dim=1)
