"""Checkpoints: all that a training needs to go on, in one file that is written whole or not at all.

Kept (``LunarPPO.save_with``): policy, critic, internal model with its targets and prototypes, both optimizers, learning
rate, count of steps and updates, the terrain level of every robot, and all random numbers' states. Not kept: the robots
themselves, which start new trials. Only tensors, numbers and text are stored, and PyTorch's restricted reader refuses
anything else.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from policy.networks.policy_file import CHECKPOINT
from sim.errors import LunarError
from sim.output import write_whole

FORMAT = "lunar checkpoint 3"
NAME = CHECKPOINT


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a document, or leave the one before: a reader, a crash or a full disk never meets half of it.

    Raises:
        LunarError: it cannot be written.
    """
    file = io.BytesIO()
    torch.save({"format": FORMAT, **document}, file)
    write_whole({path: file.getvalue()})


def find(path: str | Path) -> Path:
    """The checkpoint's file, given that or the training's folder."""
    return Path(path) / NAME if Path(path).is_dir() else Path(path)


def read(path: Path) -> dict[str, Any]:
    """The document that ``write`` wrote.

    Raises:
        LunarError: missing, damaged, or something else than a checkpoint.
    """
    if not path.is_file():
        raise LunarError(f"checkpoint {path} does not exist; 'lunar train' writes one into its folder --out")
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None  # torch does not look at the checksums
        document = torch.load(path, map_location="cpu", weights_only=True) if whole else None
    except pickle.UnpicklingError:
        raise LunarError(f"checkpoint {path} holds more than tensors, numbers and text: it is not lunar's") from None
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError, KeyError, NotImplementedError):
        whole = False
    if not whole:
        raise LunarError(f"checkpoint {path} is damaged or no checkpoint; train anew without --resume")
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise LunarError(f"{path} is not a checkpoint of this version of lunar ('{FORMAT}')")
    return document


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Raise LunarError in one sentence where what is read of a document does not fit."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        detail = " ".join(str(error).split())[:200]
        raise LunarError(f"checkpoint {path} is damaged or of another version: {detail}") from None


def refuse_others(theirs: dict[str, Any], ours: dict[str, Any], path: Path) -> None:
    """Raise LunarError that names the first difference between what a checkpoint and a training are of."""
    theirs, ours = dict(_leaves(theirs)), dict(_leaves(ours))
    for name in [*theirs, *ours]:
        if theirs.get(name) != ours.get(name):
            there, here = (json.dumps(tree[name]) if name in tree else "absent" for tree in (theirs, ours))
            raise LunarError(
                f"checkpoint {path} has {name} {there}, this training {here}: "
                f"continue it with its own, or train anew without --resume"
            )


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
