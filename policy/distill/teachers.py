"""Teachers: a policy that can be asked what it would do, or a log of what one did."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from policy.networks.actor import Actor
from policy.networks.distributions import Gaussian
from policy.networks.policy_file import load_network
from policy.networks.student import Student
from policy.runtime.card import Card
from policy.runtime.onnx_policy import OnnxPolicy
from sim.errors import LunarError
from sim.files import find_policy
from sim.robots.identity import identify
from sim.spec.observation import PRONK_OBSERVATION, ObservationSpec, ScanGrid

_LARGEST = 8 * 2**30  # bytes of a log's arrays


@dataclass(frozen=True)
class Teacher:
    """A policy that is asked at every state."""

    name: str
    card: Card
    network: torch.nn.Module | OnnxPolicy

    def __call__(self, observation: Tensor) -> Gaussian:
        """What it would do at observations (P, size); of an ONNX file that gives no spread,
        with one of zero, which a divergence refuses and ``mse`` and what needs actions alone do not look at."""
        if isinstance(self.network, OnnxPolicy):
            out = self.network.infer(observation.cpu().numpy())
            mean, std = (torch.from_numpy(x).to(observation.device) for x in (out.action, out.std))
            std = std if std.numel() else torch.zeros_like(mean)
        else:
            mean, std, *_ = self.network(observation)
        return Gaussian(mean, std.log().expand_as(mean))

    def parameters(self) -> int:
        """How many weights act; an ONNX file does not tell, and counts as none."""
        if isinstance(self.network, OnnxPolicy):
            return 0
        return sum(p.numel() for p in self.network.parameters())


@dataclass(frozen=True)
class Demonstrations:
    """What a teacher saw and did, control step by control step; states in any order."""

    name: str
    card: Card
    """Of the policy, or of the robot whose observations these are."""
    observation: Tensor
    """(P, card.observation.size)."""
    action: Tensor
    """(P, 12)."""


def load_teacher(path: str | Path, device: str = "cpu") -> Teacher | Demonstrations:
    """From a policy's folder, an .onnx file, or an .npz log.

    Raises:
        LunarError: nothing usable is there.
    """
    path = Path(find_policy(path))
    if path.suffix == ".npz":
        return load_demonstrations(path)
    if path.suffix == ".onnx":
        if path.name != "policy.onnx":
            raise LunarError(f"teacher {path}: an ONNX teacher is named policy.onnx and lies beside its card.json")
        policy = OnnxPolicy(path.parent)
        return Teacher(str(path), policy.card, policy)
    if not (path / "card.json").is_file():
        raise LunarError(
            f"teacher {path} does not exist or is none: give a policy's folder, a policy.onnx, or a log (.npz, or a "
            "folder that 'lunar hil --log' wrote)"
        )
    actor, card = load_network(path)
    return Teacher(str(path), card, actor.to(device).requires_grad_(False))


def itself(teacher: Teacher | Demonstrations) -> Actor | Student:
    """The network of a teacher that shall teach itself.

    Raises:
        LunarError: there is none, it speaks in tokens, or it sees the ground ahead.
    """
    network = None if isinstance(teacher, Demonstrations) or teacher.card.observation.scan else teacher.network
    if not (isinstance(network, Actor) or (isinstance(network, Student) and network.bins is None)):
        raise LunarError(
            f"method 'opsdc' trains the policy itself: {teacher.name} is not the folder of a trained one for robots, "
            "with a Gaussian head"
        )
    return network


def check_fits(teacher: Teacher | Demonstrations, robot: str, ages: tuple[int, ...]) -> None:
    """Raise LunarError where a teacher cannot teach a student that sees frames ``ages`` steps back on this robot."""
    card = teacher.card
    here = identify(robot)
    if card.robot != here.name or (not here.shipped and card.robot_digest != here.digest):
        raise LunarError(f"teacher {teacher.name} drives the robot '{card.robot}', the world's is '{here.name}'")
    if difference := card.observation.difference(replace(PRONK_OBSERVATION, scan=card.observation.scan)):
        raise LunarError(f"teacher {teacher.name} does not fit this robot's observation: {difference}")
    if list(ages) != sorted(set(ages)) or ages[:1] != (0,):
        raise LunarError(f"student.ages are {list(ages)}; they must rise from 0")
    if isinstance(teacher, Demonstrations) and (missing := sorted(set(ages) - set(card.observation.ages))):
        raise LunarError(
            f"student.ages: log {teacher.name} has no frame {missing[0]} steps back; "
            f"choose from {list(card.observation.ages)}"
        )


def columns(spec: ObservationSpec, ages: tuple[int, ...], scan: ScanGrid | None = None) -> Tensor:
    """Indices of the frames ``ages``, of the command and, if asked for, of the scan in an observation of ``spec``."""
    frame = torch.arange(spec.frame_size)
    starts = [spec.ages.index(age) * spec.frame_size for age in ages]
    after = torch.arange(len(spec.ages) * spec.frame_size, spec.size)
    return torch.cat([*(start + frame for start in starts), after if scan else after[: len(spec.command)]])


def load_demonstrations(path: Path) -> Demonstrations:
    """Read an .npz file with ``observation`` (P, size), ``action`` (P, 12) and ``card``, a card's JSON.

    Raises:
        LunarError: missing or damaged file, or arrays that do not fit the card.
    """
    if not path.is_file():
        raise LunarError(f"log {path} does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST:
                raise LunarError(f"log {path} unpacks to more than {_LARGEST // 2**30} GiB")
        with np.load(path, allow_pickle=False) as file:
            if missing := [name for name in ("observation", "action", "card") if name not in file.files]:
                raise LunarError(f"log {path} has no '{missing[0]}'; it needs observation, action and card")
            observation, action = (torch.from_numpy(file[n].astype(np.float32)) for n in ("observation", "action"))
            card = Card.from_json(json.loads(str(file["card"])), str(path))
    except LunarError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds
        raise LunarError(f"log {path} cannot be read: {' '.join(str(error).split())}") from None
    for name, array, size in (
        ("observation", observation, card.observation.size),
        ("action", action, card.action_size),
    ):
        if array.dim() != 2 or array.shape != (len(observation), size) or not len(array):
            raise LunarError(
                f"log {path}: '{name}' has shape {tuple(array.shape)}, its card says (P, {size}), P the same in both"
            )
        if not bool(torch.isfinite(array).all()):
            raise LunarError(f"log {path}: '{name}' holds a value that is not a number")
    return Demonstrations(str(path), card, observation, action)
