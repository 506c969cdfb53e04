"""GenericOperator: an operator of any type, whose shapes and computation the user gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .attributes import DynamicAttributes, edited
from .errors import GraphViewError, TensorTypeError
from .node import Node
from .operator import Data, InputCategory, Operator, OperatorTensor, OperatorType, Param

Dims = list[list[int]]


def _no_emission(c: Any, *inputs: Any, **attrs: Any) -> Any:
    raise GraphViewError(
        f"node {c.name!r} is a GenericOperator: it has no formula; "
        "give it one with set_impl(OperatorImpl), or replace it"
    )


class GenericOperatorOp(OperatorTensor):
    """GenericOperatorOp(type, nb_data, nb_param, nb_out), or (type, [InputCategory per input], nb_out)."""

    Type = "GenericOperator"

    def __init__(self, type: str, *counts: Any, **attributes: Any) -> None:
        categories, nb_out = _categories(type, counts)
        outputs = tuple(f"data_output_{k}" for k in range(nb_out))
        inputs = tuple((f"data_input_{k}", c) for k, c in enumerate(categories))
        Operator.__init__(self, OperatorType(str(type), _no_emission, inputs, outputs, rank=None), {})
        self.attr = DynamicAttributes(attributes)
        self._dims: Callable[[Dims], Dims] | None = None

    @staticmethod
    def identity(dims: Dims) -> Dims:
        """For set_forward_dims: every output has the shape of the input."""
        return dims

    def set_forward_dims(self, compute: Callable[[Dims], Dims]) -> None:
        """compute(shapes of the inputs) gives the shapes of the outputs."""
        if not callable(compute):
            raise TensorTypeError(f"set_forward_dims: expected a function of a list of shapes, got {compute!r}")
        self._dims = compute
        edited()

    @property
    def is_opaque(self) -> bool:
        return True

    @property
    def has_formula(self) -> bool:
        return False

    def output_dims(self, dims: Dims) -> Dims | None:
        if self._dims is None:
            return None
        found = [[int(d) for d in shape] for shape in self._dims(dims)]
        if len(found) != self.nb_outputs():
            raise GraphViewError(
                f"operator {self.type()}: the function of set_forward_dims gave {len(found)} shapes, it has "
                f"{self.nb_outputs()} outputs"
            )
        return found

    def clone(self) -> Operator:
        copy = super().clone()
        copy.attr = self.attr.copy() if isinstance(self.attr, DynamicAttributes) else copy.attr
        if isinstance(copy, GenericOperatorOp):
            copy._dims = self._dims
        return copy


def GenericOperator(type: str, *counts: Any, name: str = "", **attributes: Any) -> Node:  # noqa: N802
    """A node of any type: GenericOperator(type, nb_data, nb_param, nb_out, name="", **attributes), or
    GenericOperator(type, [InputCategory per input], nb_out, name="", **attributes).

    set_forward_dims on its operator gives the shapes, set_impl the computation.
    """
    given = list(counts)
    for key in ("nb_data", "nb_param", "input_category", "nb_out"):
        if key in attributes:
            given.append(attributes.pop(key))
    if given and isinstance(given[-1], str):
        name = given.pop()
    return Node(GenericOperatorOp(type, *given, **attributes), name)


def _categories(type: str, given: Sequence[Any]) -> tuple[list[InputCategory], int]:
    """The category of each input and the number of outputs, from either form of the arguments."""
    if len(given) == 2 and isinstance(given[0], list | tuple):
        categories, outputs = list(given[0]), given[1]
    elif len(given) == 3 and all(isinstance(n, int) for n in given):
        categories, outputs = [Data] * given[0] + [Param] * given[1], given[2]
    else:
        raise TensorTypeError(
            f"GenericOperator({type!r}, ...): expected (nb_data, nb_param, nb_out) or ([InputCategory ...], nb_out), "
            f"got {tuple(given)!r}"
        )
    if not all(isinstance(c, InputCategory) for c in categories):
        raise TensorTypeError(f"GenericOperator({type!r}, ...): input categories are InputCategory, got {categories!r}")
    return categories, int(outputs)
