"""Levels rise with success, fall with failure, and masters go where robots fall."""

from __future__ import annotations

import torch

from sim.mdp.config import CurriculumConfig
from sim.mdp.curriculum import Curriculum
from sim.terrain.generators import LEVELS

CFG = CurriculumConfig(enabled=True)
TOP = LEVELS - 1


def judge(level=4, seconds=20.0, fell=False, hops=14.0, distance=6.0, commanded=8.0, n=1, curriculum=None):
    def column(value, dtype=torch.float32):
        return torch.full((n,), value, dtype=dtype)

    curriculum = curriculum or Curriculum(CFG, 1, torch.device("cpu"))
    return curriculum.next(
        column(level, torch.long), column(seconds), 20.0, column(fell, torch.bool), column(hops), column(distance),
        column(commanded), torch.Generator().manual_seed(0),
    )  # fmt: skip


def test_success_promotes_and_failure_demotes():
    assert judge().item() == 5
    assert judge(hops=10.9).item() == 4  # under 0.55 hops/s
    assert judge(distance=4.7).item() == 4  # under 0.6 of the way
    assert judge(distance=2.3).item() == 3  # under 0.3 of the way
    assert judge(fell=True, seconds=9.9).item() == 3
    assert judge(fell=True, seconds=10.1, hops=7.0).item() == 4


def test_kinds_of_ground_keep_apart():
    curriculum = Curriculum(CFG, 3, torch.device("cpu"))
    assert judge(level=LEVELS + 4, curriculum=curriculum).item() == LEVELS + 5
    assert judge(level=2 * LEVELS, fell=True, seconds=1.0, curriculum=curriculum).item() == 2 * LEVELS


def test_levels_stay_in_range_and_masters_are_spread():
    assert judge(level=0, fell=True, seconds=1.0).item() == 0
    spread = judge(level=TOP, n=500)
    assert spread.min() == 0 and spread.max() == TOP and len(spread.unique()) == LEVELS


def test_masters_return_to_hard_levels_and_most_where_robots_fall():
    curriculum = Curriculum(CurriculumConfig(enabled=True, return_to=6), 2, torch.device("cpu"))
    for _ in range(50):
        judge(level=LEVELS + 8, fell=True, seconds=1.0, n=20, curriculum=curriculum)
    drawn = judge(level=TOP, n=2000, curriculum=curriculum)
    assert (drawn % LEVELS >= 6).all()
    share = torch.bincount(drawn, minlength=2 * LEVELS) / len(drawn)
    assert share[LEVELS + 8] > 0.5 and share[6] > 0.02, "one in ten of a sure fall's weight is kept for the rest"


def test_a_robot_told_to_stay_is_not_demoted_for_staying():
    assert judge(commanded=0.0, distance=-0.1).item() == 5
