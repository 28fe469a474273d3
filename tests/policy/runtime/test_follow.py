"""Following paths: robots that do as told stay on theirs, arrive, and never go back a segment."""

from __future__ import annotations

import numpy as np
import pytest

from policy.runtime.follow import NEAR, Follower

PATHS = np.array([
    [[0, 0], [3, 0], [6, 0], [9, 0]], [[0, 0], [3, 0], [3, 3], [3, 3]], [[1, 1], [-1, -1], [-3, -1], [-3, -4]],
], dtype=float)  # fmt: skip


def walk(follower: Follower, position: np.ndarray, yaw: np.ndarray, speed: float, steps: int, dt: float = 0.02):
    """Robots that do exactly as told."""
    segments, aside = [], []
    for _ in range(steps):
        vx, vy, turn = follower.step(position, yaw, np.full(len(yaw), speed)).T
        segments.append(follower.segment.copy())
        aside.append(follower.aside.copy())
        vx, vy, turn = (np.where(follower.arrived, 0.0, v) for v in (vx, vy, turn))
        position = position + dt * np.stack(
            [vx * np.cos(yaw) - vy * np.sin(yaw), vx * np.sin(yaw) + vy * np.cos(yaw)], 1
        )
        yaw = yaw + dt * turn
    return position, np.array(segments), np.array(aside)


@pytest.mark.parametrize("speed", [0.2, 0.55])
@pytest.mark.parametrize("off", [0.0, 0.4])
def test_robots_arrive_and_stay_near_their_paths(speed, off):
    follower = Follower(PATHS)
    yaw = np.arctan2(*(PATHS[:, 1] - PATHS[:, 0]).T[::-1]) + off
    position, segments, aside = walk(follower, PATHS[:, 0] + off / 4, yaw, speed, round(12.0 / speed / 0.02))
    assert follower.arrived.all() and np.all(np.hypot(*(position - PATHS[:, -1]).T) < 2 * NEAR)
    assert np.all(np.diff(segments, axis=0) >= 0) and segments[-1].tolist() == [2, 1, 2]
    assert aside.max() < 1.0


def test_commands_stay_within_what_policies_know():
    rng = np.random.default_rng(0)
    follower = Follower(np.repeat(PATHS[:1], 200, axis=0))
    vx, vy, turn = follower.step(rng.normal(size=(200, 2)), rng.uniform(-9, 9, 200), np.full(200, 0.55)).T
    assert vx.min() >= 0.0 and vx.max() <= 0.55 and np.abs(vy).max() <= 0.2 and np.abs(turn).max() <= 0.4


def test_progress_does_not_fall_and_ends_at_the_length():
    follower = Follower(PATHS[:1])
    for x, expected in ((2.0, 2.0), (1.0, 2.0), (20.0, 9.0)):
        follower.step(np.array([[x, 0.3]]), np.zeros(1), np.ones(1))
        assert follower.progress[0] == pytest.approx(expected)
    assert follower.aside[0] == pytest.approx(0.3) and follower.total[0] == 9.0
