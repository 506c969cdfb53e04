"""aidge_core.Node: an operator in a graph, with its parents, its children and its annotations."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .attributes import DynamicAttributes, edited
from .dtypes import dtype
from .errors import GraphIndexError, GraphViewError, TensorIndexError, TensorTypeError
from .implementation import call_late
from .operator import InputCategory, Operator
from .operators import make_operator
from .operators.producer import ProducerOp
from .tensor import Tensor

FREE = 65535  # Aidge's "the next free input"
_ids = itertools.count()


class Port:
    """(node, index): port.node, port.index, port[0], port[1]; equal to the tuple.  An unconnected one has no node."""

    __slots__ = ("index", "node")

    def __init__(self, node: Any, index: int = FREE) -> None:
        self.node, self.index = node, index

    def __getitem__(self, key: Any) -> Any:
        if key not in (0, 1):
            raise TensorIndexError(f"a Port has a node (0) and an index (1), got {key!r}")
        return (self.node, self.index)[key]

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Any]:
        return iter((self.node, self.index))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Port | tuple) and (self.node, self.index) == tuple(other)

    def __hash__(self) -> int:
        return hash((self.node, self.index))

    def __repr__(self) -> str:
        return f"Port({self.node.name() if self.node is not None else None}, {self.index})"


class Node:
    """Node(operator, name).  Parametrised factories (FC, Conv2D ...) attach Producers; a bare Node(FCOp()) has none."""

    def __init__(self, op: Operator, name: str = "") -> None:
        if not isinstance(op, Operator):
            raise TensorTypeError(f"Node(operator, name): expected an operator such as FCOp(), got {op!r}")
        self.operator, self._name, self._id = op, str(name), next(_ids)
        op.node = self
        self.sources: list[Port | None] = [None] * op.nb_inputs()
        self.readers: list[list[Port]] = [[] for _ in range(op.nb_outputs())]
        self.views: list[Any] = []
        self._annotations = DynamicAttributes({"name": self._name})

    # ---- itself -----------------------------------------------------------------------------------------

    def name(self) -> str:
        return self._name

    def set_name(self, name: str) -> None:
        self._name = str(name)
        self._annotations.set_attr("name", self._name)

    def type(self) -> str:
        return self.operator.type()

    def id(self) -> int:
        return self._id

    def get_operator(self) -> Operator:
        return self.operator

    def annotations(self) -> DynamicAttributes:
        return self._annotations

    attributes = annotations

    @property
    def annot(self) -> DynamicAttributes:
        return self._annotations

    def create_unique_name(self, base_name: str) -> str:
        taken = {n.name() for v in self.views for n in v.members}
        return unique_name(base_name, taken)

    # ---- connections ------------------------------------------------------------------------------------

    def add_child(self, other: Any, out_id: int = 0, other_in_id: Any = FREE) -> None:
        """Feed output out_id to an input of another node (default: its first free data input), or of a graph.

        An input that is fed already gets the new parent instead.
        """
        if not isinstance(other, Node):
            if not hasattr(other, "entry"):
                raise TensorTypeError(f"node {self._name!r} feeds a Node or a GraphView, got {other!r}")
            other, other_in_id = other.entry(other_in_id)
        self.operator.get_output(out_id)
        if other_in_id in (FREE, None):
            other_in_id = other.first_free_input()
        if not 0 <= other_in_id < len(other.sources):
            raise GraphViewError(
                f"node {other.name()!r} ({other.type()}) has no input {other_in_id}; it has "
                f"{len(other.sources)} (0 to {len(other.sources) - 1})"
            )
        other.disconnect(other_in_id)
        other.sources[other_in_id] = Port(self, out_id)
        self.readers[out_id].append(Port(other, other_in_id))
        for view in list(other.views):
            if self not in view.members and self.type() == "Producer":
                view.add(self)
        edited()

    def to(self, other: Any, out_id: int = 0, other_in_id: Any = FREE) -> Any:
        """As add_child; gives the other node or graph, so that a.to(b).to(c) makes a chain."""
        self.add_child(other, out_id, other_in_id)
        return other

    link = link_to = to

    def first_free_input(self) -> int:
        for optional in (False, True):
            for k, parent in enumerate(self.sources):
                category = self.operator.input_category(k)
                if (
                    parent is None
                    and category & InputCategory.Data
                    and optional == bool(category & InputCategory.Optional)
                ):
                    return k
        raise GraphViewError(
            f"node {self._name!r} ({self.type()}) has no free data input left; it has "
            f"{len(self.sources)} inputs. Say which one is to be replaced"
        )

    def disconnect(self, k: int) -> None:
        """Leave input k free."""
        source = self.sources[k]
        if source is not None:
            source.node.readers[source.index].remove((self, k))
            self.sources[k] = None

    def remove_child(self, node_ptr: Node, out_id: int = 0) -> bool:
        """Undo one connection of this output to the node, the first that was made; False where there is none."""
        self.operator.get_output(out_id)
        found = next(((n, k) for n, k in self.readers[out_id] if n is node_ptr), None)
        if found is not None:
            found[0].disconnect(found[1])
            edited()
        return found is not None

    def reset_connections(self, include_learnable_param: bool = False) -> None:
        for k, parent in enumerate(self.sources):
            if parent and (include_learnable_param or parent[0].type() != "Producer"):
                self.disconnect(k)
        for out in self.readers:
            for n, k in list(out):
                n.disconnect(k)
        edited()

    def get_parent(self, in_id: int) -> Node | None:
        source = self._input(in_id)
        return source.node if source else None

    def _input(self, in_id: int) -> Port | None:
        if not isinstance(in_id, int) or not 0 <= in_id < len(self.sources):
            raise GraphIndexError(
                f"node {self._name!r} ({self.type()}) has no input {in_id!r}; it has {len(self.sources)}"
            )
        return self.sources[in_id]

    def get_parents(self) -> list[Node | None]:
        return [p[0] if p else None for p in self.sources]

    def get_children(self, out_id: int | None = None) -> set[Node]:
        chosen = self.readers if out_id is None else [self.readers[out_id]]
        return {n for out in chosen for n, _ in out}

    def get_ordered_children(self) -> list[list[Node]]:
        return [[n for n, _ in out] for out in self.readers]

    def get_nb_inputs(self) -> int:
        return len(self.sources)

    def get_nb_outputs(self) -> int:
        return len(self.readers)

    def get_all_input_tuples(self) -> list[tuple[Node, int]]:
        return [(self, k) for k in range(len(self.sources))]

    def get_all_output_tuples(self) -> list[tuple[Node, int]]:
        return [(self, k) for k in range(len(self.readers))]

    def get_free_input_tuples(self) -> list[tuple[Node, int]]:
        return [(self, k) for k, p in enumerate(self.sources) if p is None]

    def get_free_output_tuples(self) -> list[tuple[Node, int]]:
        return [(self, k) for k, out in enumerate(self.readers) if not out]

    def get_nb_free_inputs(self) -> int:
        return sum(p is None for p in self.sources)

    def get_nb_free_outputs(self) -> int:
        return sum(not c for c in self.readers)

    def input(self, in_id: int) -> Port:
        return self._input(in_id) or Port(None)

    def inputs(self) -> list[Port]:
        return [self.input(k) for k in range(len(self.sources))]

    def output(self, out_id: int) -> list[Port]:
        self.operator.get_output(out_id)
        return list(self.readers[out_id])

    def outputs(self) -> list[list[Port]]:
        return [list(c) for c in self.readers]

    def input_category(self, idx: int) -> InputCategory:
        return self.operator.input_category(idx)

    def parent_is_back_edge(self, idx: int) -> bool:
        return self.operator.is_back_edge(idx)

    def is_optional_input(self, idx: int) -> bool:
        return self.operator.is_optional_input(idx)

    def input_name(self, in_id: int, newName: str | None = None) -> str:  # noqa: N803
        """The name of an input: what was given as newName, else that of the output that feeds it."""
        parent = self._input(in_id)
        given = self._named("input_names", in_id, len(self.sources), newName)
        if given:
            return given
        if parent:
            return parent[0].output_name(parent[1])
        return "" if self.operator.is_optional_input(in_id) else f"{self._name}_in{in_id}"

    def inputs_names(self) -> list[str]:
        return [self.input_name(k) for k in range(len(self.sources))]

    def output_name(self, out_id: int, newName: str | None = None) -> str:  # noqa: N803
        """The name of an output: what was given as newName, else <node>_out<index>."""
        self.operator.get_output(out_id)
        return self._named("output_names", out_id, len(self.readers), newName) or f"{self._name}_out{out_id}"

    def _named(self, what: str, k: int, count: int, name: str | None) -> str:
        """The name of an input or output in the annotations, changed to `name` where there is one."""
        held = list(self._annotations.get_attr(what)) if self._annotations.has_attr(what) else [""] * count
        if name is not None:
            held[k] = str(name)
            self._annotations.set_attr(what, held)
        return held[k] if k < len(held) else ""

    def outputs_names(self) -> list[str]:
        return [self.output_name(k) for k in range(len(self.readers))]

    def clone(self) -> Node:
        """The same operator under the same name, connected to nothing."""
        copy = Node(self.operator.clone(), self._name)
        copy._annotations = self._annotations.copy()
        return copy

    def forward(self, inputs: Any = ()) -> list[Tensor]:
        """Compute this node alone, from what its inputs hold, the first of them set to `inputs`; its outputs."""
        for k, tensor in enumerate(inputs if isinstance(inputs, list | tuple) else [inputs]):
            self.operator.set_input(k, tensor)
        self.operator.forward()
        return self.operator.get_outputs()

    # ---- functional building ----------------------------------------------------------------------------

    def __call__(self, *args: Any) -> Connector:
        """node(connector, ...): connect the given outputs to the inputs, in order; the node's output as a Connector."""
        for k, a in enumerate(args):
            if not isinstance(a, Connector):
                raise TensorTypeError(f"node {self._name!r} is called with Connectors, got {type(a).__name__}")
            if a._node is not None:
                a._node.add_child(self, a._output, k)
        return Connector(self)

    def __rshift__(self, other: Any) -> Any:
        """a >> b: one after the other, as sequential([a, b]); so a > b and a & b."""
        return call_late("chained", self, other)

    __gt__ = __and__ = __rshift__

    def __or__(self, other: Any) -> Any:
        """a | b: side by side, as parallel([a, b])."""
        return call_late("beside", self, other)

    def __repr__(self) -> str:
        parents = [int(p is not None) for p in self.sources]
        fed = f"parents: {parents}, " if parents else ""
        readers = [[1] * len(out) for out in self.readers]
        return f"Node(name='{self._name}', optype='{self.type()}', {fed}children: {readers})"


class Connector:
    """An output of a node, for functional building: y = fc(relu(Connector())).  Connector() is a graph input."""

    def __init__(self, node: Any = None) -> None:
        if node is not None and not isinstance(node, Node | dtype):
            node = Producer(Tensor(np.asarray(node, np.float32).reshape(1)), "", constant=True)
        self._node: Node | None = None if isinstance(node, dtype) else node
        self._output = 0

    def __getitem__(self, key: int) -> Connector:
        if self._node is None:
            raise GraphViewError("an empty Connector has no outputs")
        self._node.get_operator().get_output(key)
        other = Connector(self._node)
        other._output = key
        return other

    def node(self) -> Node | None:
        return self._node

    def index(self) -> int:
        return self._output

    def forward(self, inputs: Any = ()) -> list[Tensor]:
        """Run the graph that leads here on one Tensor per graph input; its outputs."""
        return call_late("run_behind", self, inputs if isinstance(inputs, list | tuple) else [inputs])

    def __add__(self, rhs: Any) -> Connector:
        return _combined("Add", self, rhs)

    def __radd__(self, lhs: Any) -> Connector:
        return _combined("Add", lhs, self)

    def __sub__(self, rhs: Any) -> Connector:
        return _combined("Sub", self, rhs)

    def __rsub__(self, lhs: Any) -> Connector:
        return _combined("Sub", lhs, self)

    def __mul__(self, rhs: Any) -> Connector:
        return _combined("Mul", self, rhs)

    def __rmul__(self, lhs: Any) -> Connector:
        return _combined("Mul", lhs, self)

    def __truediv__(self, rhs: Any) -> Connector:
        return _combined("Div", self, rhs)

    def __rtruediv__(self, lhs: Any) -> Connector:
        return _combined("Div", lhs, self)

    def __mod__(self, rhs: Any) -> Connector:
        return _combined("Mod", self, rhs)

    def __matmul__(self, rhs: Any) -> Connector:
        return _combined("MatMul", self, rhs)


def _combined(kind: str, left: Any, right: Any) -> Connector:
    """An unnamed node of two Connectors; a number is a constant Producer of one element."""
    for side in (left, right):
        if not isinstance(side, Connector | int | float | np.number):
            raise TensorTypeError(f"{kind}: a Connector combines with a Connector or a number, got {side!r}")
    return Node(make_operator(kind))(*(s if isinstance(s, Connector) else Connector(s) for s in (left, right)))


def Producer(tensor: Any, name: str = "", constant: bool = False) -> Node:  # noqa: N802
    """A tensor of the graph: Producer(Tensor(array), "w"), or Producer([2, 3], "w") for a shape that a filler fills.

    constant=True hides it from `producers()`; it has a gradient all the same.
    """
    if tensor is None:
        raise TensorTypeError(f"Producer {name!r} was given None: expected a Tensor or a shape")
    return Node(ProducerOp(tensor, constant), name)


def with_producers(op: Operator, name: str, shapes: Mapping[str, Iterable[int] | None], first: int = 1) -> Node:
    """A node whose inputs from `first` on are fed by Producers of these shapes, named <name>_<key>."""
    node = Node(op, name)
    for k, (suffix, shape) in enumerate(shapes.items(), start=first):
        if shape is not None:
            made = Producer(list(shape), f"{name}_{suffix}" if name else "")
            made.annotations().set_attr("AttachedProducer", True)
            made.add_child(node, 0, k)
    return node


def unique_name(name: str, taken: Any) -> str:
    if name not in taken:
        return name
    return next(n for k in itertools.count(1) if (n := f"{name}_{k}") not in taken)
