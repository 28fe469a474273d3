"""Gravity, one home for each constant."""

MOON = 1.62  # m/s^2, mean surface gravity (NASA Moon Fact Sheet)
EARTH = 9.81  # m/s^2
OFFLOAD_FRACTION = 1.0 - MOON / EARTH  # 0.8349: share of the weight that the rig carries


def lunar_weight(mass: float) -> float:
    """Lunar body weight M * 1.62, in newtons."""
    return mass * MOON
