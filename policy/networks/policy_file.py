"""Policies on disk: a folder with ``policy.safetensors`` (weights), ``card.json`` and, unless it sees what no robot
does, ``policy.onnx``; all three carry the digest of the weights. Nothing is unpickled."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from policy.networks.actor import Actor
from policy.networks.config import EncoderConfig, ModelConfig, StudentConfig
from policy.networks.imported import Imported
from policy.networks.onnx_file import write_onnx
from policy.networks.student import Student, joint_bins
from policy.runtime import monitor_file, onnx_policy, weights
from policy.runtime.card import ROBOT, Card
from policy.runtime.weights import check_weights, weights_digest
from sim.errors import LunarError
from sim.files import find_policy
from sim.output import write_whole
from sim.robots.identity import Identity, identify
from sim.spec.observation import scan_grid

ZOO = Path(__file__).resolve().parent.parent / "zoo"
HEADERS = ("policy.h", "policy_int8.h")
"""Names of the C headers that 'lunar export --c' writes beside a policy."""
CHECKPOINT = "checkpoint.pt"
"""In a training's folder."""
RECORDS = ("config.yaml", "progress.csv", "curve.png")
"""What else a training writes there."""


def save_policy(folder: Path, actor: Actor | Student, card: Card, onnx: bool = True) -> Card:
    """Write the actor's weights, the card with their digest, and the ONNX file, all or none; what a former policy left
    in the folder is dropped.

    Args:
        folder: made where it does not exist.
        actor: on any device.
        card: of the actor; ``mjcf`` is copied where the robot is not the project's.
        onnx: without it no robot can run the policy before 'lunar export'.

    Returns:
        The card as it was written.

    Raises:
        LunarError: a weight is not finite, or a file cannot be written; what was there stays.
    """
    actor = copy.deepcopy(actor).cpu()
    state = {name: tensor.detach().contiguous() for name, tensor in actor.state_dict().items()}
    check_finite(state, f"policy {folder} is not written")
    data = save(state)
    card = replace(card, weights=weights_digest(data))
    files: dict[Path, bytes | str] = {folder / weights.FILE: data}
    if onnx and not card.observation.scan:
        files[folder / onnx_policy.FILE] = write_onnx(actor, card)[0]
    files |= robot_files(folder, identify(card.physics_robot))
    write_whole(files | {folder / "card.json": card.text()})
    drop_stale(folder, card)
    return card


def check_finite(state: Mapping[str, torch.Tensor], what: str) -> None:
    """Raise LunarError, which begins with ``what`` is not done, where a weight is no number; minus infinity is the log
    of a spread of zero."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and bool((tensor.isnan() | (tensor == torch.inf)).any()):
            raise LunarError(f"{what}: training diverged, '{name}' holds what is no number; try a lower learning rate")


def robot_files(folder: Path, robot: Identity) -> dict[Path, bytes | str]:
    """What a policy's folder keeps of a robot that is not the project's."""
    return {folder / ROBOT / name: data for name, data in robot.files.items()}


def refuse_used(folder: Path, overwrite: bool, remedy: str) -> None:
    """Raise LunarError, with the ``remedy``, where ``folder`` holds a policy or a training that would be lost."""
    held = [name for name in (CHECKPOINT, weights.FILE, "card.json", onnx_policy.FILE) if (folder / name).exists()]
    if held and not overwrite:
        raise LunarError(f"{folder} holds {held[0]} of another training: {remedy}, or replace it with --overwrite")


def drop_run(folder: Path) -> None:
    """Remove what a training left in ``folder``, and nothing else."""
    names = (CHECKPOINT, weights.FILE, "card.json", onnx_policy.FILE, *HEADERS, *monitor_file.FILES, *RECORDS)
    for path in (*(folder / name for name in names), *folder.glob("events.out.tfevents.*")):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / ROBOT, ignore_errors=True)


def drop_stale(folder: Path, card: Card) -> None:
    """Remove what was made from other weights than the card's: C headers, a monitor, and the ONNX file of a policy that
    no robot can run."""
    for name in (*HEADERS, monitor_file.FILES[0]):
        made = folder / name
        if made.is_file() and card.weights not in made.read_text(encoding="utf-8", errors="replace"):
            made.unlink()
    if not (folder / monitor_file.FILES[0]).is_file():
        (folder / monitor_file.FILES[1]).unlink(missing_ok=True)
    if card.observation.scan:
        (folder / onnx_policy.FILE).unlink(missing_ok=True)


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The state dict of an ``Actor`` or a ``Student``.

    Raises:
        LunarError: missing or damaged file.
    """
    path = folder / weights.FILE
    if not path.is_file():
        raise LunarError(f"policy file {path} does not exist; train one with 'lunar train'")
    try:
        return load(path.read_bytes())
    except (SafetensorError, ValueError, OSError) as error:
        raise LunarError(f"policy file {path} cannot be read: {error}") from None


def load_network(folder: str | Path) -> tuple[Actor | Student | Imported, Card]:
    """``load_actor``, or a policy that 'lunar import' brought and that nobody here can train. Raises as it does."""
    folder = Path(find_policy(folder))
    card = Card.load(folder / "card.json")
    return (Imported(folder, card), card) if "imported" in card.model else load_actor(folder)


def load_actor(folder: str | Path) -> tuple[Actor | Student, Card]:
    """The trained actor or distilled student, observations (N, size) to an ``ActorOutput``, and the card.

    Args:
        folder: the policy's, or the name of one in the zoo.

    Raises:
        LunarError: missing or damaged files, weights that are not those of the card, or an ONNX file of others.
    """
    folder = Path(find_policy(folder))
    actor, card = read_actor(folder)
    check_weights(folder, card.weights)
    if (exported := folder / onnx_policy.FILE).is_file():
        onnx_policy.open_onnx(exported, card)
    return actor, card


def read_actor(folder: Path) -> tuple[Actor | Student, Card]:
    """``load_actor`` of a folder without its ONNX file, for who makes that; a card without a digest is read too.

    Raises:
        LunarError: missing or damaged files, or weights that are not those of the card.
    """
    card = Card.load(folder / "card.json")
    if "imported" in card.model:
        raise LunarError(f"policy {folder} was imported: its policy.onnx is all there is of it")
    state = load_weights(folder)
    if card.weights:
        check_weights(folder, card.weights)
    try:
        actor = network(card)
        actor.load_state_dict(state)
    except (RuntimeError, TypeError, LunarError) as error:
        detail = " ".join(str(error).split())
        raise LunarError(f"policy {folder}: the weights are not those of its card: {detail}") from None
    return actor.eval(), card


def network(card: Card) -> Actor | Student:
    """The network that a card's ``model`` describes, with new weights.

    Raises:
        LunarError: its parts do not fit together.
        TypeError: a field that no model has.
    """
    if "student" not in card.model:
        return Actor(model_config(card.model), card.observation, card.action_size)
    cfg = StudentConfig(**_tuples(card.model["student"]))
    bins = joint_bins(card, cfg.bins) if cfg.head == "tokens" else None
    return Student(cfg, card.observation, card.action_size, bins)


def model_config(fields: dict[str, Any]) -> ModelConfig:
    """What a card's ``model`` says of the networks. Raises TypeError on a field that no model has."""
    model = {name: value for name, value in fields.items() if name != "scan"}
    encoders = {name: EncoderConfig(**_tuples(encoder)) for name, encoder in model.pop("encoders", {}).items()}
    return ModelConfig(**_tuples(model), encoders=encoders, scan=scan_grid(fields.get("scan")))


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
