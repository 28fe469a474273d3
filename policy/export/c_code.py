"""A network as C statements: torch's exported graph, batch 1, over one array ``x`` of floats, the input first.

Every value of the graph is a tensor of *addresses* in ``x``. Slicing, joining, reshaping and picking only rearrange
addresses, so torch itself carries them out on the addresses, and C copies numbers only where a layer needs them side by
side. What depends on weights alone is computed here and now.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from sim.errors import LunarError

aten = torch.ops.aten
_MOVES = {
    aten.slice.Tensor, aten.select.int, aten.view.default, aten.cat.default, aten.index.Tensor, aten.expand.default,
    aten.clone.default, aten.unsqueeze.default,
}  # fmt: skip
_BINARY = {aten.add.Tensor: "+", aten.sub.Tensor: "-", aten.mul.Tensor: "*", aten.div.Tensor: "/"}


@dataclass(frozen=True)
class Array:
    """A constant of the program."""

    name: str
    values: np.ndarray
    """float32 or int8, one axis."""


@dataclass
class Program:
    """Statements, the constants that they use, how many floats ``x`` needs and where in it the outputs lie."""

    size: int
    statements: list[str] = field(default_factory=list)
    arrays: list[Array] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    @property
    def constant_bytes(self) -> int:
        """Bytes of the constants."""
        return sum(a.values.nbytes for a in self.arrays)


def quantise(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (out, in) as int8 and the scale (out,) of each row: symmetric, a row's largest weight becomes ±127."""
    scale = np.abs(weight).max(axis=1) / 127
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def translate(network: nn.Module, size: int, outputs: Sequence[int], int8: bool = False) -> Program:
    """C for a network that maps (1, size) to a tuple of (1, n) tensors.

    Args:
        outputs: which of the tuple are wanted; what only others need is left out.
        int8: store the weights of layers as ``quantise`` does; biases and arithmetic stay float.

    Raises:
        LunarError: the network does what C has no words for here.
    """
    return _Translator(network, size, int8).run(outputs)


class _Translator:
    def __init__(self, network: nn.Module, size: int, int8: bool) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # raised inside torch's exporter
            self.exported = torch.export.export(network, (torch.zeros(1, size),)).run_decompositions({})
        self.int8 = int8
        self.program = Program(size)
        self.known: dict[Node, Tensor] = {}  # weights and what follows from them alone
        self.places: dict[Node, Tensor] = {}  # addresses of everything else
        self.fused: set[Node] = set()  # activations that their layer does already
        self.parameters: set[Node] = set()

    def run(self, outputs: Sequence[int]) -> Program:
        graph = self.exported.graph
        returned = next(n for n in graph.nodes if n.op == "output").args[0]
        results = [returned[i] for i in outputs]
        needed: set[Node] = set()
        stack = list(results)
        while stack:
            node = stack.pop()
            if node not in needed:
                needed.add(node)
                stack.extend(node.all_input_nodes)
        for node in graph.nodes:
            if node in needed:
                self._place(node)
        self.program.outputs = [self._together(self.places[r]) for r in results]
        return self.program

    def _place(self, node: Node) -> None:
        if node.op == "placeholder":
            self._placeholder(node)
            return
        target: Any = node.target
        if all(n in self.known for n in node.all_input_nodes):
            self.known[node] = target(*self._values(node.args, self.known), **node.kwargs)
        elif target in _MOVES:
            self.places[node] = self._moved(node)
        elif node in self.fused:
            self.places[node] = self.places[node.all_input_nodes[0]]
        else:
            action: Callable[[Node], None] | None = {
                aten.linear.default: self._linear,
                aten.elu.default: self._elu,
                aten.softmax.int: self._softmax,
                aten.linalg_vector_norm.default: self._norm,
                aten.clamp_min.default: self._clamp_min,
            }.get(target)
            if action is not None:
                action(node)
            elif target in _BINARY:
                self._binary(node, _BINARY[target])
            else:
                raise LunarError(_no_words(node))

    def _placeholder(self, node: Node) -> None:
        signature = self.exported.graph_signature
        name = node.name
        if name in signature.inputs_to_parameters:
            weights = self.exported.state_dict[signature.inputs_to_parameters[name]].detach()
            if not bool(torch.isfinite(weights).all()):
                raise LunarError(f"'{signature.inputs_to_parameters[name]}' holds what is no number: training diverged")
            self.known[node] = weights
            self.parameters.add(node)
        elif name in signature.inputs_to_buffers:
            buffer = signature.inputs_to_buffers[name]
            values = self.exported.state_dict.get(buffer)
            self.known[node] = self.exported.constants[buffer] if values is None else values  # type: ignore[assignment]
        elif name in signature.inputs_to_lifted_tensor_constants:
            constant = self.exported.constants[signature.inputs_to_lifted_tensor_constants[name]]
            self.known[node] = constant  # type: ignore[assignment]
        else:
            self.places[node] = torch.arange(self.program.size)[None]

    def _values(self, args: Any, source: dict[Node, Tensor]) -> Any:
        if isinstance(args, Node):
            return source[args]
        return type(args)(self._values(a, source) for a in args) if isinstance(args, (list, tuple)) else args

    def _moved(self, node: Node) -> Tensor:
        target: Any = node.target
        if target is aten.cat.default and not all(n in self.places for n in node.all_input_nodes):
            raise LunarError(_no_words(node))
        return target(*self._values(node.args, self.known | self.places), **node.kwargs)

    def _linear(self, node: Node) -> None:
        weight = self.known[_node(node.args[1])]
        bias = self.known[_node(node.args[2])] if node.args[2:] else torch.zeros(len(weight))
        source = self.places[_node(node.args[0])]
        rows, columns = weight.shape
        start = self._together(source)
        users = list(node.users)
        elu = len(users) == 1 and users[0].target is aten.elu.default and tuple(users[0].args[1:]) in ((), (1.0,))
        if elu:
            self.fused.add(users[0])
        out = self._allocate(node, (*source.shape[:-1], rows))
        number = sum(s.startswith("dense") for s in self.program.statements)
        matrix = weight.numpy().astype(np.float32)
        b = self._array(f"b{number}", bias.numpy())
        shape = f"{rows}, {columns}, {source[..., 0].numel()}, {int(elu)}"
        if self.int8 and _node(node.args[1]) in self.parameters:
            whole, scale = quantise(matrix)
            names = f"{self._array(f'w{number}', whole)}, {self._array(f's{number}', scale)}"
            self._say(f"dense_int8(x + {start}, x + {out}, {names}, {b}, {shape});")
        else:
            self._say(f"dense(x + {start}, x + {out}, {self._array(f'w{number}', matrix)}, {b}, {shape});")

    def _elu(self, node: Node) -> None:
        source = self.places[_node(node.args[0])]
        if tuple(node.args[1:]) not in ((), (1.0,)):
            raise LunarError(_no_words(node))
        start, out = self._together(source), self._allocate(node, source.shape)
        self._say(f"elu(x + {start}, x + {out}, {source.numel()});")

    def _softmax(self, node: Node) -> None:
        source = self.places[_node(node.args[0])]
        if node.args[1] not in (-1, source.dim() - 1):
            raise LunarError(_no_words(node))
        start, out = self._together(source), self._allocate(node, source.shape)
        self._say(f"softmax(x + {start}, x + {out}, {source.shape[-1]}, {source[..., 0].numel()});")

    def _norm(self, node: Node) -> None:
        source = self.places[_node(node.args[0])]
        order, dims, keep = node.args[1], node.args[2], len(node.args) > 3 and node.args[3]
        if order not in (2, 2.0) or dims not in ([-1], [source.dim() - 1]):
            raise LunarError(_no_words(node))
        shape = (*source.shape[:-1], 1) if keep else source.shape[:-1]
        start, out = self._together(source), self._allocate(node, shape)
        self._say(f"norm(x + {start}, x + {out}, {source.shape[-1]}, {source[..., 0].numel()});")

    def _clamp_min(self, node: Node) -> None:
        source = self.places[_node(node.args[0])]
        start, out = self._together(source), self._allocate(node, source.shape)
        low = number(float(node.args[1]))  # type: ignore[arg-type]
        self._loop(source.numel(), f"x[{out} + i] = x[{start} + i] < {low} ? {low} : x[{start} + i];")

    def _binary(self, node: Node, sign: str) -> None:
        shape = torch.broadcast_shapes(*(self._shape(a) for a in node.args))
        texts = []
        for arg in node.args[:2]:
            if isinstance(arg, Node) and arg in self.places:
                texts.append(f"x[{self._together(self.places[arg].expand(shape))} + i]")
            elif isinstance(arg, Node):
                values = self.known[arg].expand(shape).flatten().numpy()
                texts.append(f"{self._array(f'c{len(self.program.arrays)}', values)}[i]" if values.size else "")
            else:
                texts.append(number(float(arg)))  # type: ignore[arg-type]
        out = self._allocate(node, shape)
        self._loop(math.prod(shape), f"x[{out} + i] = {texts[0]} {sign} {texts[1]};")

    def _shape(self, arg: Any) -> tuple[int, ...]:
        if not isinstance(arg, Node):
            return ()
        return tuple((self.places if arg in self.places else self.known)[arg].shape)

    def _together(self, places: Tensor) -> int:
        """Where these addresses lie side by side in ``x``; they are copied there if they do not yet."""
        flat = places.flatten().tolist()
        if not flat:
            return 0
        if flat == list(range(flat[0], flat[0] + len(flat))):
            return flat[0]
        out = self.program.size
        self.program.size += len(flat)
        done = 0
        while done < len(flat):
            step = flat[done + 1] - flat[done] if done + 1 < len(flat) else 1
            end = done + 1
            while end < len(flat) and flat[end] - flat[end - 1] == step:
                end += 1
            if step != 1:
                self._loop(end - done, f"x[{out + done} + i] = x[{flat[done]} + i * {step}];")
            else:
                self._say(f"memcpy(x + {out + done}, x + {flat[done]}, {end - done} * sizeof *x);")
            done = end
        return out

    def _allocate(self, node: Node, shape: tuple[int, ...]) -> int:
        out, count = self.program.size, math.prod(shape)
        self.places[node] = torch.arange(out, out + count).reshape(shape)
        self.program.size += count
        return out

    def _array(self, name: str, values: np.ndarray) -> str:
        kind = np.int8 if values.dtype == np.int8 else np.float32
        self.program.arrays.append(Array(name, np.ascontiguousarray(values, kind).ravel()))
        return f"@{name}"

    def _say(self, statement: str) -> None:
        self.program.statements.append(statement)

    def _loop(self, count: int, statement: str) -> None:
        if count:
            self._say(f"for (i = 0; i < {count}; ++i) {statement}")


def number(value: float) -> str:
    """The shortest C literal that is this float."""
    text = str(np.float32(value))
    return f"{text if '.' in text or 'e' in text else text + '.0'}f"


def _node(arg: Any) -> Node:
    assert isinstance(arg, Node)
    return arg


def _no_words(node: Node) -> str:
    return f"the C export does not know '{node.target}': export to ONNX, or teach policy/export/c_code.py the operation"
