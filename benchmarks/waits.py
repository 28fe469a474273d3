"""Where the host waits for a GPU: counted among torch's operations on any device, or seen by CUDA itself."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sim.files import ROOT

_WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim"}


class Waits(TorchDispatchMode):
    """Counts torch's operations, and those for which a GPU lets the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.operations += 1
        if name in _WAITING:
            self.waits[name] += 1
        elif name == "lift_fresh" and result.dim():  # one number is written by a kernel
            self.waits["numbers of the host"] += 1
        elif name.startswith("index") and any(_is_mask(index) for index in _indices(args)):
            self.waits["index by a mask"] += 1
        elif name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            if source.device != result.device:
                self.waits[f"copy {source.device.type} to {result.device.type}"] += 1
        return result


def _indices(args: Any) -> Sequence[Any]:
    return args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else ()


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def cuda_waits(work: Callable[[], None]) -> Counter[str]:
    """The lines at which CUDA sees torch wait in ``work``."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waited = [w for w in found if "synchronizing CUDA operation" in str(w.message)]
    return Counter(f"{w.filename.removeprefix(f'{ROOT}/')}:{w.lineno}" for w in waited)
