"""Nodes of a model whose operators aidgejax does not have: they become GenericOperators, as in Aidge."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ... import onnxio
from ...errors import UnknownOperator
from ...graph import Graph
from ...onnxio.importer.validate import is_known
from ..aidge_core.generic import GenericOperator
from ..aidge_core.log import Log
from ..aidge_core.node import Node
from ..aidge_core.operator import Data, Param
from ..aidge_core.tensor import Tensor


def read_with_generic_nodes(source: Any) -> tuple[Graph, list[NodeProto], set[str]]:
    """The graph of what aidgejax knows, the nodes of the model that it does not, and the first outputs of nodes that
    have no name.

    The outputs of those nodes are inputs of the graph.  Raises what onnxio.read raises, and UnknownOperator where such
    a node stands inside another one.
    """
    try:
        graph = onnxio.read(source)
        return graph, [], _unnamed(graph, source)
    except UnknownOperator:
        model = source if isinstance(source, ModelProto) else onnx.load(source)
        unknown = [n for n in model.graph.node if not _is_known(n, model)]
        if not unknown:
            raise
        return onnxio.read(_without(model, unknown)), unknown, _first_outputs(model)


def _unnamed(graph: Graph, source: Any) -> set[str]:
    """As above; the file is looked into only where a node has a name of the form that unnamed ones are given."""
    if not any(n.name.startswith(f"{n.op}_") and n.name[len(n.op) + 1 :].isdigit() for n in graph.nodes):
        return set()
    model = source if isinstance(source, ModelProto) else onnx.load(source, load_external_data=False)
    return _first_outputs(model)


def _first_outputs(model: ModelProto) -> set[str]:
    return {n.output[0] for n in model.graph.node if not n.name and n.output}


def _is_known(node: NodeProto, model: ModelProto) -> bool:
    if is_known(node) or any((f.domain, f.name) == (node.domain, node.op_type) for f in model.functions):
        return True
    opset = next((o.version for o in model.opset_import if o.domain == node.domain), 1)
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opset, node.domain)
        return bool(schema.has_function or schema.has_context_dependent_function)
    except onnx.defs.SchemaError:
        return False


def _without(model: ModelProto, unknown: list[NodeProto]) -> ModelProto:
    """The model without these nodes: what they write is an input, what they read an output."""
    rest = ModelProto()
    rest.CopyFrom(model)
    graph, known = rest.graph, [n for n in model.graph.node if n not in unknown]
    typed = {v.name: v for v in (*model.graph.value_info, *model.graph.output) if v.type.tensor_type.elem_type}
    written = [o for n in unknown for o in n.output if o]
    del graph.node[:]
    graph.node.extend(known)
    graph.input.extend(typed.get(o) or helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in written)
    kept = [o for o in graph.output if o.name not in written]
    there = {o.name for o in kept} | set(written)
    read = dict.fromkeys(i for n in unknown for i in n.input if i and i not in there)
    del graph.output[:]
    graph.output.extend([*kept, *(helper.make_empty_tensor_value_info(i) for i in read)])
    if not graph.output:  # nothing but unknown nodes: the model's inputs keep the graph from being empty
        graph.output.extend(helper.make_empty_tensor_value_info(i.name) for i in graph.input[:1])
    return rest


def generic_node(node: NodeProto, graph: Graph) -> Node:
    """A GenericOperator of the node's type, name and attributes; inputs that the file stores are its parameters."""
    inputs = [Param if i in graph.producers else Data for i in node.input]
    attributes = {a.name: _plain(a) for a in node.attribute}
    made: Node = GenericOperator(node.op_type, inputs, len(node.output), name=node.name or next(iter(node.output), ""))
    for key, value in attributes.items():
        made.get_operator().attr.set_attr(key, value)
    Log.warn(
        f"node {node.name!r}: aidgejax has no operator {node.op_type!r}"
        f"{f' of domain {node.domain!r}' if node.domain else ''}; it is a GenericOperator, to be given a computation "
        f"with set_impl, or replaced"
    )
    return made


def _plain(attribute: AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, TensorProto):
        return Tensor(np.array(numpy_helper.to_array(value)))
    if isinstance(value, list | tuple):
        return [v.decode(errors="replace") if isinstance(v, bytes) else v for v in value]
    return value
