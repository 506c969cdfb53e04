"""Protobuf messages of nodes, attributes, tensors and types."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from ...dtypes import DTYPES, ONNX_CODES
from ...errors import ModelFileError
from ...graph import Graph, Node, Value
from ...ops import lookup
from ...passes.control_flow.conditional import BRANCHES, CONDITIONAL
from ...passes.edit import with_all_renamed
from ..schemas import attribute_type, onnx_name, same, schema_for, schema_of
from ..tensors import attribute_value


class _Maker:
    """Makes NodeProtos; numbers that stand in a node's inputs become initializers, `literals`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.literals: list[TensorProto] = []
        self._taken: set[str] = set()

    def node(self, node: Node) -> onnx.NodeProto:
        if node.op == CONDITIONAL:
            return self._if(node)
        operator = lookup(node.op)
        schema = schema_for(self.graph, node) or schema_of(operator)
        names = [
            i or "" if i is None or isinstance(i, str) else self._literal(node, k, i, operator, schema)
            for k, i in enumerate(node.inputs)
        ]
        while names and not names[-1]:
            names.pop()
        outputs = [o or "" for o in node.outputs]
        while outputs and not outputs[-1]:
            outputs.pop()
        domain, _ = operator.onnx or ("", 0)
        proto = helper.make_node(onnx_name(operator), names, outputs, name=node.name, domain=domain)
        # onnx's checker expands this one into its function body, and does not fill in the default there.
        explicit = operator.name == "MeanVarianceNormalization"
        attributes = {**operator.attributes, **node.attrs} if explicit else node.attrs
        if operator.name in RECURRENT and (shape := self.graph.value(node.inputs[2]).shape):
            attributes = {**attributes, "hidden_size": shape[2]}  # onnxruntime insists on it
        for key, value in attributes.items():
            if value is not None and (explicit or not _is_default(key, value, operator, schema)):
                proto.attribute.append(_attribute(node, key, value, schema))
        return proto

    def _if(self, node: Node) -> onnx.NodeProto:
        """ONNX's branches read what they capture by its name outside, and write nothing under such a name."""
        outputs = [o or self._free(f"{node.name}.{k}") for k, o in enumerate(node.outputs)]
        proto = helper.make_node("If", [node.inputs[0]], outputs, name=node.name)
        for attribute in BRANCHES:
            branch = node.attrs[attribute]
            names = dict(zip(branch.inputs, node.inputs[1:], strict=True))
            own = [*branch.producers, *(o for n in branch.nodes for o in n.output_names)]
            names |= {o: self._free(f"{node.name}/{attribute}/{o}") for o in own if self.graph.has(o)}
            inside = with_all_renamed(branch, names)
            maker = _Maker(inside)
            maker._taken = self._taken | {*self.graph.inputs, *self.graph.producers, *self.graph.values}
            nodes = [maker.node(n) for n in inside.nodes]
            tensors = [_tensor(p.data, p.name) for p in inside.producers.values()] + maker.literals
            written = [type_of(inside, inside.value(o)) for o in inside.outputs]
            body = helper.make_graph(nodes, branch.name, [], written, initializer=tensors)
            proto.attribute.append(helper.make_attribute(attribute, body))
            self._taken |= maker._taken
        return proto

    def _free(self, stem: str) -> str:
        """A tensor name that nothing bears yet."""
        name, n = stem, 0
        while self.graph.has(name) or name in self._taken:
            n += 1
            name = f"{stem}_{n}"
        self._taken.add(name)
        return name

    def _literal(self, node: Node, k: int, literal: Any, operator: Any, schema: Any) -> str:
        name = self._free(f"{node.name}.{operator.inputs[k] if k < len(operator.inputs) else k}")
        self.literals.append(_tensor(np.asarray(literal, _literal_dtype(self.graph, node, k, literal, schema)), name))
        return name


def _tensor(data: np.ndarray, name: str) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(data).reshape(data.shape), name)


def _is_default(key: str, value: Any, operator: Any, schema: Any) -> bool:
    if schema is None:
        return False
    if key not in schema.attributes:
        return True  # ours alone, and at its default: see decompose.is_standard
    default = schema.attributes[key].default_value
    return bool(default.name) and same(attribute_value(default, key), value)


def _attribute(node: Node, key: str, value: Any, schema: Any) -> AttributeProto:
    kind = attribute_type(schema, key)
    if isinstance(value, np.ndarray):
        value = numpy_helper.from_array(value)
    elif isinstance(value, bool):
        value = int(value)
    elif isinstance(value, tuple):
        value = list(value)
    try:
        if kind == AttributeProto.FLOAT:
            value = float(value)
        return helper.make_attribute(key, value, attr_type=kind)
    except (TypeError, ValueError) as e:
        wanted = AttributeProto.AttributeType.Name(kind) if kind else "a number, text or a list"
        raise ModelFileError(
            f"node {node.name!r} ({node.op}) cannot be written: its attribute {key!r} is {value!r}, "
            f"expected {wanted} ({e})"
        ) from None


def _literal_dtype(graph: Graph, node: Node, at: int, literal: Any, schema: Any) -> np.dtype:
    """The dtype of the neighbours: of an input, or else of an output, that shares its type in the schema."""
    if isinstance(literal, tuple):
        return np.dtype(np.int64)
    if schema is None:
        return np.dtype(np.float32 if isinstance(literal, float) else type(literal))
    mine = _formal(schema.inputs, at).type_str
    for k, i in enumerate(node.inputs):
        if isinstance(i, str) and _formal(schema.inputs, k).type_str == mine:
            return _numpy_dtype(graph, graph.value(i))
    for k, o in enumerate(node.outputs):
        if o and _formal(schema.outputs, k).type_str == mine:
            return _numpy_dtype(graph, graph.value(o))
    allowed = {t.removeprefix("tensor(").removesuffix(")") for t in _formal(schema.inputs, at).types}
    if isinstance(literal, bool):
        return np.dtype(bool)
    if isinstance(literal, float) or "int64" not in allowed:  # of a type of its own, as a Pow's exponent
        floats = [v for v in map(graph.value, node.input_names) if v.is_float]
        return _numpy_dtype(graph, floats[0]) if floats else np.dtype(np.float32)
    return np.dtype(np.int64)


def _formal(formals: Any, k: int) -> Any:
    return formals[min(k, len(formals) - 1)]


def _numpy_dtype(graph: Graph, value: Value) -> np.dtype:
    if value.dtype is None:
        raise ModelFileError(
            f"the dtype of {value.name!r} in graph {graph.name!r} is not known: give the shapes of "
            f"the graph's inputs, so that it can be inferred"
        )
    if value.dtype in ONNX_CODES:
        return DTYPES[value.dtype]
    if value.dtype == "object":  # text
        return np.dtype(object)
    raise ModelFileError(f"{value} of graph {graph.name!r} has a dtype that ONNX does not have")


def type_of(graph: Graph, value: Value) -> onnx.ValueInfoProto:
    """A size that is not known, "?5", is left open; others, such as "2*N", are names to ONNX."""
    if value.shape is None:
        raise ModelFileError(
            f"graph {graph.name!r} cannot be written: how many axes {value.name!r} has is not known, "
            f"and ONNX wants it of every input and output; give the shapes of the inputs"
        )
    shape = [None if isinstance(d, str) and d.startswith("?") else d for d in value.shape]
    return helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(_numpy_dtype(graph, value)), shape)


RECURRENT = ("RNN", "GRU", "LSTM")
