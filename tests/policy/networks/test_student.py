"""Students: spreads and tokens, and what becomes of a Gaussian teacher that is read as tokens."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.distill.config import DivergenceConfig
from policy.distill.losses import average, divergence
from policy.export.c import TOLERANCE, compiled, header, infer
from policy.export.c_code import translate
from policy.networks.config import StudentConfig
from policy.networks.distributions import Categorical, Gaussian, gaussian
from policy.networks.policy_file import ZOO
from policy.networks.student import ActionBins, Student, joint_bins, tokenise
from policy.runtime.card import Card
from sim.errors import LunarError
from sim.spec.joints import LOWER, UPPER
from sim.spec.observation import PRONK_OBSERVATION

CARD = Card.load(ZOO / "pronk" / "card.json")
BINS = joint_bins(CARD, 64)
AGES = (0, 1, 2)
TOKENS = StudentConfig(head="tokens", ages=AGES)


def observations(n=200):
    return torch.randn(n, PRONK_OBSERVATION.size, generator=torch.Generator().manual_seed(0))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 300), st.lists(st.floats(-20, 20), min_size=12, max_size=12))
def test_a_token_is_within_half_a_bin_of_its_action(count, action):
    bins = joint_bins(CARD, count)
    action = torch.tensor(action)
    token = bins.encode(action)
    assert ((token >= 0) & (token < count)).all() and torch.equal(bins.encode(bins.decode(token)), token)
    inside = action.clamp(bins.low, bins.high)
    assert ((bins.decode(token) - inside).abs() <= 0.5001 * bins.width + 1e-5).all()


def test_the_bins_span_the_joints_whole_range():
    targets = [CARD.targets(x.numpy()) for x in (BINS.low, BINS.high)]
    np.testing.assert_allclose(targets, [LOWER, UPPER], atol=1e-5)


def test_entropies_of_tokens_are_bounded():
    torch.manual_seed(0)
    student = Student(TOKENS, PRONK_OBSERVATION, bins=BINS)
    h = student.output(10 * observations()).entropy()
    assert h.shape == (200, 12) and (h >= 0).all() and (h <= math.log(64) + 1e-5).all()
    assert Categorical(torch.zeros(1, 64)).entropy().item() == pytest.approx(math.log(64))


def test_the_spread_depends_on_the_state_within_its_bounds():
    torch.manual_seed(0)
    cfg = StudentConfig(ages=AGES, std_low=0.1, std_high=0.6)
    output = Student(cfg, PRONK_OBSERVATION).output(5 * observations())
    std = output.log_std.exp()
    assert (std > 0.1).all() and (std < 0.6).all() and std.std(0).min() > 0.005
    assert output.entropy().std() > 0.05


@pytest.mark.parametrize("head", ["gaussian", "tokens"])
def test_what_a_robot_runs_is_the_mean_of_what_the_losses_see(head):
    torch.manual_seed(0)
    student = Student(StudentConfig(head=head, ages=AGES), PRONK_OBSERVATION, bins=BINS)
    x = 3 * observations()
    ran, output = student(x), student.output(x)
    if head == "gaussian":
        mean, std = output.mean, output.log_std.exp()
    else:
        centres = BINS.decode(torch.arange(64)[:, None]).T
        p = output.logits.softmax(-1)
        mean = (p * centres).sum(-1)
        std = (p * (centres - mean[..., None]).square()).sum(-1).sqrt()
    torch.testing.assert_close(ran.action, mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ran.std, std, atol=1e-5, rtol=1e-5)
    assert ran.estimate.shape == ran.latent.shape == (200, 0)


def test_the_spread_of_tokens_that_are_nearly_sure_is_as_exact_as_numbers_are():
    torch.manual_seed(0)
    student = Student(StudentConfig(head="tokens", ages=AGES), PRONK_OBSERVATION, bins=BINS)
    with torch.no_grad():
        student.net[-1].weight *= 40.0  # as training makes them
    x = 3 * observations()
    with torch.no_grad():
        ran, exact = student(x), student.double()(x.double())
    assert exact.std.min() < 0.01 * exact.std.max()
    torch.testing.assert_close(ran.std, exact.std.float(), atol=1e-5, rtol=1e-5)


def test_a_gaussian_teacher_as_tokens_keeps_its_mean_its_spread_and_its_kl():
    g = torch.Generator().manual_seed(1)
    fine = ActionBins(torch.full((12,), -8.0), torch.full((12,), 8.0), 512)
    a, b = (
        gaussian(0.5 * torch.randn(50, 12, generator=g), 0.7 + 0.5 * torch.rand(50, 12, generator=g)) for _ in range(2)
    )
    p, q = tokenise(a, fine, 1e-30), tokenise(b, fine, 1e-30)
    torch.testing.assert_close(p.logits.exp().sum(-1), torch.ones(50, 12), atol=1e-4, rtol=0)
    centres = fine.decode(torch.arange(512)[:, None]).T
    mean = (p.logits.exp() * centres).sum(-1)
    torch.testing.assert_close(mean, a.mean, atol=2e-3, rtol=0)
    exact = divergence(a, b)  # fine bins lose next to nothing of a divergence
    torch.testing.assert_close(divergence(p, q).sum(-1), exact, rtol=0.01, atol=1e-3)


def test_far_bins_of_a_sharp_teacher_stay_finite():
    sharp = gaussian(torch.tensor([[-30.0, 0.0, 30.0]]), torch.tensor(0.001))
    bins = ActionBins(torch.full((3,), -5.0), torch.full((3,), 5.0), 16)
    tokens = tokenise(sharp, bins)
    assert torch.isfinite(tokens.logits).all() and (tokens.logits >= math.log(1e-6) - 1e-3).all()
    assert tokens.logits[0, 0].argmax() == 0 and tokens.logits[0, 2].argmax() == 15


@pytest.mark.parametrize("head", ["gaussian", "tokens"])
def test_a_student_learns_its_teacher(head):
    torch.manual_seed(0)
    x = observations(400)
    teacher = Student(StudentConfig(ages=AGES, std_low=0.2), PRONK_OBSERVATION).output(x)
    teacher = Gaussian(teacher.mean.detach(), teacher.log_std.detach())
    bins = ActionBins(torch.full((12,), -2.0), torch.full((12,), 2.0), 16)
    student = Student(StudentConfig(head=head, ages=AGES, bins=16), PRONK_OBSERVATION, bins=bins)
    target = teacher if head == "gaussian" else tokenise(teacher, bins)
    optimizer = torch.optim.Adam(student.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = average(divergence(student.output(x), target, DivergenceConfig("reverse_kl")))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("head", ["gaussian", "tokens"])
@pytest.mark.parametrize("int8", [False, True])
def test_a_student_in_c_is_the_student(tmp_path, head, int8):
    torch.manual_seed(0)
    cfg = StudentConfig(head=head, ages=AGES, hidden=(32, 16), bins=16)
    bins = joint_bins(CARD, 16)
    student = Student(cfg, PRONK_OBSERVATION, bins=bins).eval()
    program = translate(student, int8)
    path = tmp_path / "student.h"
    path.write_text(header("student", CARD, program))
    x = observations(40)
    action, _ = infer(compiled(path, "student", tmp_path), x.numpy(), 12, 0)
    np.testing.assert_allclose(action, student(x).action.detach().numpy(), atol=0.02 if int8 else TOLERANCE)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: Student(replace(TOKENS, ages=(0, 4)), PRONK_OBSERVATION, bins=BINS), "sees frames"),
        (lambda: Student(TOKENS, PRONK_OBSERVATION), "needs 64 bins"),
        (lambda: Student(replace(TOKENS, bins=32), PRONK_OBSERVATION, bins=BINS), "needs 32 bins"),
        (lambda: Student(StudentConfig(ages=AGES, std_low=0.0), PRONK_OBSERVATION), "std_low"),
        (lambda: ActionBins(torch.zeros(3), torch.zeros(3), 8), "does not rise"),
        (lambda: ActionBins(torch.zeros(3), torch.ones(3), 1), "at least 2"),
        (lambda: tokenise(gaussian(torch.zeros(1, 12), torch.tensor(1.0)), BINS, 0.1), "floor is 0.1"),
        (lambda: tokenise(Gaussian(torch.zeros(1, 12), torch.full((1, 12), math.nan)), BINS), "std of the teacher"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(mistake, message):
    with pytest.raises(LunarError, match=message):
        mistake()


def test_softer_targets_share_a_bin_with_its_neighbours_and_keep_the_mean():
    teacher = gaussian(torch.rand(5, 12) - 0.5, torch.tensor(1e-3))
    hard, soft = tokenise(teacher, BINS), tokenise(teacher, BINS, neighbours=1.0)
    assert (hard.logits.softmax(-1).max(-1).values > 0.9).float().mean() > 0.9
    most = soft.logits.softmax(-1).max(-1)
    assert (most.values < 0.5).all()
    torch.testing.assert_close(BINS.mean(soft), teacher.mean, atol=0.02 * float(BINS.width.max()), rtol=0)
