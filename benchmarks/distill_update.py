"""What leaving positions out saves: bytes and time of one student update, all positions against the best half."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from benchmarks.distill_core import peak_bytes
from benchmarks.harness import by_turns, cpu_seconds, medians, ratio
from policy.distill.config import DistillConfig, DivergenceConfig, PositionsConfig
from policy.distill.job import Job, Samples
from policy.distill.methods import learn
from policy.distill.teachers import Teacher
from policy.networks.config import StudentConfig
from policy.networks.distributions import cache
from policy.networks.student import Student, joint_bins
from sim.config import ROOT, load

POSITIONS, BINS = 4096, 32


def update_cost(teacher: Teacher, seed: int, rounds: int = 5) -> dict[str, float]:
    """Of one update (scores, then all passes) of a student with tokens, one minibatch, no chunks, 4096 steps.

    Returns:
        ``bytes_all``, ``bytes_half`` above the inputs; ``seconds_all``, ``seconds_half`` of CPU time;
        ``memory_ratio``, ``time_ratio``: half over all, of each round's, median.
    """
    cfg = load(DistillConfig, ROOT / "configs" / "distill" / "tip.yaml")
    learning, tokens = replace(cfg.learning, minibatch=POSITIONS), StudentConfig(head="tokens", bins=BINS)
    world = replace(cfg.world, num_envs=1, other_terrains=(), terrain=replace(cfg.world.terrain, kind="flat"))
    whole = DivergenceConfig(chunk=2**40)
    cfg = replace(cfg, student=tokens, learning=learning, world=world, divergence=whole, seed=seed, threads=1)
    generator = torch.Generator().manual_seed(seed)
    spec = replace(teacher.card.observation, ages=tokens.ages)
    bins = joint_bins(teacher.card, tokens.bins)
    jobs = {
        name: Job(replace(cfg, positions=positions), teacher, Student(tokens, spec, bins=bins), tokens.ages)
        for name, positions in (("all", PositionsConfig()), ("half", cfg.positions))
    }
    observation = torch.randn(POSITIONS, spec.size, generator=generator)
    asked = torch.randn(POSITIONS, teacher.card.observation.size, generator=generator)
    samples = Samples(observation, asked, torch.zeros(POSITIONS, 12), torch.zeros(POSITIONS, dtype=torch.long))
    said = cache(jobs["all"].ask, asked)
    with torch.no_grad():  # what the student said as it acted, which costs the rollout and no update
        acted = replace(samples, output=jobs["half"].student.output(observation))
    given = {"all": samples, "half": acted}
    calls = {name: partial(learn, job, given[name], said, cfg.divergence) for name, job in jobs.items()}
    results: dict[str, float] = {}
    for name, call in calls.items():
        call()  # the optimizer's state is made, caches are warm
        results[f"bytes_{name}"] = peak_bytes(call)
    times = by_turns({name: partial(cpu_seconds, call) for name, call in calls.items()}, rounds, "update")
    results |= {f"seconds_{name}": value for name, value in medians(times).items()}
    results["memory_ratio"] = results["bytes_half"] / results["bytes_all"]
    results["time_ratio"] = ratio(times, "half", "all")
    return results
