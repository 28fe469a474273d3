"""Arrays that answer to PyTorch's names and are computed by NumPy, for worlds of a few robots.

On one robot a PyTorch operation costs two to three times NumPy's: dispatch, not arithmetic. Terms, measurements and
observations are written once, in PyTorch's words; a small world hands them ``Rows``. What stands below is NumPy's, with
PyTorch's meaning; every other method and function goes through PyTorch on the same memory, slower and right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Rows:
    """An array with one row for each robot; ``array`` is NumPy's."""

    __slots__ = ("array",)
    device = torch.device("cpu")

    def __init__(self, array: Any) -> None:
        self.array = array

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        short = _FUNCTIONS.get(func)
        return _by_torch(func, args, kwargs or {}) if short is None else short(*args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        """What a tensor has under this name."""
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(tensor(self), name)
        return (lambda *args, **kwargs: _by_torch(found, args, kwargs)) if callable(found) else _from_torch(found)

    def __getitem__(self, index: Any) -> Rows:
        return Rows(self.array[_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.array[_index(index)] = _plain(value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self.array, dtype, copy=copy)

    def __int__(self) -> int:
        return int(self.array.item())

    def __len__(self) -> int:
        return len(self.array)

    def __bool__(self) -> bool:
        return bool(self.array.item())

    def __float__(self) -> float:
        return float(self.array.item())

    def __format__(self, spec: str) -> str:
        return format(tensor(self), spec)

    def __repr__(self) -> str:
        return f"Rows({self.array!r})"

    def __neg__(self) -> Rows:
        return Rows(-self.array)

    def __invert__(self) -> Rows:
        return Rows(~self.array)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.array.shape

    def sum(self, dim: Any = None, keepdim: bool = False) -> Rows:
        return Rows(_reduce(np.add, self.array, dim, keepdim))

    def any(self, dim: Any = None, keepdim: bool = False) -> Rows:
        return Rows(_reduce(np.logical_or, self.array, dim, keepdim))

    def all(self, dim: Any = None, keepdim: bool = False) -> Rows:
        return Rows(_reduce(np.logical_and, self.array, dim, keepdim))

    def amax(self, dim: Any = None, keepdim: bool = False) -> Rows:
        return Rows(_reduce(np.maximum, self.array, dim, keepdim))

    def amin(self, dim: Any = None, keepdim: bool = False) -> Rows:
        return Rows(_reduce(np.minimum, self.array, dim, keepdim))

    def square(self) -> Rows:
        return Rows(np.square(self.array))

    def abs(self) -> Rows:
        return Rows(np.abs(self.array))

    def sqrt(self) -> Rows:
        return Rows(np.sqrt(self.array))

    def float(self) -> Rows:
        return self if self.array.dtype is _FLOAT else Rows(self.array.astype(np.float32))

    def clone(self) -> Rows:
        return Rows(self.array.copy())

    def clamp(self, min: Any = None, max: Any = None) -> Rows:
        low = self.array if min is None else np.maximum(self.array, _plain(min))
        return Rows(low if max is None else np.minimum(low, _plain(max)))

    def unbind(self, dim: int = 0) -> tuple[Rows, ...]:
        array = self.array if dim == 0 else self.array.swapaxes(0, dim) if self.array.ndim == 2 else None
        return tuple(map(Rows, np.moveaxis(self.array, dim, 0) if array is None else array))


def tensor(value: Any) -> Tensor:
    """The memory of ``Rows`` as a tensor; a tensor as it is."""
    return torch.from_numpy(np.asarray(value.array)) if isinstance(value, Rows) else value


def like(values: Tensor, other: Tensor | Rows) -> Any:
    """``values``, on the CPU, as what ``other`` is."""
    return Rows(values.numpy()) if isinstance(other, Rows) else values


_FLOAT, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def _reduce(operation: Any, array: np.ndarray, dim: Any, keepdim: Any) -> np.ndarray:
    return operation.reduce(array, dim, None, None, keepdim)


def _plain(value: Any) -> Any:
    kind = value.__class__
    if kind is Rows:
        return value.array
    return value.numpy() if isinstance(value, Tensor) else value


def _index(index: Any) -> Any:
    if index.__class__ is not tuple:
        return _plain(index)
    for part in index:
        if part.__class__ is Tensor or part.__class__ is Rows:  # NumPy takes a tensor of one number for a number
            return tuple(map(_plain, index))
    return index


def _binary(operation: Any, swapped: bool = False) -> Any:
    def method(self: Rows, other: Any) -> Rows:
        kind = other.__class__
        if kind is Rows:
            other = other.array
        elif kind is not float and kind is not int:
            other = _plain(other)
        result = operation(other, self.array) if swapped else operation(self.array, other)
        if result.dtype is _DOUBLE and self.array.dtype is not _DOUBLE:  # NumPy's of truth values and whole numbers
            result = result.astype(np.float32)
        return Rows(result)

    return method


def _in_place(operation: Any) -> Any:
    def method(self: Rows, other: Any) -> Rows:
        operation(self.array, _plain(other), out=self.array, casting="same_kind")
        return self

    return method


for _name, _operation in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "pow": np.power,
    "and": np.bitwise_and, "or": np.bitwise_or, "mod": np.mod,
}.items():  # fmt: skip
    setattr(Rows, f"__{_name}__", _binary(_operation))
    setattr(Rows, f"__r{_name}__", _binary(_operation, swapped=True))
    setattr(Rows, f"__i{_name}__", _in_place(_operation))
for _name, _operation in {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}.items():  # fmt: skip
    setattr(Rows, f"__{_name}__", _binary(_operation))


def _concatenate(parts: Sequence[Any], dim: int = 0) -> Rows:
    return Rows(np.concatenate([_plain(part) for part in parts], dim))


def _stack(parts: Sequence[Any], dim: int = 0) -> Rows:
    whole = np.array([_plain(part) for part in parts])
    return Rows(whole if dim == 0 else whole.T if whole.ndim == 2 else np.moveaxis(whole, 0, dim))


def _where(condition: Any, yes: Any, no: Any) -> Rows:
    return Rows(np.where(_plain(condition), _plain(yes), _plain(no)))


def _unary(operation: Any) -> Callable[[Any], Rows]:
    return lambda value: Rows(operation(value.array))


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    torch.cat: _concatenate, torch.stack: _stack, torch.where: _where, torch.exp: _unary(np.exp),
    torch.acos: _unary(np.arccos), torch.isfinite: _unary(np.isfinite),
}  # fmt: skip


def _by_torch(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    return _from_torch(function(*map(_to_torch, args), **{name: _to_torch(value) for name, value in kwargs.items()}))


def _to_torch(value: Any) -> Any:
    return type(value)(map(_to_torch, value)) if type(value) in (tuple, list) else tensor(value)


def _from_torch(value: Any) -> Any:
    if type(value) in (tuple, list):
        return type(value)(map(_from_torch, value))
    return Rows(value.numpy()) if isinstance(value, Tensor) else value
