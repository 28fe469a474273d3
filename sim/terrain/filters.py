"""Map filters by name: those of ``sim.terrain.restore``, shipped networks, a network's file, or a function of yours."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from sim.errors import LunarError
from sim.terrain.cards import SHELF, load_card
from sim.terrain.restore import FILTERS, Filter, filled, noise_level

FEWEST = 64
"""Samples that a map must have."""
_CONTEXT = 16  # samples to whose multiple a network's input is padded


def filter_names() -> list[str]:
    """Of all that are shipped."""
    return [*FILTERS, *sorted(path.stem for path in SHELF.glob("*.onnx"))]


def named_filter(name: str, code: bool = False, card: bool = True) -> Filter:
    """A filter by name, or by ``file.onnx`` with its card beside it.

    Args:
        name: of the filter; with ``code`` also ``file.py:function``, which is run.
        code: only where a user names the filter on a command line.
        card: refuse a network that has none.

    Raises:
        LunarError: there is no such filter, or its file cannot be used.
    """
    if name in FILTERS:
        return FILTERS[name]
    if name.endswith(".onnx") or (SHELF / f"{name}.onnx").is_file():
        if card:
            load_card(name)
        return network(Path(name) if name.endswith(".onnx") else SHELF / f"{name}.onnx")
    path, colon, function = name.rpartition(":")
    if code and colon and path.endswith(".py"):
        return _function(path, function)
    own = ", file.onnx or file.py:function" if code else " or file.onnx"
    raise LunarError(f"filter '{name}' is unknown; choose one of {', '.join(filter_names())}{own}")


def network(path: Path) -> Filter:
    """A network in ONNX that takes heights above their smooth course in noise levels, and where they are known, both
    (1, 2, R, C), and gives what is to be added to the filled map in the same unit, (1, 1, R, C).

    Raises:
        LunarError: the file is none.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds, for whatever a file may hold
        raise LunarError(f"{path} is no network that onnxruntime can run ({error})") from None
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 2:
        raise LunarError(f"{path} is no map filter: it must have one input (1, 2, rows, columns)")

    def restore(heights: np.ndarray, resolution: float) -> np.ndarray:
        x, unit, z = network_input(heights)
        rows, cols = z.shape
        pad = [(0, -n % _CONTEXT) for n in (rows, cols)]
        x = np.pad(x, [(0, 0), *pad], mode="edge")
        added = session.run(None, {inputs[0].name: x[None].astype(np.float32)})[0][0, 0, :rows, :cols]
        return z + unit * added

    return restore


def network_input(heights: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """What a network sees of a map (R, C): (2, R, C) heights above a local mean in units of the noise, and 1 where they
    are known; that unit in m, at least 5 mm; and the map with its holes filled."""
    from scipy import ndimage

    z = filled(heights)
    unit = max(noise_level(z), 0.005)
    rough = ndimage.gaussian_filter(z, 8, mode="nearest")
    return np.stack([(z - rough) / unit, np.isfinite(heights).astype(float)]), unit, z


def apply(filter_: Filter, heights: np.ndarray, resolution: float, name: str = "the filter") -> np.ndarray:
    """The filter's map, checked.

    Args:
        filter_: to apply.
        heights: (R, C) m, NaN where unknown.
        resolution: m between samples.
        name: of the filter, for messages.

    Raises:
        LunarError: the map is too small, unknown everywhere or constant; or the filter gives another shape, or no
            numbers where the map had some.
    """
    known = np.isfinite(heights)
    if heights.ndim != 2 or heights.size < FEWEST or min(heights.shape) < 3:
        raise LunarError(f"a map of shape {heights.shape} is too small for a filter: {FEWEST} samples are needed")
    if not known.any():
        raise LunarError("the map has no known height")
    if np.ptp(heights[known]) == 0.0:
        raise LunarError("all known heights of the map are equal: there is nothing to filter")
    try:
        restored: Any = np.asarray(filter_(np.array(heights, float), resolution), float)
    except LunarError:
        raise
    except Exception as error:  # the code of others
        raise LunarError(f"{name} failed: {type(error).__name__}: {error}") from error
    if restored.shape != heights.shape:
        raise LunarError(f"{name} gave a map of shape {restored.shape} for one of {heights.shape}")
    if lost := int((~np.isfinite(restored) & known).sum()):
        raise LunarError(f"{name} gave no height at {lost} samples where the map had one")
    return restored


def _function(path: str, function: str) -> Filter:
    spec = importlib.util.spec_from_file_location("lunar_filter", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise LunarError(f"the file '{path}' of the filter '{path}:{function}' does not exist")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found: Filter = getattr(module, function)
    except Exception as error:  # the code of others
        raise LunarError(f"'{path}' has no filter '{function}' ({type(error).__name__}: {error})") from None
    return found
