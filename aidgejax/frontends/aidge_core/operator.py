"""What an operator is here: a type of Aidge's, its inputs, its attributes, and how it is written in the core's
operators.  The table itself is the package `operators`."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .absent import AbsentMethods
from .attributes import Attributes, edited
from .backends import place_of
from .dtypes import to_numpy_dtype
from .enums import enum_member
from .errors import GraphIndexError, MissingAttribute, OrderError, TensorTypeError
from .implementation import OperatorImpl, call_late, implementation_for
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

    emit(c, *inputs, **attributes) writes the operator through `c` (an Emission) and returns its output or outputs.
    defaults: its attributes.  rank: of the output, "same" as input 0's, a number, or None.
    signature, weights: of the function that makes a node, see operators/definition.py.
    """

    name: str
    emit: Callable[..., Any]
    inputs: tuple[tuple[str, InputCategory], ...] = (("data_input", Data),)
    outputs: tuple[str, ...] = ("data_output",)
    defaults: dict[str, Any] = field(default_factory=dict)
    variadic: bool = False
    rank: Any = "same"
    leading: tuple[str, ...] = ()  # attributes that stand before the others
    signature: inspect.Signature = field(default_factory=inspect.Signature)
    weights: Callable[..., dict[str, Any]] | None = None


class Operator(AbsentMethods):
    """An operator of a node: type, attributes, input categories, and the tensors that it wrote last.

    For the library: `kind` is its row of the table, `tensors` its outputs, `given_inputs` what set_input gave.
    """

    def __init__(
        self,
        kind: OperatorType,
        attrs: dict[str, Any],
        *,
        inputs: tuple[tuple[str, InputCategory], ...] | None = None,
        outputs: tuple[str, ...] | None = None,
    ) -> None:
        self.kind = kind
        values = {**kind.defaults, **attrs}
        first = [k for k in kind.leading if k in values]
        if kind.signature.parameters:  # of the table; a node of a file keeps what the file says
            values = {k: enum_member(kind.name, k, v) for k, v in values.items()}
        self.attr = Attributes({k: values[k] for k in (*first, *values)})
        self.input_spec = tuple(kind.inputs if inputs is None else inputs)
        self.output_names = tuple(kind.outputs if outputs is None else outputs)
        self.tensors = [Tensor() for _ in self.output_names]
        self.given_inputs: dict[int, Tensor] = {}
        self.backend_name: str | None = None
        self.place: Any = None
        self.datatype: np.dtype | None = None
        self.node: Any = None
        self.impl: OperatorImpl | None = None
        self.back_edges: set[int] = set()

    @property
    def is_to_be_started(self) -> bool:
        """Does the first forward set something of it, from the data that it then sees?"""
        return False

    def start(self) -> None:
        """Set it."""

    def emit(self, c: Any, *inputs: Any) -> Any:
        """Write it into the core's graph; its output or outputs."""
        return self.kind.emit(c, *inputs, **self.attr.dict())

    @property
    def is_opaque(self) -> bool:
        """Is it computed by Python, outside any compiled program?"""
        return self.impl is not None

    @property
    def has_formula(self) -> bool:
        """Can the core compute it, or its shapes at least?"""
        return True

    def output_dims(self, dims: list[list[int]]) -> list[list[int]] | None:
        """The shapes of its outputs, where no graph of the core's gives them; None where they are unknown."""
        return None

    def forward(self) -> None:
        """Compute this operator alone, from what its inputs hold."""
        call_late("forward", self)

    def forward_dims(self, allow_data_dependency: bool = False) -> bool:
        """The shapes of its outputs from those of its inputs; False where they are unknown."""
        return bool(call_late("forward_dims", self))

    def set_impl(self, implementation: OperatorImpl) -> None:
        """Let implementation.forward() and .backward() compute this operator."""
        if not isinstance(implementation, OperatorImpl):
            raise TensorTypeError(f"set_impl: expected an OperatorImpl, got {type(implementation).__name__}")
        self.impl = implementation
        edited()

    def get_impl(self) -> OperatorImpl | None:
        return self.impl

    def type(self) -> str:
        return self.kind.name

    def nb_inputs(self) -> int:
        return len(self.input_spec)

    def nb_outputs(self) -> int:
        return len(self.tensors)

    def input_category(self, idx: int | None = None) -> Any:
        found = [c for _, c in self.input_spec]
        return found if idx is None else found[self._checked(idx, len(found), "input")]

    def is_optional_input(self, inputIdx: int) -> bool:  # noqa: N803
        return bool(self.input_category(inputIdx) & InputCategory.Optional)

    def is_atomic(self) -> bool:
        return call_late("micro_graph", self) is None

    @property
    def get_micro_graph(self) -> Callable[[], Any]:
        """get_micro_graph() is the graph inside a meta-operator; an operator that is none has no such attribute."""
        found = call_late("micro_graph", self)
        if found is None:
            raise MissingAttribute(f"operator {self.type()} is no meta-operator: it has no micro graph")
        return lambda: found

    def set_back_edges(self, input_indexes: Any) -> None:
        """Inputs that a later node feeds, as in a recurrent graph."""
        self.back_edges = set(input_indexes)

    def is_back_edge(self, input_index: int) -> bool:
        return input_index in self.back_edges

    def is_graph_input(self, idx: int) -> bool:
        """Is the input one of the graph's, where nothing feeds it?"""
        category = self.input_category(idx)
        return bool(category & InputCategory.Data and not category & InputCategory.Optional)

    def _checked(self, idx: int, count: int, what: str) -> int:
        if not isinstance(idx, int) or not 0 <= idx < count:
            raise GraphIndexError(f"operator {self.type()} has no {what} {idx}; it has {count}")
        return idx

    # ---- tensors ----------------------------------------------------------------------------------------

    def get_output(self, outputIdx: int = 0) -> Tensor:  # noqa: N803
        return self.tensors[self._checked(outputIdx, len(self.tensors), "output")]

    get_raw_output = get_output

    def get_outputs(self) -> list[Tensor]:
        return list(self.tensors)

    def set_output(self, outputIdx: int, data: Any) -> None:  # noqa: N803
        """The output tensor becomes a copy of `data`; the tensor object stays the same."""
        self.get_output(outputIdx).copy_from(as_tensor(data, f"output {outputIdx} of {self.type()}"))
        edited()

    def get_input(self, inputIdx: int = 0) -> Tensor | None:  # noqa: N803
        self._checked(inputIdx, self.nb_inputs(), "input")
        parent = self.node.sources[inputIdx] if self.node is not None else None
        return parent[0].get_operator().get_output(parent[1]) if parent else self.given_inputs.get(inputIdx)

    get_raw_input = get_input

    def get_inputs(self) -> list[Tensor | None]:
        return [self.get_input(k) for k in range(self.nb_inputs())]

    def set_input(self, inputIdx: int, data: Any) -> None:  # noqa: N803
        self._checked(inputIdx, self.nb_inputs(), "input")
        self.given_inputs[inputIdx] = as_tensor(data, f"input {inputIdx} of {self.type()}")
        edited()

    associate_input = set_input

    def reset_input(self, inputIdx: int) -> None:  # noqa: N803
        self.given_inputs.pop(inputIdx, None)
        edited()

    # ---- backend, dtype, shapes -------------------------------------------------------------------------

    def backend(self) -> str:
        return self.backend_name or ""

    def set_backend(self, name: str, device: int = 0) -> None:
        self.place, self.backend_name = place_of(name, device), name
        for t in self.tensors:
            t.set_backend(name, device)
        self.impl = implementation_for(self, self.type(), name) or self.impl
        edited()

    def set_datatype(self, dataType: Any) -> None:  # noqa: N803
        self.datatype = to_numpy_dtype(dataType)
        for t in self.tensors:
            t.set_datatype(dataType)
        edited()

    def set_device(self, device: int) -> None:
        if self.backend_name is None:
            raise OrderError(f"operator {self.type()}: call set_backend before set_device")
        self.set_backend(self.backend_name, device)

    def set_dataformat(self, dataFormat: Any) -> None:  # noqa: N803
        for t in self.tensors:
            t.set_data_format(dataFormat)

    def dims_forwarded(self) -> bool:
        return all(t.cell.shape or t.has_data() for t in self.tensors)

    def clone(self) -> Operator:
        """The same operator, connected to nothing; a Producer's tensor is copied."""
        copy = object.__new__(type(self))
        Operator.__init__(copy, self.kind, self.attr.dict(), inputs=self.input_spec, outputs=self.output_names)
        for k, old in enumerate(self.tensors):
            copy.tensors[k] = (
                old.clone() if self.kind.name == "Producer" else Tensor(dims=old.dims, kind=old.cell.dtype)
            )
            copy.tensors[k].made_like(old).gradient = None
        copy.backend_name, copy.place, copy.datatype = self.backend_name, self.place, self.datatype
        return copy

    def __repr__(self) -> str:
        return f"Operator(type = '{self.type()}', attr = {self.attr.dict()})"


class OperatorTensor(Operator):
    """An operator that reads and writes tensors, as all do; FCOp, Conv2DOp ... are its subclasses."""

    def forward_dtype(self) -> bool:
        """Data types follow from the inputs when the graph is compiled."""
        return True
