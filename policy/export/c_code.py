"""A policy's network as C statements, batch 1, over one array ``x`` of floats, the observation first.

Values are arrays of *addresses* in ``x``. Slicing, joining and reshaping only rearrange addresses, and C copies numbers
only where a layer needs them side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import nn

from policy.networks.actor import Actor
from policy.networks.encoder import Encoders
from policy.networks.student import Student
from sim.errors import LunarError


@dataclass
class Program:
    """Statements with ``@`` before the names that the header makes its own, and the constants that they use."""

    size: int
    """Floats of ``x``."""
    statements: list[str] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    """float32 or int8, one axis, by name."""
    widest: int = 0
    """Inputs of the layer that has most."""
    action: int = 0
    """Where in ``x`` the action lies at the end ..."""
    estimate: int = 0
    """... and the estimates."""


def quantise(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (out, in) as int8 and the scale (out,) of each row: symmetric, a row's largest weight becomes ±127."""
    scale = np.abs(weight).max(axis=1) / 127
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def translate(network: Actor | Student, int8: bool = False) -> Program:
    """C for the action and the estimates of a network that sees the group ``policy``.

    Args:
        int8: store the weights of layers as ``quantise`` does; sums are of whole numbers, biases stay float.

    Raises:
        LunarError: weights are no numbers, or a layer is none that C has words for here.
    """
    for name, weights in network.named_parameters():
        if not bool(weights.isfinite().all()):
            raise LunarError(f"'{name}' holds what is no number: training diverged")
    writer = _Writer(network.size, int8)
    observation = np.arange(network.size)
    if isinstance(network, Student):
        writer.student(network, observation)
    else:
        writer.actor(network, observation)
    return writer.program


class _Writer:
    def __init__(self, size: int, int8: bool) -> None:
        self.program, self.int8, self.layer_count = Program(size), int8, 0

    def actor(self, actor: Actor, observation: np.ndarray) -> None:
        features = [observation[: actor.newest], observation[actor.after :]]
        if actor.encoders:
            estimate, latents = self._encoders(actor.encoders, observation)
            features += [estimate, *latents]
            self.program.estimate = self._scaled(estimate, actor._scales.numpy())
        self.program.action = self._together(self._layers(actor.head, np.concatenate(features)))

    def student(self, student: Student, observation: np.ndarray) -> None:
        frames, command = observation[: -student.commands], observation[-student.commands :]
        seen = self._layers(student.frame, frames.reshape(student.shape)).ravel()
        gaussian = student.cfg.head == "gaussian"  # whose spread nobody asks a robot for
        raw = self._layers(student.net, np.concatenate([seen, command]), student.actions if gaussian else None)
        self.program.action = self._together(raw)
        if not gaussian:
            source, out = self.program.action, self._allocate((student.actions,))
            mid, width = (self._constant(n, getattr(student, n).numpy()) for n in ("middle", "width"))
            self._write(f"@tokens_(x + {source}, x + {out[0]}, {mid}, {width}, {student.cfg.bins}, {student.actions});")
            self.program.action = out[0]

    def _encoders(self, encoders: Encoders, observation: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Estimates in their order, and each horizon's latent."""
        frames = observation[: encoders.frames * encoders.frame_size].reshape(encoders.frames, -1)
        made: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name, encoder in encoders.horizons.items():
            seen = self._layers(encoder.frame, frames[encoders.places[name]]).ravel()  # type: ignore[arg-type]
            given = made[encoders.given[name]] if encoders.given[name] else ()
            out = self._layers(encoder.head, np.concatenate([seen, *given]))  # type: ignore[arg-type]
            split: int = encoder.split  # type: ignore[assignment]
            latent = self._allocate((len(out) - split,))
            self._write(f"@unit_(x + {self._together(out[split:])}, x + {latent[0]}, {len(latent)});")
            made[name] = out[:split], latent
        return np.concatenate([e for e, _ in made.values()])[encoders.order], [latent for _, latent in made.values()]

    def _layers(self, stack: nn.Sequential, places: np.ndarray, rows: int | None = None) -> np.ndarray:
        """(..., in) to (..., out) through linear layers and ELUs; of the last layer's outputs the first ``rows``."""
        modules = list(stack)
        while modules:
            layer = modules.pop(0)
            elu = bool(modules) and isinstance(modules[0], nn.ELU) and modules[0].alpha == 1.0
            if not isinstance(layer, nn.Linear):
                raise LunarError(f"the C export does not know '{layer}': export to ONNX, or teach it to c_code.py")
            modules = modules[elu:]
            places = self._dense(layer, places, elu, None if modules else rows)
        return places

    def _dense(self, layer: nn.Linear, places: np.ndarray, elu: bool, rows: int | None) -> np.ndarray:
        weight, bias = (p.detach().numpy()[:rows] for p in (layer.weight, layer.bias))
        source = self._together(places)
        out = self._allocate((*places.shape[:-1], len(weight)))
        k, self.layer_count = self.layer_count, self.layer_count + 1
        self.program.widest = max(self.program.widest, weight.shape[1])
        names = {f"w{k}": weight}
        if self.int8:
            names = dict(zip((f"w{k}", f"s{k}"), quantise(weight), strict=True))
        constants = ", ".join(self._constant(name, values) for name, values in (names | {f"b{k}": bias}).items())
        shape = f"{len(weight)}, {places.shape[-1]}, {places[..., 0].size}, {int(elu)}"
        function = "dense_int8_" if self.int8 else "dense_"
        self._write(f"@{function}(x + {source}, x + {out.flat[0]}, {constants}, {shape});")
        return out

    def _scaled(self, places: np.ndarray, scale: np.ndarray) -> int:
        source, out = self._together(places), self._allocate(places.shape)
        scales = self._constant("scale", scale)
        self._write(f"for (i = 0; i < {len(places)}; ++i) x[{out[0]} + i] = x[{source} + i] / {scales}[i];")
        return int(out[0])

    def _together(self, places: np.ndarray) -> int:
        """Where these addresses lie side by side in ``x``; they are copied there if they do not yet."""
        flat = places.ravel()
        runs = np.split(flat, np.flatnonzero(np.diff(flat) != 1) + 1)
        if len(runs) == 1:
            return int(flat[0])
        out = at = self._allocate(flat.shape)[0]
        for run in runs:
            self._write(f"memcpy(x + {at}, x + {run[0]}, {len(run)} * sizeof *x);")
            at += len(run)
        return int(out)

    def _allocate(self, shape: tuple[int, ...]) -> np.ndarray:
        start = self.program.size
        self.program.size += int(np.prod(shape))
        return np.arange(start, self.program.size).reshape(shape)

    def _constant(self, name: str, values: np.ndarray) -> str:
        self.program.arrays[name] = np.ascontiguousarray(values).ravel()
        return f"@{name}"

    def _write(self, statement: str) -> None:
        self.program.statements.append(statement)


def number(value: float) -> str:
    """The shortest C literal that is this float."""
    text = str(np.float32(value))
    return f"{text if '.' in text or 'e' in text else text + '.0'}f"
