"""What each method must do, whatever it learns: on flat ground, in moments, of policies without skill."""

from __future__ import annotations

import copy
import csv
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from matrix_hil.cli import main as lunar
from policy.distill import methods
from policy.distill.config import (
    CellsConfig,
    DivergenceConfig,
    LearningConfig,
    OpsdcConfig,
    PositionsConfig,
    SodaConfig,
)
from policy.distill.distill import distill
from policy.distill.job import Job
from policy.distill.losses import divergence
from policy.distill.teachers import load_teacher
from policy.networks.actor import Actor
from policy.networks.config import EncoderConfig, ModelConfig, StudentConfig
from policy.networks.policy_file import ZOO, load_actor, load_weights, save_policy
from policy.networks.student import Student, joint_bins
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy
from sim.spec.observation import PRONK_OBSERVATION

METHODS = ["on_policy", "dagger", "bc", "soda", "opsdc"]
POSITIONS = 16 * 8  # of a rollout
TOKENS = StudentConfig(head="tokens", hidden=(16,), frame=(8,), ages=(0, 1, 2), bins=16)


def progress(results: dict) -> list[dict[str, float]]:
    """Rows of progress.csv."""
    with (Path(results["policy"]) / "progress.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def weights(results: dict) -> dict[str, torch.Tensor]:
    return load_weights(Path(results["policy"]))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_writes_a_policy_like_any_other(method, config):
    results = distill(config(method=method), "lunar distill (test)")
    student, card = load_actor(results["policy"])
    assert card.training["command"] == "lunar distill (test)" and card.training["method"] == method
    assert card.training["steps"] == results["steps"] == 4 * POSITIONS and not card.metrics
    assert all(torch.isfinite(p).all() for p in student.parameters())
    rows = progress(results)
    assert rows[-1]["steps"] == 4 * POSITIONS and rows[-1]["kept"] > 0 and math.isfinite(rows[-1]["loss"])
    assert {"pronks_per_20s", "falls_per_20s", "success"} <= rows[-1].keys()


def test_a_student_is_exported_to_onnx_and_c(config):
    results = distill(config(updates=1, student=TOKENS), "test")
    lunar(["export", "--policy", results["policy"], "--c"])  # which compares all with torch
    folder = Path(results["policy"])
    assert (folder / "policy.h").is_file() and (folder / "policy_int8.h").is_file()
    policy = OnnxPolicy(folder)
    x = torch.randn(20, policy.card.observation.size)
    torch.testing.assert_close(
        torch.from_numpy(policy.infer(x.numpy()).action), load_actor(folder)[0](x).action, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("method", ["on_policy", "soda", "opsdc"])
def test_the_same_seed_gives_the_same_student_bit_by_bit(method, config):
    free = method == "on_policy"
    changes = (
        {"positions": PositionsConfig("random", draw=True), "cells": CellsConfig("paced", "sampler")} if free else {}
    )
    first, again, other = (
        weights(distill(config(method=method, updates=2, out=str(k), seed=seed, **changes), "test"))
        for k, seed in enumerate((3, 3, 4))
    )
    assert same(first, again) and not same(first, other)


@pytest.mark.parametrize("kind", ["reverse_kl", "mse"])
def test_on_policy_the_student_comes_nearer_to_its_teacher_where_it_goes_itself(kind, config):
    cfg = config(ZOO / "mlp", updates=8, divergence=DivergenceConfig(kind), learning=LearningConfig(5e-3, minibatch=64))
    losses = [row["loss"] for row in progress(distill(cfg, "test"))]
    assert losses[-1] < 0.6 * losses[0]


def test_on_policy_only_the_student_acts_and_the_teacher_is_asked_at_its_states(config, monkeypatch):
    collected: list[dict] = []
    collect = Job.collect

    def spy(self, **how):
        collected.append(how)
        samples = collect(self, **how)
        torch.testing.assert_close(samples.action, self.student(samples.observation).action)
        return samples

    monkeypatch.setattr(Job, "collect", spy)
    distill(config(), "test")
    assert collected == [{}] * 4


@pytest.mark.parametrize(
    ("score", "rho", "draw"), [("soft_or", 0.3, False), ("q3", 0.01, False), ("random", 1.0, True)]
)
def test_tip_learns_from_exactly_the_share_asked_for(score, rho, draw, config):
    results = distill(config(updates=2, student=TOKENS, positions=PositionsConfig(score, rho, draw=draw)), "test")
    assert {row["kept"] for row in progress(results)} == {math.ceil(rho * POSITIONS)}


def test_single_tokens_are_positions_too(config):
    chosen = PositionsConfig("soft_or", 0.3, unit="token")
    rows = progress(distill(config(updates=2, student=TOKENS, positions=chosen, cells=CellsConfig("paced")), "test"))
    assert {row["kept"] for row in rows} == {math.ceil(0.3 * 12 * POSITIONS)}
    assert all(math.isfinite(row["loss"]) and row["loss"] > 0 for row in rows)


def test_all_tokens_weigh_as_much_as_all_steps(config):
    """What is learnt is the same to rounding, whatever the order in which its terms are added."""
    steps, tokens = (
        weights(distill(config(updates=1, student=TOKENS, positions=chosen, out=chosen.unit), "test"))
        for chosen in (PositionsConfig("divergence", 1.0), PositionsConfig("divergence", 1.0, unit="token"))
    )
    for name, value in steps.items():
        torch.testing.assert_close(value, tokens[name], atol=1e-5, rtol=1e-3)


def test_a_token_left_out_moves_no_logit_of_its_own(config):
    cfg = config(student=TOKENS, positions=PositionsConfig("divergence", 0.25, unit="token"))
    teacher = load_teacher(cfg.teacher)
    spec = replace(PRONK_OBSERVATION, ages=TOKENS.ages)
    with Job(cfg, teacher, Student(TOKENS, spec, bins=joint_bins(teacher.card, 16)), TOKENS.ages) as job:
        samples = job.collect()
        said = job.ask(samples.asked)
        steps, tokens = methods.select(job, samples, said)
    distance = divergence(samples.output, said)
    assert tokens.sum() == math.ceil(0.25 * 12 * POSITIONS) and distance[tokens].min() >= distance[~tokens].max()
    assert torch.equal(steps, tokens.any(-1).nonzero()[:, 0])


def test_positions_are_chosen_by_what_the_student_said_as_it_acted(config, monkeypatch):
    """That costs no pass of its own: no rows but those of the rollout and of minibatches go through the student."""
    seen: list[int] = []
    output = Student.output

    def spy(self, observation):
        seen.append(len(observation))
        return output(self, observation)

    monkeypatch.setattr(Student, "output", spy)
    distill(config(updates=1, positions=PositionsConfig("soft_or", 0.5)), "test")
    assert seen == [16] * 8 + [32] * 8  # half of each minibatch of 64, two of them in four passes


@pytest.mark.parametrize("kind", ["reverse_kl", "jsd"])
def test_positions_cells_and_divergences_compose(kind, config):
    cfg = config(
        updates=2, student=TOKENS, divergence=DivergenceConfig(kind), positions=PositionsConfig("product", 0.5),
        cells=CellsConfig("paced"), forward_until=0.5,
    )  # fmt: skip
    rows = progress(distill(cfg, "test"))
    assert all(math.isfinite(row["loss"]) and row["loss"] > 0 and row["kept"] == POSITIONS / 2 for row in rows)


def test_forward_kl_first_then_what_was_asked_for(config, monkeypatch):
    kinds: list[str] = []
    learn = methods.learn

    def spy(job, samples, said, cfg):
        kinds.append(cfg.kind)
        return learn(job, samples, said, cfg)

    monkeypatch.setattr(methods, "learn", spy)
    distill(config(updates=5, student=TOKENS, divergence=DivergenceConfig("jsd"), forward_until=0.5), "test")
    assert kinds == ["forward_kl"] * 2 + ["jsd"] * 3


def test_daggers_memory_grows_and_its_teacher_acts_once(config, monkeypatch):
    teacher_acts: list[bool] = []
    collect = Job.collect
    monkeypatch.setattr(
        Job, "collect", lambda job, **how: teacher_acts.append(how["teacher_acts"]) or collect(job, **how)
    )
    rows = progress(distill(config(method="dagger"), "test"))
    assert [row["kept"] for row in rows] == [POSITIONS * (k + 1) for k in range(4)]
    assert teacher_acts == [True, False, False, False]


@pytest.mark.parametrize("method", ["bc", "soda"])
def test_cloning_and_soda_take_no_rollout_of_the_student(method, config, monkeypatch):
    collect = Job.collect

    def spy(self, **how):
        before = copy.deepcopy(self.student.state_dict())
        samples = collect(self, **how)
        assert how == {"teacher_acts": True} and same(before, self.student.state_dict())
        torch.testing.assert_close(samples.action, self.teacher(samples.asked).mean)
        return samples

    monkeypatch.setattr(Job, "collect", spy)
    distill(config(method=method), "test")


def test_sodas_preference_ends_below_the_loss_of_not_having_one(config):
    cfg = config(ZOO / "mlp", method="soda", student=TOKENS, soda=SodaConfig(passes=8, warm_up=0.5))
    last = progress(distill(cfg, "test"))[-1]
    assert last["kept"] == 4 * POSITIONS and last["loss"] < math.log(2)


def test_soda_always_comes_to_preferring(config, monkeypatch):
    passes: list[int] = []
    minibatches = Job.minibatches

    def spy(self, rows: torch.Tensor, epochs: int, of: int) -> Iterator[torch.Tensor]:
        passes.append(epochs)
        return minibatches(self, rows, epochs, of)

    monkeypatch.setattr(Job, "minibatches", spy)
    distill(config(method="soda", soda=SodaConfig(passes=4, warm_up=0.99, snapshot=0.5)), "test")
    assert passes == [2, 1, 1]  # half of the warm-up, the snapshot, the rest, and preference


@pytest.mark.parametrize("patience", [0, 1])
def test_the_warm_up_ends_where_a_held_out_part_is_met_no_better_and_its_best_goes_on(patience, config, monkeypatch):
    """The likelihood there falls from the third pass on."""
    held = iter([-3.0, -2.0, -4.0, *[-9.0] * 90])
    after: list[dict[str, torch.Tensor]] = []
    log_probs = methods._log_probs

    def scripted(job, observation, action):
        if len(observation) == 4 * POSITIONS:
            return log_probs(job, observation, action)  # of the reference, over everything
        after.append(copy.deepcopy(job.student.state_dict()))
        return torch.full((len(observation),), next(held))

    starts: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(methods, "_log_probs", scripted)
    monkeypatch.setattr(methods, "_own_actions", lambda job, x: torch.zeros(len(x), 12))
    passes = methods._passes

    def spy(job, name, *given):
        if name == "prefer":
            starts.append(copy.deepcopy(job.student.state_dict()))
        return passes(job, name, *given)

    monkeypatch.setattr(methods, "_passes", spy)
    distill(config(method="soda", soda=SodaConfig(passes=10, warm_up=0.6, patience=patience)), "test")
    assert len(after) == (3 if patience else 0)
    assert not patience or same(starts[0], after[1])


def test_of_a_log_of_one_state_nothing_is_held_out(config):
    cfg = config(method="soda")
    student = Student(cfg.student, replace(PRONK_OBSERVATION, ages=cfg.student.ages))
    with Job(cfg, load_teacher(cfg.teacher), student, cfg.student.ages) as job:
        samples = job.collect(teacher_acts=True)
        methods.imitate(job, samples.observation[:1], samples.action[:1], 2, (0.0, 1.0), patience=1)
    assert job.rows[-1]["kept"] == 1 and math.isfinite(job.rows[-1]["loss"])


def test_a_disturbed_teacher_goes_elsewhere_and_its_mean_is_the_lesson(config):
    seen = []
    for noise in (0.0, 0.5):
        cfg = config(method="bc", noise=noise)
        student = Student(cfg.student, replace(PRONK_OBSERVATION, ages=cfg.student.ages))
        with Job(cfg, load_teacher(cfg.teacher), student, cfg.student.ages) as job:
            samples = job.collect(teacher_acts=True)
        torch.testing.assert_close(samples.action, job.teacher(samples.asked).mean)
        seen.append(samples.observation)
    assert torch.equal(seen[0][:16], seen[1][:16]) and not torch.allclose(seen[0][16:], seen[1][16:], atol=0.05)


def test_cloning_raises_the_likelihood_of_what_the_teacher_did(config):
    cfg = config(ZOO / "mlp", method="bc", learning=LearningConfig(5e-3, epochs=16, minibatch=64))
    student = Student(cfg.student, replace(PRONK_OBSERVATION, ages=cfg.student.ages))
    with Job(cfg, load_teacher(cfg.teacher), student, cfg.student.ages) as job:
        observation, action = methods._demonstrated(job)
        before = job.student.output(observation).log_prob(action).mean()
        methods.imitate(job, observation, action, cfg.learning.epochs, (0.0, 1.0))
        assert job.student.output(observation).log_prob(action).mean() > before + 3.0


# ---- a policy that teaches itself -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dual(trained, tmp_path_factory) -> Path:
    """Folder of a policy with an internal model, to which economy makes a difference."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dual")
    card = Card.load(trained / "card.json")
    encoder = EncoderConfig(ages=(0, 1, 2), estimates=("vz", "height"), latent=4, frame=(8,), hidden=(8,))
    model = ModelConfig(hidden=(16,), encoders={"short": encoder})
    actor = Actor(model, card.observation)
    with torch.no_grad():
        actor.head[-1].weight.mul_(100.0)
        actor.head[0].weight[:, actor.newest + len(card.observation.command) - 1].mul_(20.0)
    save_policy(folder, actor, replace(card, model=asdict(model)))
    return folder


def test_opsdc_moves_the_untold_policy_to_the_thrifty_one_and_leaves_its_internal_model(dual, config):
    results = distill(config(dual, method="opsdc", updates=9, opsdc=OpsdcConfig(refresh=8, before=1)), "test")
    before, after = load_weights(dual), weights(results)
    for name in before:
        assert torch.equal(before[name], after[name]) != name.startswith("head."), name
    losses = [row["loss"] for row in progress(results)][1:]  # at the states that it visits, of one teacher
    assert losses[-1] < 0.5 * losses[0]


def test_opsdc_of_a_student_moves_all_of_it(dual, config):
    taught = distill(config(dual, updates=1, out="taught"), "test")["policy"]
    results = distill(config(taught, method="opsdc", updates=3), "test")
    before, after = load_weights(Path(taught)), weights(results)
    assert not any(torch.equal(before[name], after[name]) for name in before)


def test_opsdc_is_told_nothing_while_it_acts(dual, config, monkeypatch):
    collect = Job.collect

    def spy(self, **how):
        samples = collect(self, **how)
        assert not samples.observation[:, -1].any()
        return samples

    monkeypatch.setattr(Job, "collect", spy)
    distill(config(dual, method="opsdc", updates=2), "test")


@pytest.mark.parametrize(
    ("tolerance", "memory", "updates", "kept"), [(0.04, 0.0, 4, 2), (0.04, 0.5, 4, 1), (0.06, 0.0, 6, None)]
)
def test_a_violated_gate_ends_opsdc_with_the_last_policy_that_passed_it(
    tolerance, memory, updates, kept, dual, config, monkeypatch
):
    """Success is 1 before training and in its first two updates, 0.95 from then on; where trials of an update before
    count as much, what is kept is one update older."""
    states: list[dict[str, torch.Tensor]] = []
    note = Job._note

    def scripted(self: Job) -> None:
        note(self)
        states.append(copy.deepcopy(self.student.state_dict()))
        self.skill["success"] = 1.0 if len(states) <= 3 else 0.95

    monkeypatch.setattr(Job, "_note", scripted)
    gate = OpsdcConfig(refresh=3, look=1, before=1, tolerance=tolerance)
    cfg = config(dual, method="opsdc", updates=6, opsdc=gate, cells=CellsConfig(memory=memory))
    results = distill(cfg, "test")
    assert len(states) == updates and results["steps"] == updates * POSITIONS
    if updates == 4:
        assert same(weights(results), states[kept]), "what acted last before the violation"
    else:
        assert not any(same(weights(results), state) for state in states), "the last update counts"


# ---- interruptions and the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["on_policy", "soda", "opsdc"])
def test_an_interruption_saves_the_student(method, trained, tmp_path, monkeypatch, capfd):
    steps = 0
    step = Job.gradient_step

    def interrupted(self: Job, loss: torch.Tensor, progress: float) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt
        step(self, loss, progress)

    monkeypatch.setattr(Job, "gradient_step", interrupted)
    out = tmp_path / "student"
    with pytest.raises(SystemExit) as left:
        lunar([
            "distill", "--teacher", str(trained), "--out", str(out), "--method", method, "--quick", "--world.num_envs",
            "8", "--world.episode_length", "0.1", "--world.other_terrains", "[]", "--world.terrain.kind", "flat",
            "--rollout", "4", *(["--student.ages", "[0, 1, 2]"] if method != "opsdc" else []),
        ])  # fmt: skip
    assert left.value.code == 130 and "interrupted" in capfd.readouterr().out
    card = load_actor(out)[1]
    assert card.training["interrupted"] and card.training["steps"] >= 8 * 4
    assert (out / "progress.csv").is_file()
