"""What ONNX says of an operator: the installed onnx package's own tables, asked by name."""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx

from ..ops import OPERATORS, Operator

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


def onnx_name(operator: Operator) -> str:
    return operator.name.rsplit(".", 1)[-1]


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
