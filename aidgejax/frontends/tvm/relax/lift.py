"""Nodes of a Graph as calls of relax.op, so that functions which passes wrote can be written as TVMScript.

A node is `relax.op.f(...)` where that call writes exactly this node; any other is a call of the packed function
"aidgejax.<operator>", whose attributes are a JSON string.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....dtypes import ONNX_NAMES
from ....errors import AidgeJaxError
from ....graph import Builder, Graph, Node, Value
from ..errors import RelaxValueError
from . import op
from .body import SeqExpr, VarBinding, block
from .expr import Applied, Call, Constant, DataflowVar, Expr, ShapeExpr, Tuple, TupleGetItem, Var
from .lift_onnx import equivalent
from .structure import flat, mapped
from .types import TensorType, TupleType

PACKED = "aidgejax."
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": op.add, "Sub": op.subtract, "Mul": op.multiply, "Div": op.divide, "Pow": op.power, "Neg": op.negative,
    "Abs": op.abs, "Exp": op.exp, "Log": op.log, "Sqrt": op.sqrt, "Tanh": op.tanh, "Sigmoid": op.sigmoid,
    "Sin": op.sin, "Cos": op.cos, "Erf": op.erf, "Relu": op.nn.relu, "MatMul": op.matmul, "Where": op.where,
    "Max": op.maximum, "Min": op.minimum, "Less": op.less, "Greater": op.greater, "Equal": op.equal,
    "Not": op.logical_not,
}  # fmt: skip


def _with_attributes(node: Node, args: Sequence[Any]) -> Any:
    """The call that may write a node with settings; None where no operator of relax does."""
    x, a = args[0] if args else None, node.attrs
    literal = node.inputs[1] if len(node.inputs) > 1 and isinstance(node.inputs[1], tuple) else None
    if node.op in ("ReduceSum", "ReduceMean"):
        reduce = op.sum if node.op == "ReduceSum" else op.mean
        return reduce(x, None if literal is None else list(literal), bool(a.get("keepdims", 1)))
    if node.op in ("Softmax", "LogSoftmax"):
        return (op.nn.softmax if node.op == "Softmax" else op.nn.log_softmax)(x, a.get("axis", -1))
    if node.op == "Transpose":
        return op.permute_dims(x, None if a.get("perm") is None else list(a["perm"]))
    if node.op == "Reshape" and literal is not None:
        return op.reshape(x, ShapeExpr(literal))
    if node.op == "Concat":
        return op.concat(list(args), a.get("axis"))
    if node.op == "Cast" and a.get("to") in ONNX_NAMES:
        return op.astype(x, ONNX_NAMES[a["to"]])
    if node.op in ("Unsqueeze", "Squeeze") and literal is not None:
        return (op.expand_dims if node.op == "Unsqueeze" else op.squeeze)(x, list(literal))
    return None


def call_of(
    node: Node, args: Sequence[Any], values: Sequence[Any], types: Sequence[TensorType | None], imported: bool = False
) -> Any:
    """The call that writes this node; imported: or, for models from elsewhere, an expression that computes the same.

    args: an expression for each input, a literal as it is, None for an absent one.  values: the inputs as Values.
    types: the outputs' types, None for an absent one.
    """
    make = ELEMENTWISE.get(node.op)
    try:
        call = make(*args) if make is not None else _with_attributes(node, args)
        if call is not None and call.applied is not None:
            of = {id(a): v for a, v in zip(args, values, strict=True) if isinstance(a, Expr)}
            if _writes(call, node, [_value_of(a, of) for a in call.args]):
                return call
        found = (
            equivalent(node, args, [_type(v) if isinstance(v, Value) else None for v in values]) if imported else None
        )
        if found is not None:
            return found
    except (AidgeJaxError, TypeError, ValueError, LookupError):
        pass  # no call of relax.op takes these
    return call_packed(PACKED + node.op, *args, json.dumps(_plain(node.attrs)), sinfo_args=list(types))


def _value_of(arg: Any, of: dict[int, Any]) -> Any:
    if isinstance(arg, Tuple):
        return tuple(_value_of(f, of) for f in arg.fields)
    return of[id(arg)] if isinstance(arg, Expr) else arg


def _writes(call: Call, node: Node, values: Sequence[Any]) -> bool:
    """Does the call, given these values, write this one node?"""
    scratch = Graph("scratch")
    for v in flat(list(values)):
        if isinstance(v, Value) and not scratch.has(v.name):
            scratch.inputs[v.name] = v
    call.write(Builder(scratch), *values)
    if len(scratch.nodes) != 1 or len(scratch.producers) or node.domain:
        return False
    (written,) = scratch.nodes
    same = written.inputs == node.inputs and len(written.outputs) == len(node.outputs)
    return same and written.op == node.op and _plain(written.attrs) == _plain(node.attrs)


def call_packed(func: str, *args: Any, sinfo_args: Any = None, ty_args: Any = None) -> Call:
    """R.call_pure_packed: an operator of aidgejax by its name, such as "aidgejax." + "Conv".

    args: expressions, R.prim_value(number), R.shape([...]) for a tuple of integers, R.null_value() for an absent input;
    the last is R.str of its attributes as JSON.  sinfo_args: the type of the result, or a list of several.
    Raises RelaxValueError for any other packed function: there is nothing here that could run it.
    """
    if not func.startswith(PACKED):
        raise RelaxValueError(
            f"call_pure_packed({func!r}): only functions named 'aidgejax.<operator>' can be called; packed functions "
            f"of TVM are out of scope"
        )
    types = sinfo_args if sinfo_args is not None else ty_args
    types = list(types.fields) if isinstance(types, TupleType) else types
    several = isinstance(types, list | tuple)
    count = len(types) if several else 1
    *inputs, text = args
    attributes = {k: _restored(v) for k, v in json.loads(text).items()}
    operands = [tuple(i.values) if isinstance(i, ShapeExpr) else i for i in inputs]

    def write(builder: Any, *values: Any) -> Any:
        operator = getattr(builder, func.removeprefix(PACKED))
        return operator(*values, outputs=count, **attributes)

    places = [k for k, i in enumerate(operands) if isinstance(i, Expr)]

    def placed(builder: Any, *values: Any) -> Any:
        filled = list(operands)
        for k, v in zip(places, values, strict=True):
            filled[k] = v
        return write(builder, *filled)

    call = Call(f"relax.call_pure_packed.{func.removeprefix(PACKED)}", [operands[k] for k in places], placed)
    shown = types if not several or count > 1 else types[0]
    call.applied = Applied("call_pure_packed", {"func": func, "inputs": inputs, "attrs": text, "types": shown}, {})
    return call


def _plain(value: Any) -> Any:
    """Attributes as JSON has them: tuples are lists, arrays are marked."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": value.dtype.name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Graph):
        raise RelaxValueError("a function with control flow cannot be written as TVMScript")
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return np.asarray(value["array"], value["dtype"])
    return tuple(_restored(v) for v in value) if isinstance(value, list) else value


def body_of_graph(
    graph: Graph, params: Sequence[Var], names: dict[Var, Any], result: Any, dataflow: bool, imported: bool = False
) -> SeqExpr:
    """The nodes of a graph as one block of bindings.  imported: as of call_of."""
    known: dict[str, Any] = {}
    for p in params:
        _name_fields(p, names[p], known)
    for producer in graph.producers.values():
        known[producer.name] = Constant(producer.data)
    written = block(dataflow)
    for node in graph.nodes:
        args = [known[i] if isinstance(i, str) else _literal(i) for i in node.inputs]
        values = [graph.value(i) if isinstance(i, str) else i for i in node.inputs]
        types = [None if o is None else _type(graph.value(o)) for o in node.outputs]
        call = call_of(node, args, values, types, imported)
        if len(node.outputs) == 1 or (imported and all(o is None for o in node.outputs[1:])):
            out = node.output_names[0]
            var: Var = DataflowVar(out, types[0]) if dataflow else Var(out, types[0])
            known[out] = var
        else:
            var = Var(node.name or "lv", TupleType(t or TensorType((), "float32") for t in types))
            known |= {o: TupleGetItem(var, k) for k, o in enumerate(node.outputs) if o is not None}
        written.bindings.append(VarBinding(var, call, is_output=any(o in graph.outputs for o in node.output_names)))
    return SeqExpr([written] if written.bindings else [], mapped(lambda n: known[n], result))


def _name_fields(at: Any, structure: Any, known: dict[str, Any]) -> None:
    if isinstance(structure, tuple):
        for k, s in enumerate(structure):
            _name_fields(TupleGetItem(at, k), s, known)
    else:
        known[structure] = at


def _literal(value: Any) -> Any:
    return ShapeExpr(value) if isinstance(value, tuple) else value


def _type(value: Value) -> TensorType:
    return TensorType(value.shape, value.dtype or "float32")
