"""Which positions (TIP), which cells (PACED) and which of two actions (SODA) the student learns from."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.distill import positions
from policy.distill.losses import average
from policy.distill.methods import dpo
from policy.networks.distributions import Categorical, Gaussian
from sim.errors import LunarError


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 400), st.floats(1e-6, 1.0), st.integers(0, 2**31))
def test_selection_keeps_exactly_the_share_asked_for(n, rho, seed):
    g = torch.Generator().manual_seed(seed)
    score = torch.rand(n, generator=g).round(decimals=1)  # with ties
    for kept in (positions.top(score, rho), positions.sample(score, rho, g)):
        assert rho * n - 1e-6 <= len(kept) < rho * n + 1 + 1e-6
        assert len(kept) == len(set(kept.tolist())) and (kept.diff() > 0).all()
    best = positions.top(score, rho)
    assert score[best].min() >= score.sort(descending=True).values[len(best) - 1]


def test_a_share_is_the_number_that_was_written():
    assert positions.budget(100, 0.07) == 7 and positions.budget(100, 0.071) == 8 and positions.budget(3, 1e-9) == 1
    assert positions.budget(0, 0.5) == 0 and positions.budget(9, 1.0) == 9


def test_scores_tell_the_four_regions_apart():
    #                 sure, right | unsure, right | unsure, wrong | sure, wrong
    h = torch.tensor([0.0, 2.0, 2.0, 0.0])
    d = torch.tensor([0.0, 0.0, 5.0, 5.0])
    expected = {
        "entropy": [0, 1, 1, 0],
        "divergence": [0, 0, 1, 1],
        "product": [0, 0, 1, 0],
        "soft_or": [0, 1, 1, 1],
        "q3": [0, 0, 0, 1],
    }
    for kind, values in expected.items():
        assert positions.scores(h, d, kind).tolist() == values
    scale = positions.scores(3 * h + 1, 0.1 * d - 7, "soft_or")  # only the rank within the batch and its spacing count
    torch.testing.assert_close(scale, positions.scores(h, d, "soft_or"))


def test_a_clipped_scale_survives_an_outlier():
    x = torch.cat([torch.linspace(0, 1, 999), torch.tensor([1e6])])
    assert positions.min_max(x)[500] < 1e-5 and positions.min_max(x, 0.99)[500] == pytest.approx(0.5, abs=0.02)
    assert positions.min_max(x, 0.99).max() == 1
    assert (positions.min_max(torch.full((5,), 3.0)) == 0).all() and len(positions.min_max(torch.empty(0))) == 0


def test_sampling_follows_the_scores_and_takes_zeros_last():
    g = torch.Generator().manual_seed(0)
    score = torch.tensor([0.0] * 50 + [0.1] * 25 + [0.9] * 25)
    counts = torch.zeros(100)
    for _ in range(400):
        counts[positions.sample(score, 0.1, g)] += 1
    assert counts[:50].sum() == 0
    assert 5 < counts[75:].sum() / counts[50:75].sum() < 13  # 9 with replacement, less without


def test_random_scores_are_a_control_that_repeats_by_seed():
    h = torch.rand(1000, generator=torch.Generator().manual_seed(1))
    a, b = (positions.scores(h, h, "random", generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b) and abs(torch.corrcoef(torch.stack([a, h]))[0, 1]) < 0.1


def test_smoothed_rates_are_never_certain():
    rate = positions.success_rate(torch.tensor([0.0, 5.0, 10.0]), 10, smoothing=0.5)
    torch.testing.assert_close(rate, torch.tensor([0.5 / 11, 0.5, 10.5 / 11]))
    assert positions.success_rate(torch.zeros(1), 0).item() == 0.5


@settings(max_examples=50, deadline=None)
@given(st.floats(0.2, 4), st.floats(0.2, 4), st.floats(0, 0.5))
def test_the_frontier_has_the_largest_weight(alpha, beta, floor):
    rate = torch.linspace(0, 1, 2001, dtype=torch.float64)
    w = positions.cell_weights(rate, alpha, beta, floor)
    assert w.max() <= 1 + 1e-12 and w.min() >= floor
    assert rate[w.argmax()].item() == pytest.approx(alpha / (alpha + beta), abs=2e-3)
    assert w[0] == w[-1] == floor


def test_equal_exponents_of_zero_are_the_uniform_control():
    rate = torch.rand(10)
    assert torch.equal(positions.cell_weights(rate, 0.0, 0.0), torch.ones(10))
    assert positions.hard_filter(torch.tensor([0.05, 0.1, 0.5, 0.9, 0.95])).tolist() == [0, 1, 1, 1, 0]


def test_cells_are_drawn_in_proportion_to_their_weights():
    g = torch.Generator().manual_seed(0)
    cells = positions.sample_cells(torch.tensor([0.0, 1.0, 3.0]), 4000, g)
    counts = cells.bincount(minlength=3)
    assert counts[0] == 0 and counts[2] / counts[1] == pytest.approx(3, rel=0.15)


@pytest.mark.parametrize("head", ["gaussian", "tokens"])
def test_preference_learning_raises_the_teachers_action_over_the_snapshots(head):
    g = torch.Generator().manual_seed(0)
    if head == "gaussian":
        parameter = torch.zeros(8, 3, requires_grad=True)
        good, bad = torch.ones(8, 3), -torch.ones(8, 3)

        def log_prob(action):
            return Gaussian(parameter, torch.zeros(8, 3)).log_prob(action)
    else:
        parameter = torch.randn(8, 3, 5, generator=g).requires_grad_()
        good, bad = torch.full((8, 3), 4), torch.full((8, 3), 1)

        def log_prob(action):
            return Categorical(parameter).log_prob(action).sum(-1)

    reference = log_prob(good).detach(), log_prob(bad).detach()
    start = dpo(log_prob(good), log_prob(bad), *reference, beta=0.5)
    torch.testing.assert_close(start, torch.full((8,), math.log(2)))
    optimizer = torch.optim.SGD([parameter], 0.5)
    for _ in range(20):
        optimizer.zero_grad()
        loss = average(dpo(log_prob(good), log_prob(bad), *reference, beta=0.5))
        loss.backward()
        optimizer.step()
    assert loss < 0.9 * math.log(2)
    assert ((log_prob(good) - reference[0]) > (log_prob(bad) - reference[1])).all()


def test_the_preference_loss_by_its_formula_and_finite_differences():
    a, b, c, d = torch.randn(4, 6, dtype=torch.float64)
    expected = -torch.log(torch.sigmoid(0.3 * ((a - c) - (b - d))))
    torch.testing.assert_close(dpo(a, b, c, d, 0.3), expected)
    assert torch.autograd.gradcheck(lambda x, y: dpo(x, y, c, d, 0.3), (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: positions.top(torch.ones(4), 0.0), "rho is 0.0"),
        (lambda: positions.top(torch.ones(4), 1.01), "rho is 1.01"),
        (lambda: positions.sample(torch.ones(4), math.nan), "rho is nan"),
        (lambda: positions.scores(torch.ones(4), torch.ones(4), "best"), "score is 'best'"),
        (lambda: positions.min_max(torch.tensor([1.0, math.nan])), "not a number"),
        (lambda: positions.min_max(torch.ones(3), 0.3), "quantile is 0.3"),
        (lambda: positions.success_rate(torch.tensor([11.0]), 10), "more successes than rollouts"),
        (lambda: positions.success_rate(torch.tensor([1.0]), 10, 0.0), "smoothing is 0.0"),
        (lambda: positions.cell_weights(torch.tensor([1.2])), "outside 0 to 1"),
        (lambda: positions.cell_weights(torch.tensor([0.5]), alpha=-1), "must not be negative"),
        (lambda: positions.cell_weights(torch.tensor([0.5]), floor=2), "floor is 2"),
        (lambda: positions.hard_filter(torch.tensor([0.5]), 0.9, 0.1), "must rise"),
        (lambda: positions.sample_cells(torch.zeros(3), 5), "all weights are zero"),
        (lambda: dpo(*torch.zeros(4, 1), beta=0.0), "beta is 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(mistake, message):
    with pytest.raises(LunarError, match=message):
        mistake()
