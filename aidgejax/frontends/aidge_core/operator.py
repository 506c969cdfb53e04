"""What an operator is in this door: a type of Aidge's, its inputs, its attributes, and how it is written in the core's
operators.  The table itself stands in operators.py."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ._errors import GraphViewError, OrderError
from .attributes import Attributes, edited
from .backends import place_of
from .dtypes import to_numpy_dtype
from .tensor import Tensor, as_tensor


class InputCategory(enum.Flag):
    Data = 1
    Param = 2
    Attr = 4
    Optional = 8
    OptionalData = 9
    OptionalParam = 10
    OptionalAttr = 12
    All = 15


Data, Param, Attr = InputCategory.Data, InputCategory.Param, InputCategory.Attr
OptionalData, OptionalParam = InputCategory.OptionalData, InputCategory.OptionalParam


@dataclass(frozen=True)
class OperatorType:
    """name: Aidge's.  inputs: (name, category) each; variadic: its one input is repeated `nb_inputs` times.

    emit(c, a, *inputs) writes the operator through `c` (see lowering.Emission), given its attributes, and returns its
    output or outputs.  defaults: its attributes.  rank: of the output, "same" as input 0's, a number, or None.
    """

    name: str
    emit: Callable[..., Any]
    inputs: tuple[tuple[str, InputCategory], ...] = (("data_input", Data),)
    outputs: tuple[str, ...] = ("data_output",)
    defaults: dict[str, Any] = field(default_factory=dict)
    variadic: bool = False
    rank: Any = "same"


class Operator:
    """An operator of a node: type, attributes, input categories, and the tensors that it wrote last."""

    def __init__(
        self,
        kind: OperatorType,
        attrs: dict[str, Any],
        *,
        inputs: tuple | None = None,
        outputs: tuple[str, ...] | None = None,
    ) -> None:
        self.kind = kind
        self.attr = Attributes({**kind.defaults, **attrs})
        self._input_spec = tuple(kind.inputs if inputs is None else inputs)
        self._output_names = tuple(kind.outputs if outputs is None else outputs)
        self._outputs = [Tensor() for _ in self._output_names]
        self._given: dict[int, Tensor] = {}
        self._backend = self._place = None
        self._datatype = None
        self.node: Any = None

    def type(self) -> str:
        return self.kind.name

    def nb_inputs(self) -> int:
        return len(self._input_spec)

    def nb_outputs(self) -> int:
        return len(self._outputs)

    def input_category(self, idx: int | None = None) -> Any:
        found = [c for _, c in self._input_spec]
        return found if idx is None else found[self._checked(idx, len(found), "input")]

    def is_optional_input(self, inputIdx: int) -> bool:  # noqa: N803
        return bool(self.input_category(inputIdx) & InputCategory.Optional)

    def is_atomic(self) -> bool:
        return not self.kind.name.startswith("Padded")

    def _checked(self, idx: int, count: int, what: str) -> int:
        if not isinstance(idx, int) or not 0 <= idx < count:
            raise GraphViewError(f"operator {self.type()} has no {what} {idx}; it has {count}")
        return idx

    def get_output(self, outputIdx: int = 0) -> Tensor:  # noqa: N803
        return self._outputs[self._checked(outputIdx, len(self._outputs), "output")]

    get_raw_output = get_output

    def get_outputs(self) -> list[Tensor]:
        return list(self._outputs)

    def set_output(self, outputIdx: int, data: Any) -> None:  # noqa: N803
        """The output tensor becomes a copy of `data`; the tensor object stays the same."""
        self.get_output(outputIdx).copy_from(as_tensor(data, f"output {outputIdx} of {self.type()}"))
        edited()

    def get_input(self, inputIdx: int = 0) -> Tensor | None:  # noqa: N803
        self._checked(inputIdx, self.nb_inputs(), "input")
        parent = self.node._parents[inputIdx] if self.node is not None else None
        return parent[0].get_operator().get_output(parent[1]) if parent else self._given.get(inputIdx)

    get_raw_input = get_input

    def get_inputs(self) -> list[Tensor | None]:
        return [self.get_input(k) for k in range(self.nb_inputs())]

    def set_input(self, inputIdx: int, data: Any) -> None:  # noqa: N803
        self._checked(inputIdx, self.nb_inputs(), "input")
        self._given[inputIdx] = as_tensor(data, f"input {inputIdx} of {self.type()}")
        edited()

    associate_input = set_input

    def reset_input(self, inputIdx: int) -> None:  # noqa: N803
        self._given.pop(inputIdx, None)
        edited()

    def backend(self) -> str:
        return self._backend or ""

    def set_backend(self, name: str, device: int = 0) -> None:
        self._place, self._backend = place_of(name, device), name
        for t in self._outputs:
            t.set_backend(name, device)
        edited()

    def set_datatype(self, dataType: Any) -> None:  # noqa: N803
        self._datatype = to_numpy_dtype(dataType)
        for t in self._outputs:
            t.set_datatype(dataType)
        edited()

    def set_device(self, device: int) -> None:
        if self._backend is None:
            raise OrderError(f"operator {self.type()}: call set_backend before set_device")
        self.set_backend(self._backend, device)

    def set_dataformat(self, dataFormat: Any) -> None:  # noqa: N803
        for t in self._outputs:
            t.set_data_format(dataFormat)

    def dims_forwarded(self) -> bool:
        return all(t._dims or t.has_data() for t in self._outputs)

    def clone(self) -> Operator:
        twin = Operator(self.kind, self.attr.dict(), inputs=self._input_spec, outputs=self._output_names)
        if self.kind.name == "Producer":
            twin._outputs = [t.clone() for t in self._outputs]
        else:
            twin._outputs = [Tensor(dims=t._dims, kind=t._kind) for t in self._outputs]
        for t, old in zip(twin._outputs, self._outputs, strict=True):
            t._backend, t._place, t._format = old._backend, old._place, old._format
            t._grad = None
        twin._backend, twin._place, twin._datatype = self._backend, self._place, self._datatype
        return twin

    def __repr__(self) -> str:
        return f"Operator(type = '{self.type()}', attr = {self.attr.dict()})"
