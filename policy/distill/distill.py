"""Compress a policy into a student: ``lunar distill`` as a function."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from policy.distill.config import DistillConfig
from policy.distill.job import Job, peak_megabytes
from policy.distill.methods import METHODS
from policy.distill.teachers import Demonstrations, Teacher, check_fits, itself, load_teacher
from policy.networks.actor import Actor
from policy.networks.config import StudentConfig
from policy.networks.policy_file import drop_run, load_network, network, refuse_used, save_policy
from policy.networks.student import Student
from policy.runtime.card import Card, lineage
from sim.errors import LunarError
from sim.output import locked, writing
from sim.results import revision


def distill(
    cfg: DistillConfig,
    command: str,
    teacher: Teacher | Demonstrations | None = None,
    method: Callable[[Job], None] | None = None,
) -> dict[str, Any]:
    """Train a student, save it, return ``{policy, steps, wall_s, cpu_s, peak_mb, parameters, params_ratio, ...}``.

    Args:
        cfg: the training.
        command: that started it, for the card.
        teacher: instead of what ``cfg.teacher`` names.
        method: instead of what ``cfg.method`` names, whose settings it is checked by.

    Raises:
        LunarError: settings, teacher and world do not go together, or ``cfg.out`` holds a policy.
    """
    begun = _begun(cfg) if cfg.start else None
    cfg = replace(cfg, student=begun[0].cfg) if begun else cfg
    cfg.check()
    refuse_used(Path(cfg.out), cfg.overwrite, "choose another --out")
    with locked(Path(cfg.out)), writing(cfg.out):
        return _distill(cfg, command, teacher, method, begun)


def _distill(
    cfg: DistillConfig,
    command: str,
    teacher: Teacher | Demonstrations | None,
    method: Callable[[Job], None] | None,
    begun: tuple[Student, Card] | None,
) -> dict[str, Any]:
    start, cpu, before = time.monotonic(), time.process_time(), peak_megabytes()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    teacher = load_teacher(cfg.teacher, cfg.device) if teacher is None else teacher
    cfg = _settle(cfg, teacher)
    check_fits(teacher, cfg.world.physics.robot, cfg.student.ages)
    torch.manual_seed(cfg.seed)
    student, card = _student(cfg, teacher, begun)
    interrupted = False
    if cfg.overwrite:
        drop_run(Path(cfg.out))
    with Job(cfg, teacher, student.to(cfg.device), card.observation.ages) as job:
        try:
            (method or METHODS[cfg.method])(job)
        except KeyboardInterrupt:
            interrupted = True
    results: dict[str, Any] = {
        "method": cfg.method, "teacher": cfg.teacher or teacher.name, "steps": job.steps,
        "wall_s": round(time.monotonic() - start, 2), "cpu_s": round(time.process_time() - cpu, 2),
        "peak_mb": round(peak_megabytes() - before, 1),
        "parameters": sum(p.numel() for p in student.parameters()), "interrupted": interrupted,
    }  # fmt: skip
    if isinstance(teacher, Teacher) and (whole := teacher.parameters()):
        results["params_ratio"] = results["parameters"] / whole
    training = {"command": command, "seed": cfg.seed, "revision": revision(), "minutes": results["wall_s"] / 60}
    if begun:
        training |= lineage({**begun[1].training, "weights": begun[1].weights})
    known = {k: v for k, v in results.items() if k not in ("wall_s", "cpu_s", "peak_mb")}
    save_policy(Path(cfg.out), student.eval(), replace(card, training=training | known, metrics={}))
    return {"policy": cfg.out, **results, **job.skill}


def _settle(cfg: DistillConfig, teacher: Teacher | Demonstrations) -> DistillConfig:
    """What the method and the teacher decide."""
    if isinstance(teacher, Demonstrations) and cfg.method not in ("bc", "soda"):
        raise LunarError(
            f"method '{cfg.method}' asks its teacher at every state, and {teacher.name} is a log: use bc or soda"
        )
    if isinstance(teacher, Demonstrations) and cfg.noise:
        raise LunarError(f"noise is what a teacher acts with, and {teacher.name} is a log: leave out noise")
    if cfg.method == "opsdc":
        commands = replace(cfg.world.commands, economy=(0.0, 0.0))
        student = replace(cfg.student, head="gaussian", ages=teacher.card.observation.ages)
        cfg = replace(cfg, world=replace(cfg.world, commands=commands), student=student)
    if cfg.quick:
        robots = min(cfg.world.num_envs, 64)
        cfg = replace(
            cfg, world=replace(cfg.world, num_envs=robots), steps=4 * cfg.rollout * robots,
            soda=replace(cfg.soda, passes=4), opsdc=replace(cfg.opsdc, before=1, refresh=1, look=1),
        )  # fmt: skip
    return cfg


def _begun(cfg: DistillConfig) -> tuple[Student, Card]:
    """The student that ``start`` names, and its card."""
    student, card = load_network(cfg.start)
    if not isinstance(student, Student):
        raise LunarError(f"start {cfg.start} is no student, but a policy of another kind; distill one first")
    if cfg.student not in (StudentConfig(), student.cfg):
        raise LunarError(f"start {cfg.start} has a network of its own: leave out student")
    return student, card


def _student(
    cfg: DistillConfig, teacher: Teacher | Demonstrations, begun: tuple[Student, Card] | None
) -> tuple[Student | Actor, Card]:
    """The network that learns, and its card."""
    if cfg.method == "opsdc":
        return copy.deepcopy(itself(teacher)).requires_grad_(True), teacher.card
    spec = replace(teacher.card.observation, ages=cfg.student.ages, scan=None)
    card = replace(teacher.card, observation=spec, model={"student": asdict(cfg.student)})
    card = Card.from_json(json.loads(json.dumps(card.to_json())), "of the student")  # as it will be read
    student = network(card)
    assert isinstance(student, Student)
    if begun:
        for name in ("observation", "robot", "robot_digest", "action_scale", "default_pose", "kp", "kd", "joint_range"):
            if getattr(begun[1], name) != getattr(card, name):
                raise LunarError(f"start {cfg.start} has another '{name}' than teacher {teacher.name}")
        student.load_state_dict(begun[0].state_dict())
    return student, card
