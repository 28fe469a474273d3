"""Where trials start, who counts as having survived them, and what success rates make of both."""

from __future__ import annotations

import pytest
import torch

from policy.distill.cells import SPEEDS, CellWorld, SuccessRates
from policy.distill.config import CellsConfig
from policy.distill.job import Job
from policy.distill.teachers import load_teacher
from policy.networks.student import Student
from sim.errors import LunarError
from sim.tasks.config import WorldConfig
from sim.terrain.generators import LEVELS, TerrainConfig

STEPS = 5  # of a trial
WORLD = WorldConfig(
    num_envs=40, episode_length=0.02 * STEPS, terrain=TerrainConfig("mare", size=8.0, resolution=0.2),
    other_terrains=("rough",),
)  # fmt: skip
CPU = torch.device("cpu")


def world(choose):
    return CellWorld(WORLD, 1, "cpu", 1, choose)


def assert_in_cells(w: CellWorld) -> None:
    """Ground and speed of every robot are those of its cell."""
    assert torch.equal(w.physics.level, w.cell // SPEEDS)
    low, high = WORLD.commands.vx
    fast = w.command[:, 0] > 0.5 * (low + high)
    assert torch.equal(fast, w.cell % SPEEDS == 1)
    assert ((w.command[:, 0] >= low) & (w.command[:, 0] <= high)).all()


def test_trials_start_in_the_cells_that_were_chosen():
    chosen: list[torch.Tensor] = []

    def choose(count: int) -> torch.Tensor:
        chosen.append((torch.arange(count) + 7 * len(chosen)) % 40)
        return chosen[-1]

    w = world(choose)
    assert w.cells == 2 * LEVELS * SPEEDS == 40
    w.reset()
    assert torch.equal(w.cell, torch.arange(40))
    assert_in_cells(w)
    for _ in range(STEPS):
        before = w.cell.clone()
        ended = w.step(torch.zeros(40, 12)).ended
        if len(ended):
            assert torch.equal(w.cell[ended], chosen[-1])
        going = torch.ones(40, dtype=torch.bool).index_fill(0, ended, False)
        assert torch.equal(w.cell[going], before[going]), "a trial stays in its cell"
        assert_in_cells(w)
    assert sum(map(len, chosen)) == 80, "each trial ended once within its length"


def test_a_trial_succeeds_when_the_robot_hops_and_does_not_fall():
    w = world(lambda count: torch.arange(count))
    w.reset()
    w.steps[:] = 0
    w.drain()
    fallen = torch.tensor([3, 17])
    pose, speed = w.physics.qpos[fallen].clone(), w.physics.qvel[fallen].clone()
    pose[:, 3:7] = torch.tensor([0.0, 1.0, 0.0, 0.0])  # on their backs
    w.physics.reset(fallen, pose, speed)
    w.step(torch.zeros(40, 12))
    cells, success = w.drain()
    assert cells.tolist() == [3, 17] and success.tolist() == [0.0, 0.0]
    assert w.falls == 2
    w.cell[fallen] = fallen  # where the new trials are does not matter here
    w.began[:] = -round(3.0 / w.dt)  # as if all had lasted for over 3 s ...
    w.began[:10] = 0  # ... but ten
    w.hops.hops[:] = torch.arange(40).numpy() % 2  # and every second one had hopped
    for _ in range(STEPS - 1):
        w.step(torch.zeros(40, 12))
    cells, success = w.drain()
    assert cells.tolist() == [c for c in range(10, 40) if c != 17], "a trial too short tells nothing"
    assert torch.equal(success, (cells % 2).float()), "who stands still has not done what it was told"
    assert w.falls == 2 and not len(w.drain()[0]), "each trial counts once"


def test_old_trials_are_forgotten_at_the_stated_pace():
    rates = SuccessRates(CellsConfig(memory=0.5, smoothing=0.5), 3, CPU)
    assert rates.rates().tolist() == [0.5] * 3, "nobody knows"
    rates.add(torch.tensor([0, 0, 0, 1]), torch.tensor([1.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(rates.rates(), torch.tensor([2.5 / 4, 1.5 / 2, 0.5]))
    rates.add(torch.tensor([0]), torch.tensor([0.0]))
    torch.testing.assert_close(rates.rates(), torch.tensor([1.5 / 3.5, 1.0 / 1.5, 0.5]))
    for _ in range(30):
        rates.add(torch.tensor([0, 0]), torch.tensor([0.0, 0.0]))
    torch.testing.assert_close(rates.rates()[0], torch.tensor(0.5 / 5))  # 2 a time at half the memory are 4


def known(cfg: CellsConfig, *rate: float) -> SuccessRates:
    """After a thousand trials in every cell."""
    rates = SuccessRates(cfg, len(rate), CPU)
    rates.tried[:] = 1000.0
    rates.successes[:] = 1000.0 * torch.tensor(rate)
    return rates


def test_paced_weighs_what_sometimes_succeeds_most():
    weights = known(CellsConfig(rule="paced", floor=0.05), 0.0, 0.1, 0.5, 0.9, 1.0).weights()
    torch.testing.assert_close(weights / weights.max(), torch.tensor([0.05, 0.36, 1.0, 0.36, 0.05]), atol=2e-3, rtol=0)
    assert known(CellsConfig(rule="uniform"), 0.0, 1.0).weights().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("rule", ["paced", "hard_filter"])
def test_a_rule_says_nothing_of_cells_with_too_few_trials(rule):
    rates = known(CellsConfig(rule=rule, least=8.0), 0.0, 0.5, 1.0, 0.0, 1.0)
    rates.tried[3:] = 7.9
    rates.successes[3:] = torch.tensor([0.0, 7.9])
    weights = rates.weights()
    assert weights[3:].tolist() == [1.0, 1.0] and weights[1] >= 1.0 > max(weights[0], weights[2])


def test_a_hard_filter_that_leaves_nothing_lets_everything_pass():
    cfg = CellsConfig(rule="hard_filter", low=0.1, high=0.9)
    assert known(cfg, 0.0, 0.5, 1.0).weights().tolist() == [0.0, 1.0, 0.0]
    assert known(cfg, 0.0, 0.01, 1.0).weights().tolist() == [1.0, 1.0, 1.0]


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(LunarError, match="all weights are zero"):
        known(CellsConfig(rule="paced", floor=0.0, alpha=1000.0), 0.1, 0.2).weights()


def test_the_sampler_starts_few_trials_where_the_student_always_fails(config):
    cfg = config(cells=CellsConfig(rule="paced", use="sampler", floor=0.05))
    teacher = load_teacher(cfg.teacher)
    job = Job(cfg, teacher, Student(cfg.student, teacher.card.observation), cfg.student.ages)
    job.rates.tried[:] = 1000.0
    job.rates.successes[:] = 1000.0 * (torch.arange(job.world.cells) < 10) * 0.5  # half succeed in ten, none elsewhere
    counts = job.world.choose(4000).bincount(minlength=job.world.cells)
    assert counts[:10].sum() / counts[10:].sum() == pytest.approx(10 / (10 * 0.05), rel=0.2)
    assert counts[10:].min() > 0, "no cell is forgotten"
