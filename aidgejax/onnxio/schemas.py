"""What ONNX says of an operator: the installed onnx package's own tables, asked by name."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx

from ..graph import Graph, Node, Value
from ..ops import OPERATORS, Operator, lookup

OLDEST_OPSET, NEWEST_OPSET = 7, onnx.defs.onnx_opset_version()


@cache
def schema_at(domain: str, op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    """How `opset` defines the operator; None where it doesn't have it."""
    try:
        return onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None


def schema_of(operator: Operator) -> onnx.defs.OpSchema | None:
    """ONNX's definition of one of our operators, in the form in which we have it."""
    if operator.onnx is None:
        return None
    domain, version = operator.onnx
    return schema_at(domain, onnx_name(operator), version)


@cache
def _forms(domain: str, op_type: str, oldest: int) -> tuple[onnx.defs.OpSchema, ...]:
    """The operator as `oldest` has it, and as every later opset that changed it."""
    found, opset = [], NEWEST_OPSET
    while opset >= oldest and (schema := schema_at(domain, op_type, opset)):
        found.append(schema)
        opset = schema.since_version - 1
    return tuple(found[::-1])


def schema_for(graph: Graph, node: Node) -> onnx.defs.OpSchema | None:
    """The oldest form of the node's operator, not older than ours, that has its attributes, inputs and dtypes."""
    operator = lookup(node.op)
    if operator.onnx is None:
        return None
    domain, version = operator.onnx
    if domain:
        return schema_of(operator)
    attributes = {k for k, v in node.attrs.items() if v is not None and not same(v, operator.attributes.get(k))}
    for schema in _forms(domain, onnx_name(operator), version):
        formals = schema.inputs
        if (
            attributes <= set(schema.attributes)
            and len(node.inputs) <= schema.max_input
            and all(
                _takes(formals[min(k, len(formals) - 1)], graph.value(i))
                for k, i in enumerate(node.inputs)
                if isinstance(i, str)
            )
            and all(
                _takes(schema.outputs[min(k, len(schema.outputs) - 1)], graph.value(o))
                for k, o in enumerate(node.outputs)
                if o and graph.has(o)
            )
        ):
            return schema
    return None


def _takes(formal: Any, value: Value) -> bool:
    name = {"float32": "float", "float64": "double"}.get(value.dtype or "", (value.dtype or "").replace("_", ""))
    return value.dtype is None or f"tensor({name})" in formal.types


def same(a: Any, b: Any) -> bool:
    """Are two attribute values the same?"""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(a, b)
    return tuple(a) == tuple(b) if isinstance(a, list | tuple) and isinstance(b, list | tuple) else a == b


def onnx_name(operator: Operator) -> str:
    return operator.written_as or operator.name.rsplit(".", 1)[-1]


def registered(domain: str, op_type: str) -> str | None:
    """The name under which aidgejax has this operator of ONNX or of another domain; None where it hasn't."""
    for name in (op_type, f"{domain}.{op_type}"):
        operator = OPERATORS.get(name)
        if operator and operator.onnx and operator.onnx[0] == domain and onnx_name(operator) == op_type:
            return name
    return None


def attribute_type(schema: onnx.defs.OpSchema | None, name: str) -> int | None:
    """The AttributeProto type that a schema gives an attribute."""
    if schema is None or name not in schema.attributes:
        return None
    return onnx.AttributeProto.AttributeType.Value(kind_name(schema.attributes[name].type))


def kind_name(member: Any) -> str:
    """The name of a member of one of onnx.defs' enumerations."""
    return member.name
