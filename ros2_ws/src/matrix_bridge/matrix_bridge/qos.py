"""Quality of service by name, as ``graph`` uses it."""

from __future__ import annotations

from lunar_policy.node import RELIABLE, STREAM
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

COMMAND_DEADLINE = 0.05  # s; a motion command that is later than this is missed
COMMAND_LEASE = 0.1  # s; a publisher of motion commands that is silent for longer counts as dead

# Drivers ask for deadline and liveliness, so that whoever does not promise them (a replayed log, 'ros2 topic pub') is
# not heard. Liveliness is by topic: a process that lives but has stopped to command is dead in this sense.
COMMAND = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    deadline=Duration(seconds=COMMAND_DEADLINE),
    liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
    liveliness_lease_duration=Duration(seconds=COMMAND_LEASE),
)
STATE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# What a reader can ask for least: publishers of any quality are heard, whatever they promise.
ANY = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
PROFILES = {"stream": STREAM, "command": COMMAND, "state": STATE, "event": RELIABLE, "any": ANY}

# The recorder wants every message, late ones too, and asks for nothing that could exclude a publisher.
RECORD = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
RECORD_STATE = QoSProfile(
    depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
