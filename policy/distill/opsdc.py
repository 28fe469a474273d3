"""OPSDC: a policy told to be thrifty teaches itself to be thrifty without being told.

Source: "On-Policy Self-Distillation for Compression", arXiv 2603.05433, in which a model told to be concise does so.
Here the words are the command's fifth number: the teacher is the policy with economy = 1 at the states that the student
visits with economy = 0; reverse KL; renewed every M updates; ended by a gate on the success rate.
"""

from __future__ import annotations

import copy

from rich.console import Console

from policy.distill.job import Job
from policy.distill.on_policy import learn
from policy.distill.outputs import Gaussian
from policy.internal_model.actor import Actor
from sim.errors import LunarError


def train(job: Job) -> None:
    """The actor's head learns; its internal model stays, so that its estimates stay true."""
    cfg, student = job.cfg.opsdc, job.student
    assert isinstance(student, Actor)
    if cfg.refresh < 1 or cfg.before < 1 or not 0 <= cfg.tolerance < 1:
        raise LunarError("opsdc.refresh and opsdc.before must be at least 1 and opsdc.tolerance lie in [0, 1)")
    thrift = job.world.spec.command[-1].scale  # of economy, the last command
    teacher, good, at_first = copy.deepcopy(student), copy.deepcopy(student.state_dict()), 0.0
    for update in job.updates():
        samples = job.collect()
        if update < cfg.before:
            at_first = job.skill["success"]
            job.record(0.0, 0)
            continue
        told = samples.observation.clone()
        told[:, -1] = thrift
        said = teacher.output(told)
        loss, kept = learn(job, samples, Gaussian(said.mean.detach(), said.log_std.detach()), job.cfg.divergence)
        job.record(loss, kept)
        if (update - cfg.before + 1) % cfg.refresh == 0:
            if job.skill["success"] < at_first - cfg.tolerance:
                Console(stderr=True).print(
                    f"success fell from {at_first:.3f} to {job.skill['success']:.3f}: the policy before that is kept",
                    highlight=False,
                )
                break
            teacher, good = copy.deepcopy(student), copy.deepcopy(student.state_dict())
    student.load_state_dict(good)
