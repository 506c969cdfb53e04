"""singa.autograd's operations that cut, join and pick elements, and those that no gradient passes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ...errors import GraphError
from ...graph import Graph, Value
from ._ctensor import raw
from ._elementwise import TO_FLOAT, TO_INT
from ._errors import NotATensor, NotDifferentiable
from ._operation import Built, Operator, takes_gradient
from ._products import ints
from ._tensor import Tensor

__all__ = [
    "Concat", "ConstantOfShape", "Gather", "NonZero", "OneHot", "ScatterElements", "Shape", "Slice", "Split", "cat",
    "constant_of_shape", "gather", "nonzero", "onehot", "scatter_elements", "shape", "slice", "split",
]  # fmt: skip


def _tensor_or_array(values: Any) -> Any:
    return values if isinstance(values, Tensor) else jnp.asarray(raw(values))


def _ints_or_none(values: Any) -> tuple[int, ...] | None:
    return None if values is None or np.size(values) == 0 else ints(values)


class Concat(Built):
    """Tensors joined along an axis."""

    def __init__(self, axis: int = 0) -> None:
        super().__init__(axis=int(axis))

    @staticmethod
    def write(op: Any, *xs: Any, axis: int) -> Any:
        return op.Concat(*xs, axis=axis)


def cat(xs: Any, axis: int = 0) -> Tensor:
    """Tensors joined along an axis."""
    if not isinstance(xs, tuple | list) or not xs:
        raise NotATensor(f"cat takes a tuple or a list of Tensors, got {type(xs).__name__}")
    return Concat(axis)(*xs)[0]


class Split(Built):
    """x cut along an axis into parts of these sizes, or into num_output equal ones."""

    def __init__(self, axis: int, parts: Any, num_output: int | None = None) -> None:
        super().__init__(axis=int(axis), parts=_ints_or_none(parts), count=num_output or 1)

    @staticmethod
    def write(op: Any, x: Any, axis: int, parts: tuple | None, count: int) -> Any:
        if parts is None:
            if x.shape[axis] % count:
                raise GraphError(f"axis {axis} of {x} is not divisible by {count}")
            parts = (x.shape[axis] // count,) * count
        return op.Split(x, parts, axis=axis, outputs=len(parts)) if len(parts) > 1 else op.Identity(x)


def split(x: Tensor, axis: int, parts: Any, num_output: int | None = None) -> tuple[Tensor, ...]:
    """x cut along an axis into parts of these sizes, or into num_output equal ones."""
    return Split(axis, parts, num_output)(x)


class Slice(Built):
    """x[starts:ends:steps] along axes, as ONNX's Slice."""

    def __init__(self, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> None:
        super().__init__(
            starts=_ints_or_none(starts),
            ends=_ints_or_none(ends),
            axes=_ints_or_none(axes),
            steps=_ints_or_none(steps),
        )

    @staticmethod
    def write(op: Any, x: Any, starts: tuple, ends: tuple, axes: tuple | None, steps: tuple | None) -> Any:
        return op.Slice(x, starts, ends, axes, steps)


def slice(x: Tensor, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Tensor:
    """x[starts:ends:steps] along axes, as ONNX's Slice."""
    return Slice(starts, ends, axes, steps)(x)[0]


class Gather(Built):
    """The slices of x along an axis that indices name; negative ones count from the end."""

    def __init__(self, axis: int, indices: Any) -> None:
        super().__init__((_tensor_or_array(indices),), axis=int(axis))

    @staticmethod
    def write(op: Any, x: Any, indices: Any, axis: int) -> Any:
        return op.Gather(x, op.Cast(indices, to=TO_INT), axis=axis)


def gather(x: Tensor, axis: int, indices: Any) -> Tensor:
    """The slices of x along an axis that indices name; negative ones count from the end."""
    return Gather(axis, indices)(x)[0]


class ScatterElements(Built):
    """x with the updates written where indices say, along an axis: ScatterElements(indices, updates, axis)(x).

    Updates that were computed from something trained take a gradient; SINGA has none for them.
    """

    def __init__(self, indices: Any, updates: Any, axis: int = 0) -> None:
        indices, self._updates = _tensor_or_array(indices), _tensor_or_array(updates)
        self._trained = takes_gradient(self._updates)
        extras = (indices,) if self._trained else (indices, self._updates)
        super().__init__(extras, axis=int(axis), trained=self._trained)

    def __call__(self, *xs: Tensor) -> tuple[Tensor, ...]:
        return super().__call__(*xs, *((self._updates,) if self._trained else ()))

    @staticmethod
    def write(op: Any, x: Any, first: Any, second: Any, axis: int, trained: bool) -> Any:
        indices, updates = (second, first) if trained else (first, second)
        return op.ScatterElements(x, op.Cast(indices, to=TO_INT), op.CastLike(updates, x), axis=axis)


def scatter_elements(x: Tensor, indices: Any, updates: Any, axis: int = 0) -> Tensor:
    """x with the updates written where indices say, along an axis."""
    x = x if isinstance(x, Tensor) else Tensor(data=np.asarray(x), requires_grad=False)
    return ScatterElements(indices, updates, axis)(x)[0]


# ---- no gradient --------------------------------------------------------------------------------------


class Shape(Built):
    """The sizes of x.  No gradient passes; `backward` gives the sizes of what it is handed, as SINGA's."""

    differentiable = False

    @staticmethod
    def write(op: Any, x: Any) -> Any:
        return op.Cast(op.Shape(x), to=TO_INT)

    def backward(self, *dys: Any) -> Any:
        return list(np.shape(raw(dys[0])))


def shape(x: Tensor) -> Tensor:
    """The sizes of x.  No gradient passes."""
    return Shape()(x)[0]


class ConstantOfShape(Built):
    """A tensor full of `value` whose sizes are the elements of x.  No gradient passes."""

    differentiable = False

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = float(np.reshape(np.asarray(raw(value)), -1)[0])

    def _outputs(self, xs: tuple[Tensor, ...]) -> tuple:
        self._attributes = (("shape", ints(xs[0])), ("value", self.value))
        return super()._outputs(xs)

    @staticmethod
    def write(op: Any, x: Any, shape: tuple, value: float) -> Any:
        return op.ConstantOfShape(shape, value=np.asarray([value], np.float32))


def constant_of_shape(x: Tensor, value: float = 0) -> Tensor:
    """A tensor full of `value` whose sizes are the elements of x.  No gradient passes."""
    return ConstantOfShape(value)(x)[0]


class NonZero(Operator):
    """The positions of what is not zero, a column for each; their number is only known when x is."""

    def forward(self, x: Any) -> Any:
        self._rank = np.ndim(x)
        return jnp.asarray(np.array(np.nonzero(np.asarray(x)), np.int32))

    def backward(self, dy: Any) -> Any:
        raise NotDifferentiable(f"operation {self.name} has no gradient: NonZero is not differentiable")

    def in_graph(self, graph: Graph, source: str) -> str:
        """Write it behind the tensor `source` of a graph, for any number of columns.  Returns its output's name."""
        (found,) = graph.add("NonZero", [source])
        (cast,) = graph.add("Cast", [found], {"to": TO_INT})
        for value, dtype in ((found, "int64"), (cast, "int32")):
            graph.values[value.name] = Value(value.name, (self._rank, f"{cast.name}_found"), dtype)
        return cast.name


def nonzero(x: Tensor) -> Tensor:
    """The indices of what is not zero, a column for each.  No gradient passes."""
    return NonZero()(x)[0]


class OneHot(Built):
    """values[1] where the new axis's index is the one given, else values[0].  No gradient passes."""

    differentiable = False

    def __init__(self, axis: int, depth: Any, values: Any) -> None:
        super().__init__((_tensor_or_array(values),), depth=ints(depth)[0], axis=int(axis))

    @staticmethod
    def write(op: Any, indices: Any, values: Any, depth: int, axis: int) -> Any:
        return op.OneHot(op.Cast(indices, to=TO_INT), (depth,), op.Cast(values, to=TO_FLOAT), axis=axis)


def onehot(axis: int, indices: Tensor, depth: Any, values: Any) -> Tensor:
    """values[1] where the new axis's index is the one given, else values[0].  No gradient passes."""
    return OneHot(axis, depth, values)(indices)[0]
