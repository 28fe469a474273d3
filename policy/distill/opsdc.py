"""OPSDC: a policy told to be thrifty teaches itself to be thrifty without being told.

Source: "On-Policy Self-Distillation for Compression", arXiv 2603.05433, in which a model told to be concise does so.
Here the words are the command's fifth number: the teacher is the policy with economy = 1 at the states that the student
visits with economy = 0; reverse KL; renewed every M updates; ended by a gate on the success rate.
"""

from __future__ import annotations

import copy
import math

from rich.console import Console

from policy.distill.job import Job
from policy.distill.on_policy import learn
from policy.networks.actor import Actor
from policy.networks.distributions import Gaussian
from sim.errors import LunarError


def train(job: Job) -> None:
    """The actor's head learns; its internal model stays, so that its estimates stay true. Only what passed the
    gate is kept, also after an interruption."""
    cfg, student = job.cfg.opsdc, job.student
    assert isinstance(student, Actor)
    if cfg.refresh < 1 or cfg.before < 1 or not 0 <= cfg.tolerance < 1:
        raise LunarError("opsdc.refresh and opsdc.before must be at least 1 and opsdc.tolerance lie in [0, 1)")
    thrift = job.world.spec.command[-1].scale  # of economy, the last command
    teacher, good = copy.deepcopy(student), copy.deepcopy(student.state_dict())
    least, learnt = math.nan, 0
    try:
        for update in job.updates():
            samples = job.collect()
            success = job.skill["success"]
            if update < cfg.before or math.isnan(least):
                least = success - cfg.tolerance  # no number, and no gate, before a trial has ended
            if update < cfg.before:
                job.record(0.0, 0)
                continue
            if learnt and learnt % cfg.refresh == 0:
                if success < least:
                    Console(stderr=True).print(f"success fell to {success:.3f}, below {least:.3f}: training ends here")
                    break
                teacher, good = copy.deepcopy(student), copy.deepcopy(student.state_dict())  # just acted, and passed
            told = samples.observation.clone()
            told[:, -1] = thrift
            said = teacher.output(told)
            loss, kept = learn(job, samples, Gaussian(said.mean.detach(), said.log_std.detach()), job.cfg.divergence)
            job.record(loss, kept)
            learnt += 1
        else:
            if not job.skill["success"] < least:
                good = copy.deepcopy(student.state_dict())
    finally:
        student.load_state_dict(good)
