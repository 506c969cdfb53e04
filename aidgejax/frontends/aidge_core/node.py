"""aidge_core.Node: an operator in a graph, with its parents, its children and its annotations."""

from __future__ import annotations

import itertools
from typing import Any

from ._errors import GraphViewError, TensorTypeError
from .attributes import DynamicAttributes, edited
from .operator import InputCategory, Operator
from .tensor import Tensor

FREE = 65535  # Aidge's "the next free input"
_ids = itertools.count()


class Node:
    """Node(operator, name).  Parametrised factories (FC, Conv2D ...) attach Producers; a bare Node(FCOp()) has none."""

    def __init__(self, op: Operator, name: str = "") -> None:
        if not isinstance(op, Operator):
            raise TensorTypeError(f"Node(operator, name): expected an operator such as FCOp(), got {op!r}")
        self._op, self._name, self._id = op, str(name), next(_ids)
        op.node = self
        self._parents: list[tuple[Node, int] | None] = [None] * op.nb_inputs()
        self._children: list[list[tuple[Node, int]]] = [[] for _ in range(op.nb_outputs())]
        self._views: list[Any] = []
        self._annotations = DynamicAttributes({"name": self._name})

    # ---- itself -----------------------------------------------------------------------------------------

    def name(self) -> str:
        return self._name

    def set_name(self, name: str) -> None:
        self._name = str(name)
        self._annotations.set_attr("name", self._name)

    def type(self) -> str:
        return self._op.type()

    def id(self) -> int:
        return self._id

    def get_operator(self) -> Operator:
        return self._op

    def annotations(self) -> DynamicAttributes:
        return self._annotations

    attributes = annotations

    @property
    def annot(self) -> DynamicAttributes:
        return self._annotations

    def create_unique_name(self, base_name: str) -> str:
        taken = {n.name() for v in self._views for n in v._nodes}
        return unique_name(base_name, taken)

    # ---- connections ------------------------------------------------------------------------------------

    def add_child(self, other: Any, out_id: int = 0, other_in_id: Any = FREE) -> None:
        """Feed output out_id to an input of another node (default: its first free data input), or of a graph.

        An input that is fed already gets the new parent instead.
        """
        if not isinstance(other, Node):
            other, other_in_id = other._entry(other_in_id)
        self._op.get_output(out_id)
        if other_in_id in (FREE, None):
            other_in_id = other._first_free_input()
        if not 0 <= other_in_id < len(other._parents):
            raise GraphViewError(
                f"node {other.name()!r} ({other.type()}) has no input {other_in_id}; it has "
                f"{len(other._parents)} (0 to {len(other._parents) - 1})"
            )
        other._disconnect(other_in_id)
        other._parents[other_in_id] = (self, out_id)
        self._children[out_id].append((other, other_in_id))
        for view in list(other._views):
            if self not in view._nodes and self.type() == "Producer":
                view.add(self)
        edited()

    def _first_free_input(self) -> int:
        for optional in (False, True):
            for k, parent in enumerate(self._parents):
                category = self._op.input_category(k)
                if (
                    parent is None
                    and category & InputCategory.Data
                    and optional == bool(category & InputCategory.Optional)
                ):
                    return k
        raise GraphViewError(
            f"node {self._name!r} ({self.type()}) has no free data input left; it has "
            f"{len(self._parents)} inputs. Say which one is to be replaced"
        )

    def _disconnect(self, k: int) -> None:
        if self._parents[k] is not None:
            old, out = self._parents[k]
            old._children[out].remove((self, k))
            self._parents[k] = None

    def remove_child(self, node_ptr: Node, out_id: int = 0) -> bool:
        found = [(n, k) for n, k in self._children[out_id] if n is node_ptr]
        for n, k in found:
            n._disconnect(k)
        edited()
        return bool(found)

    def reset_connections(self, include_learnable_param: bool = False) -> None:
        for k, parent in enumerate(self._parents):
            if parent and (include_learnable_param or parent[0].type() != "Producer"):
                self._disconnect(k)
        for out in self._children:
            for n, k in list(out):
                n._disconnect(k)
        edited()

    def get_parent(self, in_id: int) -> Node | None:
        if not 0 <= in_id < len(self._parents):
            raise GraphViewError(
                f"node {self._name!r} ({self.type()}) has no input {in_id}; it has {len(self._parents)}"
            )
        return self._parents[in_id][0] if self._parents[in_id] else None

    def get_parents(self) -> list[Node | None]:
        return [p[0] if p else None for p in self._parents]

    def get_children(self, out_id: int | None = None) -> set[Node]:
        chosen = self._children if out_id is None else [self._children[out_id]]
        return {n for out in chosen for n, _ in out}

    def get_ordered_children(self) -> list[list[Node]]:
        return [[n for n, _ in out] for out in self._children]

    def get_nb_inputs(self) -> int:
        return len(self._parents)

    def get_nb_outputs(self) -> int:
        return len(self._children)

    def get_nb_free_inputs(self) -> int:
        return sum(p is None for p in self._parents)

    def get_nb_free_outputs(self) -> int:
        return sum(not c for c in self._children)

    def input(self, in_id: int) -> tuple[Node | None, int]:
        return self._parents[in_id] or (None, FREE)

    def inputs(self) -> list[tuple[Node | None, int]]:
        return [self.input(k) for k in range(len(self._parents))]

    def output(self, out_id: int) -> list[tuple[Node, int]]:
        return list(self._children[out_id])

    def outputs(self) -> list[list[tuple[Node, int]]]:
        return [list(c) for c in self._children]

    def input_category(self, idx: int) -> InputCategory:
        return self._op.input_category(idx)

    def is_optional_input(self, idx: int) -> bool:
        return self._op.is_optional_input(idx)

    def input_name(self, in_id: int) -> str:
        parent = self._parents[in_id]
        if parent:
            return parent[0].output_name(parent[1])
        return "" if self._op.is_optional_input(in_id) else f"{self._name}_in{in_id}"

    def inputs_names(self) -> list[str]:
        return [self.input_name(k) for k in range(len(self._parents))]

    def output_name(self, out_id: int) -> str:
        return f"{self._name}_out{out_id}"

    def outputs_names(self) -> list[str]:
        return [self.output_name(k) for k in range(len(self._children))]

    def clone(self) -> Node:
        """The same operator under the same name, connected to nothing."""
        twin = Node(self._op.clone(), self._name)
        for k, v in self._annotations.dict().items():
            twin._annotations._values[k] = dict(v) if isinstance(v, dict) else v
        return twin

    # ---- functional building ----------------------------------------------------------------------------

    def __call__(self, *args: Any) -> Connector:
        """node(connector, ...): connect the given outputs to the inputs, in order; the node's output as a Connector."""
        for k, a in enumerate(args):
            if not isinstance(a, Connector):
                raise TensorTypeError(f"node {self._name!r} is called with Connectors, got {type(a).__name__}")
            if a._node is not None:
                a._node.add_child(self, a._output, k)
        return Connector(self)

    def __repr__(self) -> str:
        return f"Node(name = '{self._name}', type = '{self.type()}')"


class Connector:
    """An output of a node, for functional building: y = fc(relu(Connector())).  Connector() is a graph input."""

    def __init__(self, node: Any = None) -> None:
        if node is not None and not isinstance(node, Node):
            from .factories import Producer

            node = Producer(Tensor(node), "")
        self._node, self._output = node, 0

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

    def __add__(self, other: Any) -> Connector:
        from .factories import Add

        return Add()(self, other if isinstance(other, Connector) else Connector(float(other)))


def unique_name(name: str, taken: Any) -> str:
    if name not in taken:
        return name
    return next(n for k in itertools.count(1) if (n := f"{name}_{k}") not in taken)
