"""Meta-operators: a node that is a graph inside, its micro graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

from .building import sequential
from .errors import GraphViewError, TensorTypeError
from .graphview import GraphView
from .implementation import late
from .micro_graphs import INSIDE
from .node import Node, Port
from .operator import InputCategory, Operator, OperatorTensor, OperatorType
from .operators import CLASSES, TYPES, make_operator


def _inlined(c: Any, *inputs: Any, **attrs: Any) -> Any:
    raise GraphViewError(f"node {c.name!r}: a meta-operator is written node by node")


class MetaOperatorOp(OperatorTensor):
    """An operator that its micro graph computes.  The graph's free inputs are its inputs, in order."""

    Type = "MetaOperator"

    def __init__(self, type: str, graph: GraphView, forced_inputs_category: Sequence[InputCategory] = ()) -> None:
        if not isinstance(graph, GraphView):
            raise TensorTypeError(f"meta-operator {type!r}: expected a GraphView, got {graph!r}")
        ports = graph.get_ordered_inputs()
        forced = list(forced_inputs_category)
        categories = [forced[k] if k < len(forced) else n.input_category(i) for k, (n, i) in enumerate(ports)]
        inputs = tuple((n.get_operator().input_spec[i][0], c) for (n, i), c in zip(ports, categories, strict=True))
        outputs = tuple(n.get_operator().output_names[i] for n, i in graph.get_ordered_outputs())
        Operator.__init__(self, OperatorType(type, _inlined, inputs, outputs, rank=None), {})
        self.micro_graph = graph
        self.ports = ports

    @property
    def get_micro_graph(self) -> Callable[[], GraphView]:
        return lambda: self.micro_graph

    def is_atomic(self) -> bool:
        return False

    def set_backend(self, name: str, device: int = 0) -> None:
        super().set_backend(name, device)
        self.micro_graph.set_backend(name, device)

    def set_datatype(self, dataType: Any) -> None:  # noqa: N803
        super().set_datatype(dataType)
        self.micro_graph.set_datatype(dataType)

    def clone(self) -> Operator:
        copy = MetaOperatorOp(self.type(), self.micro_graph.clone())
        copy.input_spec = self.input_spec
        if self.backend_name is not None:
            copy.set_backend(self.backend_name)
        return copy


def meta_operator(
    type: str, graph: GraphView, forced_inputs_category: Sequence[InputCategory] = (), name: str = ""
) -> Node:
    """A node of this type that the graph computes."""
    return Node(MetaOperatorOp(type, graph, forced_inputs_category), name)


@late("micro_graph")
def micro_graph(op: Operator) -> GraphView | None:
    """Operator.get_micro_graph()."""
    return micro_graph_of(op.node if op.node is not None else Node(op))


def micro_graph_of(node: Node) -> GraphView | None:
    """The graph inside a node, its input tensors unconnected; None for an operator that is none.

    The Padded operators are a Pad and the operator behind it, named <node>_pad and <node>_conv or the like; the others
    stand in micro_graphs.
    """
    op = node.get_operator()
    if isinstance(op, MetaOperatorOp):
        return op.micro_graph.clone()
    if op.type() in INSIDE and TYPES.get(op.type()) is op.kind:
        return INSIDE[op.type()](node.name(), op.attr.dict())
    if not op.type().startswith("Padded"):
        return None
    kind, attrs = op.type().removeprefix("Padded"), op.attr.dict()
    pads = attrs.pop("padding_dims")
    axes = len(pads) // 2
    mode = "constant_lowest" if kind.startswith("MaxPooling") else "constant"
    if kind.startswith("AvgPooling") and not attrs.pop("count_include_pad", True) and any(pads):
        return None  # an average that leaves the padding out is no Pad and pooling
    if kind.startswith("ConvTranspose") and any(pads):
        return None  # its padding is cut off the result
    attrs.pop("count_include_pad", None)
    known = {k: v for k, v in attrs.items() if k in _arguments(kind)}
    pad = Node(make_operator("Pad", list(pads), mode=mode, axes=list(range(-axes, 0))), f"{node.name()}_pad")
    inner = Node(make_operator(kind, **known), f"{node.name()}_{_stem(kind)}")
    graph = sequential([pad, inner])
    own = (Port(inner, k) for k in range(1, inner.get_nb_inputs()))
    graph.set_ordered_inputs([Port(pad, 0), *own, *(Port(pad, k) for k in range(1, pad.get_nb_inputs()))])
    return graph


def _arguments(kind: str) -> set[str]:
    return set(signature(CLASSES[kind]).parameters)


def _stem(kind: str) -> str:
    if kind.startswith("ConvDepthWise"):
        return "conv_depth_wise"
    return kind[:-2].lower()
