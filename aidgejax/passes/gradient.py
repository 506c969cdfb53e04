"""Graph -> its gradient, another Graph, by the rules that stand beside the operators in aidgejax/ops.

The sweep goes through the nodes backwards.  For each node that lies between what is asked for (`wrt`) and where
the gradient starts (`seeds`), its rule writes the node's share.  What several readers contribute is added by
visible Add nodes; a cotangent that is larger than its tensor, because the operator broadcast it, is summed back by
SumLike; dead nodes are removed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import cache
from typing import Any

from ..arguments import takes_graph
from ..errors import GraphError, NoGradientRule
from ..graph import Builder, Graph, Node, Value
from ..interpreter.constant_folding import compile_time_values
from ..ops import Operator, check_known, lookup
from .edit import renamed


def grad_name(name: str) -> str:
    """What the gradient with respect to a tensor is called."""
    return f"{name}_grad"


@takes_graph
def make_gradient(
    graph: Graph, seeds: Iterable[str] | None = None, wrt: Iterable[str] | None = None, *, unreachable: str = "raise"
) -> Graph:
    """The gradient of `graph` as a Graph.

    seeds: outputs from which the gradient starts (default: all floating-point outputs).  Each becomes an input
        `<seed>_grad` of the result, the cotangent dL/d<seed>.
    wrt: tensors with respect to which it is taken (default: all parameters); outputs `<name>_grad`, in this order.
    unreachable: what to do with a tensor of `wrt` on which no seed depends: "raise", or "zeros".

    The other inputs of the result are those tensors of `graph` that the rules read.  Shapes should be known
    (see interpreter/shape_inference.py); where they are not, broadcasting is undone at run time.
    Raises NoGradientRule where a gradient would have to pass an operator without a rule, GraphError for
    names that do not exist, UnknownOperator for operators that do not.
    """
    check_known(graph.nodes, f"graph {graph.name!r}")
    known = graph.tensors()  # asked once, so that the walk below stays here
    seeds = [s for s in graph.outputs if known[s].is_float] if seeds is None else list(seeds)
    wrt = list(graph.params) if wrt is None else list(wrt)
    for name in (*seeds, *wrt):
        value = known.get(name) or graph.value(name)
        if not value.is_float:
            raise GraphError(
                f"graph {graph.name!r} has no gradient from or to {value}: only floating-point tensors have one"
            )

    constants = graph.constants
    result = Graph(f"{graph.name}_grad")
    for value in known.values():
        if value.name in constants:
            result.constant(value.name, constants[value.name])
        else:
            result.inputs[value.name] = value
    cotangents: dict[str, list[Value]] = {}
    for s in seeds:
        like = known[s]
        cotangents.setdefault(s, []).append(
            result.input(result.fresh(grad_name(s)), like.shape, like.dtype or "float32")
        )

    active = _active(graph.nodes, known, wrt)
    totals: dict[str, Value] = {}
    wanted = set(wrt)
    for node in reversed(graph.nodes):
        op = Builder(result, f"{node.name}_Grad/")
        arriving = [_total(op, cotangents.pop(o, None)) if o else None for o in node.outputs]
        for o, d in zip(node.outputs, arriving, strict=True):
            if o in wanted and d is not None:
                totals[o] = d
        if all(d is None for d in arriving) or not active.intersection(node.input_names):
            continue
        shares = _apply_rule(op, known, node, arriving, active)
        for i, share in zip(node.inputs, shares, strict=False):
            if isinstance(i, str) and i in active and share is not None:
                cotangents.setdefault(i, []).append(
                    _undo_broadcast(op, node, share, known[i], known[node.output_names[0]])
                )
    for name in wrt:
        total = _total(Builder(result, f"{name}_Grad/"), cotangents.get(name))
        if name not in totals and total is not None:
            totals[name] = total

    missing = [w for w in wrt if w not in totals]
    if missing and unreachable == "raise":
        raise GraphError(
            f"{', '.join(map(repr, missing))} of graph {graph.name!r} does not reach "
            f"{', '.join(map(repr, seeds)) or 'any output'}, so its gradient is zero everywhere; "
            f"take it out of `wrt` (freeze it), or remove it from the graph"
        )
    for w in missing:
        totals[w] = result.op.ZerosLike(w)
    _recompute_shape_inputs(result, graph)
    _name_outputs(result, wrt, totals)
    result.prune()
    read = {i for n in result.nodes for i in n.input_names} | {grad_name(s) for s in seeds} | set(result.outputs)
    result.inputs = {k: v for k, v in result.inputs.items() if k in read}
    return result


# Integers that may stand for quantized numbers, or for sums of them.
CARRIERS = frozenset({"int8", "uint8", "int16", "uint16", "int4", "uint4", "int2", "uint2", "int32"})


def _active(nodes: Iterable[Node], known: dict[str, Value], wrt: Iterable[str]) -> set[str]:
    """The tensors that depend on wrt and carry a gradient: floating ones, and what QuantizeLinear makes of them."""
    active = set(wrt)
    for n in nodes:
        straight = lookup(n.op).straight_through
        read = [known[i] for i in n.input_names if i in active]
        integers = straight == "starts" or straight == "passes" and any(not v.is_float for v in read)
        if any(v.is_float or straight for v in read):
            written = (known[o] for o in n.output_names)
            active.update(v.name for v in written if v.is_float or integers and v.dtype in CARRIERS)
    return active


def _total(op: Builder, parts: list[Value] | None) -> Value | None:
    if not parts:
        return None
    total = parts[0]
    for part in parts[1:]:
        total = op.Add(total, part)
    return total


def _apply_rule(op: Builder, known: dict[str, Value], node: Node, arriving: list, active: set[str]) -> tuple:
    operator = lookup(node.op)
    if operator.vjp is None:
        reached = [i for i in node.input_names if i in active]
        named = operator.inputs[node.inputs.index(reached[0])] if not operator.variadic else reached[0]
        raise NoGradientRule(
            f"no gradient rule for operator {node.op!r}, met at the node writing {known[node.output_names[0]]}"
            f": a gradient has to reach its input {named!r}. Either give {node.op} a rule in aidgejax/ops/, or "
            f"freeze the producers above it"
        )
    inputs = [known[i] if isinstance(i, str) else i for i in operator.pad_inputs(node.inputs)]
    outputs = [known[o] if o else None for o in operator.pad_outputs(node.outputs)]
    cotangents = operator.pad_outputs(tuple(arriving))
    wanted = frozenset(k for k, i in enumerate(node.inputs) if i in active)
    return operator.vjp(op, *inputs, *outputs, *cotangents, **_attributes_for(operator, node, wanted))


@cache
def _keywords(rule: Any) -> tuple[bool, frozenset[str]]:
    params = inspect.signature(rule).parameters.values()
    return (any(p.kind is p.VAR_KEYWORD for p in params), frozenset(p.name for p in params if p.kind is p.KEYWORD_ONLY))


def _attributes_for(operator: Operator, node: Node, reached: frozenset[int]) -> dict[str, Any]:
    """The node's attributes, defaults included, and the inputs that a gradient has to reach, as far as the rule names
    them."""
    everything, named = _keywords(operator.vjp)
    attrs = {**operator.attributes, **node.attrs}
    if "reached" in named:
        attrs["reached"] = reached
    return attrs if everything else {k: v for k, v in attrs.items() if k in named}


def _undo_broadcast(op: Builder, node: Node, share: Value, like: Value, out: Value) -> Value:
    if not lookup(node.op).broadcasts:
        return share
    same = out.shape is not None and out.shape == like.shape and None not in out.shape
    return share if same else op.SumLike(share, like)


def _recompute_shape_inputs(result: Graph, graph: Graph) -> None:
    """What must be known while the gradient is lowered, a Slice's ends, say, cannot come from the forward as data:
    the nodes that compute it from shapes and constants come along."""
    needed = {i for i in compile_time_values(result) if i in result.inputs}
    again = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output_names):
            again.append(node)
            if not lookup(node.op).shape_only:
                needed.update(node.input_names)
    result.nodes = again[::-1] + result.nodes
    for o in (o for node in again for o in node.output_names):
        result.values[o] = result.inputs.pop(o)


def _name_outputs(result: Graph, wrt: list[str], totals: dict[str, Value]) -> None:
    """Let the node that completes a gradient write it under its own name."""
    final: dict[str, str] = {}
    for w in wrt:
        inside = totals[w].name
        if inside in result.inputs or inside in result.producers or inside in final or result.has(grad_name(w)):
            wanted = grad_name(w) if not result.has(grad_name(w)) else result.fresh(grad_name(w))
            (totals[w],) = result.add("Identity", [inside], names=[wanted])
        else:
            final[inside] = grad_name(w)
    result.nodes = [renamed(n, final) for n in result.nodes]
    result.values = {final.get(k, k): Value(final.get(k, k), v.shape, v.dtype) for k, v in result.values.items()}
    for w in wrt:
        result.output(final.get(totals[w].name, totals[w].name))
