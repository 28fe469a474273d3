"""Levels rise with success, fall with failure, and the best are spread over all of them."""

from __future__ import annotations

import torch

from sim.mdp.curriculum import CurriculumConfig, next_level

CFG = CurriculumConfig(enabled=True)


def judge(level=4, seconds=20.0, fell=False, hops=14.0, distance=6.0, commanded=8.0, n=1, top=9):
    def column(value, dtype=torch.float32):
        return torch.full((n,), value, dtype=dtype)

    return next_level(
        CFG, column(level, torch.long), top, column(seconds), 20.0, column(fell, torch.bool), column(hops),
        column(distance), column(commanded), torch.Generator().manual_seed(0),
    )  # fmt: skip


def test_success_promotes_and_failure_demotes():
    assert judge().item() == 5
    assert judge(hops=10.9).item() == 4  # under 0.55 hops/s
    assert judge(distance=4.7).item() == 4  # under 0.6 of the way
    assert judge(distance=2.3).item() == 3  # under 0.3 of the way
    assert judge(fell=True, seconds=9.9).item() == 3
    assert judge(fell=True, seconds=10.1, hops=7.0).item() == 4


def test_levels_stay_in_range_and_masters_are_spread():
    assert judge(level=0, fell=True, seconds=1.0).item() == 0
    spread = judge(level=9, n=500)
    assert spread.min() == 0 and spread.max() == 9 and len(spread.unique()) == 10


def test_a_robot_told_to_stay_is_not_demoted_for_staying():
    assert judge(commanded=0.0, distance=-0.1).item() == 5
