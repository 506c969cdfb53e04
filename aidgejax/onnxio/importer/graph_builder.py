"""A checked model -> Graph, in the forms of the model's opset or in today's; subgraphs become Graphs inside nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from ...errors import GraphError, ModelFileError
from ...graph import Dim, Graph, Value
from ...ops import lookup
from ...ops.control_flow import CONTROL_FLOW, is_control_flow
from ..schemas import registered, same, schema_of
from ..tensors import attribute_value, to_array
from .contrib_ops import in_standard_operators
from .limits import check_attribute_limits
from .opset_upgrade import upgraded, upgraded_by_rank
from .subgraphs import captures, outer_reads, subgraphs
from .validate import (
    check_node,
    check_shape,
    check_tensor_names,
    check_type,
    domain_of,
    execution_order,
    node_names,
)

Shapes = Mapping[str, Sequence[Dim]]


@dataclass
class Checked:
    """A graph of the model whose names, tensors and order are right; inner: {(node's index, attribute): the same}."""

    proto: GraphProto
    data: dict[str, np.ndarray]
    names: list[str]
    order: list[int]
    inner: dict[tuple[int, str], Checked] = field(default_factory=dict)


def checked(
    graph: GraphProto, outside: Iterable[str] = (), numbers: Callable[[TensorProto, str], np.ndarray] = to_array
) -> Checked:
    """Read the initializers; check names and order.

    outside: what a subgraph may read beside its own tensors.  numbers(tensor, what to call it): its array.
    """
    data = {t.name: numbers(t, f"initializer {t.name!r}") for t in graph.initializer}
    found = Checked(graph, data, node_names(graph.node), [])
    check_tensor_names(graph, found.names, outside)
    found.order = execution_order(graph.node, found.names)
    known = {*outside, *data, *(i.name for i in graph.input), *(o for n in graph.node for o in n.output if o)}
    for k, node in enumerate(graph.node):
        for attribute, inner in subgraphs(node):
            found.inner[k, attribute] = checked(inner, known, numbers)
    return found


def check_nodes(graph: Checked, opsets: dict[str, int]) -> None:
    """Every node, those of subgraphs too, has the inputs, outputs and attributes that its opset wants."""
    for node, name in zip(graph.proto.node, graph.names, strict=True):
        check_node(node, name, opsets)
    for inner in graph.inner.values():
        check_nodes(inner, opsets)


def build(model: Checked, opset: int, shapes: Shapes | None = None) -> Graph:
    """The graph as the model says it, its nodes in today's form as far as that needs no shapes.

    Initializers have the role "parameter" here, and what a Constant node holds has the role "constant".
    """
    graph = Graph(model.proto.name or "graph")
    shapes = dict(shapes or {})
    for name, array in model.data.items():
        graph.parameter(name, array)
    wrong = [s for s in shapes if s not in {i.name for i in model.proto.input}]
    if wrong:
        raise GraphError(
            f"`shapes` names {', '.join(map(repr, wrong))}, but the inputs are "
            f"{', '.join(repr(i.name) for i in model.proto.input) or 'none'}"
        )
    for info in model.proto.input:
        dtype, shape = check_type(info, "input"), check_shape(info, "input")
        if info.name in model.data:
            _check_default(Value(info.name, shape, dtype), model.data[info.name])
        else:
            graph.input(info.name, shapes.get(info.name, shape), dtype)
    _add_nodes(graph, model, opset)
    graph = in_standard_operators(upgraded(graph, opset))
    _check_attributes(graph)
    check_attribute_limits(graph)
    return graph


def _add_nodes(graph: Graph, model: Checked, opset: int) -> None:
    for k in model.order:
        node, name = model.proto.node[k], model.names[k]
        domain = domain_of(node.domain)
        if node.op_type == "Constant" and domain == "":
            graph.constant(node.output[0], _constant(node, name))
            continue
        what = f"of node {name!r} ({node.op_type})"
        attrs = {
            a.name: attribute_value(a, f"attribute {a.name!r} {what}")
            for a in node.attribute
            if a.type not in (AttributeProto.GRAPH, AttributeProto.TYPE_PROTO)
        }
        inputs: list[str | None] = [i or None for i in node.input]
        if domain == "" and node.op_type in CONTROL_FLOW:
            attrs |= {a: _subgraph(model.inner[k, a], opset) for a, _ in subgraphs(node)}
            inside = captures(node)
            if subgraphs(node):
                attrs["captures"] = tuple(inside)
            inputs = [*_padded(node, inputs), *inside]
        graph.add(
            registered(domain, node.op_type) or node.op_type,
            inputs,
            attrs,
            names=[o or None for o in node.output],
            name=name,
            domain=domain,
        )
    for info in model.proto.output:
        if graph.has(info.name):
            graph.output(info.name)


def _padded(node: NodeProto, inputs: list[str | None]) -> list[str | None]:
    """A Loop has a trip count and a condition, present or not."""
    return inputs + [None] * (2 - len(inputs)) if node.op_type == "Loop" else inputs


def _subgraph(model: Checked, opset: int) -> Graph:
    """A subgraph: what it captures are inputs of it, after its own."""
    declared = [
        Value(o.name, check_shape(o, "output"), check_type(o, "output"))
        if o.type.WhichOneof("value")
        else Value(o.name, None, None)
        for o in model.proto.output
    ]
    graph = Graph(model.proto.name or "subgraph")
    for name, array in model.data.items():
        graph.parameter(name, array)
    for info in model.proto.input:
        if info.name not in model.data:
            typed = info.type.WhichOneof("value") is not None
            graph.input(info.name, None, check_type(info, "input") if typed else "float32")
    for name in outer_reads(model.proto):
        graph.input(name, None)
    _add_nodes(graph, model, opset)
    graph = in_standard_operators(upgraded_by_rank(upgraded(graph, opset), opset))
    _check_attributes(graph)
    check_attribute_limits(graph)
    graph.metadata["outputs"] = tuple(declared)
    return graph


def _check_default(declared: Value, data: np.ndarray) -> None:
    """An initializer that is declared as an input too (always, before IR version 4) must be what is declared."""
    fits = declared.shape is None or (
        len(declared.shape) == data.ndim
        and all(not isinstance(d, int) or d == n for d, n in zip(declared.shape, data.shape, strict=True))
    )
    if not fits or declared.dtype != data.dtype.name:
        raise ModelFileError(
            f"initializer {declared.name!r} is {data.dtype.name}{list(data.shape)}, but is declared "
            f"as the input {declared}"
        )


def _constant(node: NodeProto, name: str) -> np.ndarray:
    where = f"node {name!r} (Constant)"
    if len(node.attribute) != 1:
        raise ModelFileError(f"{where} has {len(node.attribute)} values; expected one")
    a = node.attribute[0]
    if a.name.startswith("value_string"):
        raise ModelFileError(f"{where} holds strings, which aidgejax does not compute with")
    value = attribute_value(a, f"attribute {a.name!r} of {where}")
    if a.name == "value":
        return value
    return np.asarray(value, np.int64 if a.name.startswith("value_int") else np.float32)


def _check_attributes(graph: Graph) -> None:
    """Attributes that ONNX has and our operator has not must be at ONNX's default; they are left off."""
    for k, node in enumerate(graph.nodes):
        if is_control_flow(node):
            continue
        operator = lookup(node.op)
        foreign = [a for a in node.attrs if a not in operator.attributes]
        if foreign:
            defaults = _defaults(operator)
            set_ = [f"{a}={node.attrs[a]}" for a in foreign if not same(node.attrs[a], defaults.get(a))]
            if set_:
                raise ModelFileError(
                    f"node {node.name!r} ({node.op}) has {', '.join(set_)}, which aidgejax does not "
                    f"have; its attributes are {', '.join(operator.attributes) or 'none'}"
                )
            attrs = {a: v for a, v in node.attrs.items() if a not in foreign}
            graph.nodes[k] = type(node)(node.op, node.inputs, node.outputs, attrs, node.name, node.domain)
        if not operator.variadic and len(node.inputs) > len(operator.inputs):
            raise ModelFileError(
                f"node {node.name!r} ({node.op}) has {len(node.inputs)} inputs; expected at most "
                f"{len(operator.inputs)} ({', '.join(operator.inputs)})"
            )


def _defaults(operator: Any) -> dict[str, Any]:
    schema = schema_of(operator)
    if schema is None:
        return {}
    return {k: attribute_value(a.default_value, k) for k, a in schema.attributes.items() if a.default_value.name}
