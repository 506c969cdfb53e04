"""A pure jax.numpy function of numbers and arrays of one shape each, written down as an explicit Graph.

This is how an optimizer or a schedule becomes nodes: its formula stands once, in the package of training.
JAX traces the function, and each primitive becomes a node.  Element by element, and sums: a scalar meets an array
without being broadcast first, so the graph serves arrays of any shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from ..dtypes import ONNX_CODES
from ..errors import GraphError
from ..graph import Graph, Value
from ..interpreter.shape_inference import infer_shapes
from .edit import renamed, with_renamed_tensors

NODES = {
    "add": "Add",
    "add_any": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "max": "Max",
    "min": "Min",
    "pow": "Pow",
    "and": "And",
    "or": "Or",
    "eq": "Equal",
    "lt": "Less",
    "gt": "Greater",
    "le": "LessOrEqual",
    "ge": "GreaterOrEqual",
    "neg": "Neg",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "floor": "Floor",
    "ceil": "Ceil",
    "abs": "Abs",
    "sign": "Sign",
    "not": "Not",
    "erf": "Erf",
    "logistic": "Sigmoid",
}
REDUCTIONS = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}
INNER = ("jaxpr", "call_jaxpr")  # where a primitive that wraps a function keeps it


def as_graph(name: str, f: Callable[..., Sequence[Any]], inputs: Sequence[Value], outputs: Sequence[str]) -> Graph:
    """The graph of `outputs = f(*inputs)`.  A symbolic size may stand for any number.

    Raises GraphError naming a primitive that has no form here.
    """
    graph = Graph(name)
    values = [graph.input(v.name, v.shape, v.dtype or "float32") for v in inputs]
    with jax.enable_x64(True):
        likes = [jax.ShapeDtypeStruct([d if isinstance(d, int) else 2 for d in v.shape or ()], v.dtype) for v in inputs]
        closed = jax.make_jaxpr(f)(*likes)
        found = _Writer(graph).write(closed.jaxpr, closed.consts, values)
    avals: Any = closed.out_avals
    names: dict[str, str] = {}
    once = _written_once(graph)
    found = [Value(once.get(v.name, v.name), v.shape, v.dtype) if isinstance(v, Value) else v for v in found]
    for wanted, v, like in zip(outputs, found, avals, strict=True):
        if not isinstance(v, Value):
            v = graph.constant(graph.fresh("const"), np.full(like.shape, v, like.dtype))
        if v.name in graph.values and v.name not in names and not graph.has(wanted):
            names[v.name] = wanted
        else:
            graph.add("Identity", [v], names=[wanted])
    graph = with_renamed_tensors(graph, names)
    for wanted in outputs:
        graph.output(wanted)
    graph.prune()
    return infer_shapes(graph)


def _written_once(graph: Graph) -> dict[str, str]:
    """Drop nodes that compute what an earlier one does.  Returns {dropped tensor: the one that serves}."""
    seen: dict[tuple, str] = {}
    same: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        node = renamed(node, same)
        key = (node.op, tuple((type(i), i) for i in node.inputs), tuple(sorted(node.attrs.items())))
        if key in seen:
            same[node.output_names[0]] = seen[key]
        else:
            seen[key] = node.output_names[0]
            kept.append(node)
    graph.nodes = kept
    return same


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph, self.op = graph, graph.op

    def write(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """The results of a jaxpr: Values, or NumPy scalars and arrays where nothing depends on the inputs."""
        env = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        env |= dict(zip(jaxpr.invars, args, strict=True))

        def read(v: Any) -> Any:
            aval: Any = v.aval
            return np.asarray(v.val, aval.dtype) if isinstance(v, Literal) else env[v]

        for eqn in jaxpr.eqns:
            results = self._equation(eqn, [read(v) for v in eqn.invars])
            env |= dict(zip(eqn.outvars, results, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _equation(self, eqn: Any, args: list[Any]) -> list[Any]:
        if not any(isinstance(a, Value) for a in args):
            with jax.ensure_compile_time_eval():
                found = eqn.primitive.bind(*args, **eqn.params)
            return [np.asarray(r) for r in (found if eqn.primitive.multiple_results else [found])]
        inner = next((eqn.params[k] for k in INNER if k in eqn.params), None)
        if inner is not None:
            return self.write(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), args)
        return [self._node(eqn, eqn.primitive.name, args)]

    def _node(self, eqn: Any, name: str, args: list[Any]) -> Any:
        op, params = self.op, eqn.params
        neutral = {"mul": 1, "add": 0}.get(name)
        if neutral is not None and any(_is(a, neutral) for a in args):
            return args[1] if _is(args[0], neutral) else args[0]
        operands = [self._operand(a) for a in args]
        first = operands[0]
        if name in NODES:
            return getattr(op, NODES[name])(*operands)
        if name in ("copy", "copy_p", "stop_gradient") or name == "broadcast_in_dim" and not eqn.invars[0].aval.shape:
            return first
        if name == "broadcast_in_dim":  # what reads it broadcasts by itself: the missing axes have size 1
            held = dict(zip(params["broadcast_dimensions"], eqn.invars[0].aval.shape, strict=True))
            return op.Reshape(first, tuple(int(held.get(k, 1)) for k in range(len(params["shape"]))))
        if name == "convert_element_type":
            to = np.dtype(params["new_dtype"]).name
            return first if eqn.invars[0].aval.dtype == to else op.Cast(first, to=ONNX_CODES[to])
        if name == "select_n" and len(operands) == 3:
            condition, otherwise, value = operands
            if isinstance(value, Value) and isinstance(otherwise, Value) and value.name == otherwise.name:
                return value
            if not isinstance(otherwise, Value) and not isinstance(value, Value):
                otherwise = self.graph.constant(self.graph.fresh("const"), args[1])
            return op.Where(condition, value, otherwise)
        if name == "integer_pow":
            return op.Mul(first, first) if params["y"] == 2 else op.Pow(first, float(params["y"]))
        if name == "square":
            return op.Mul(first, first)
        if name == "rem":
            return op.Mod(*operands, fmod=1)
        if name == "ne":
            return op.Not(op.Equal(*operands))
        if name == "rsqrt":
            return op.Reciprocal(op.Sqrt(first))
        if name == "expm1":  # tanh(x / 2) (e^x + 1) keeps its digits near 0
            return op.Mul(op.Tanh(op.Mul(first, 0.5)), op.Add(op.Exp(first), 1.0))
        if name == "log1p":  # 2 artanh(x / (x + 2)) keeps them too
            return op.Mul(op.Atanh(op.Div(first, op.Add(first, 2.0))), 2.0)
        if name in REDUCTIONS:
            axes = tuple(params["axes"])
            whole = len(axes) == len(eqn.invars[0].aval.shape)
            return getattr(op, REDUCTIONS[name])(first, *([] if whole else [axes]), keepdims=0) if axes else first
        if name == "squeeze" or name == "reshape" and not params["new_sizes"]:
            return op.Squeeze(
                first, tuple(params["dimensions"] if name == "squeeze" else range(len(eqn.invars[0].aval.shape)))
            )
        if name == "reshape" and params["new_sizes"] == (1,) and not eqn.invars[0].aval.shape:
            return op.Unsqueeze(first, (0,))
        if name == "clamp":
            return op.Min(op.Max(operands[1], operands[0]), operands[2])
        raise GraphError(
            f"the function {self.graph.name!r} uses JAX's {name!r}, which has no form as a node; use "
            f"sums, products, powers, roots, comparisons and choices"
        )

    def _operand(self, a: Any) -> Any:
        """A number as it reads best, if it stands for itself in its dtype."""
        if isinstance(a, Value):
            return a
        if a.ndim:
            return self.graph.constant(self.graph.fresh("const"), a)
        return float(str(a)) if a.dtype.kind == "f" else a.item()


def _is(a: Any, number: int) -> bool:
    return not isinstance(a, Value) and a.ndim == 0 and bool(a == number)
