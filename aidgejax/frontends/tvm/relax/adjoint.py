"""A function and its gradient as one explicit graph; with checkpoints, what was not kept is computed again."""

from __future__ import annotations

from collections.abc import Iterable

from ....errors import NoGradientRule
from ....graph import Graph
from ....interpreter.shape_inference import infer_shapes
from ....ops import lookup
from ....passes.edit import renamed
from ....passes.joint import make_joint
from ....passes.mode import normalized
from ..errors import NoGradient
from .function import Function
from .structure import Structure, flat, refill


def adjoint(function: Function, target: str, wanted: Structure) -> Function:
    """`<name>_adjoint`: the same parameters, the result (what `function` returns, gradients of `target` like `wanted`).

    The gradient starts from a constant 1.  A tensor that does not reach the target has a gradient of zeros.
    """
    changed = function.copy(f"{function.name}_adjoint")
    forward, substitutes = _without_marks(infer_shapes(normalized(changed.graph)), function.starts | function.ends)
    kept = _kept(infer_shapes(normalized(function.graph)), function.starts, function.ends)
    leaves = [substitutes.get(n, n) for n in flat(wanted)]
    floats = [n for n in dict.fromkeys(leaves) if forward.value(n).is_float]
    target = substitutes.get(target, target)
    try:
        graph, gradients = make_joint(forward, target, floats, kept=kept, unreachable="zeros")
    except NoGradientRule as e:
        raise NoGradient(str(e)) from None
    for n in dict.fromkeys(leaves):
        if n not in gradients:
            gradients[n] = graph.op.ZerosLike(n).name
    result = (
        refill(function.result, [substitutes.get(n, n) for n in flat(function.result)]),
        refill(wanted, [gradients[n] for n in leaves]),
    )
    graph.outputs = flat(result)
    graph = infer_shapes(graph) if len(gradients) > len(floats) else graph
    params = [type(p)(p.name_hint, p.struct_info) for p in function.params]
    names = {**function.names, **{new: function.names[p] for new, p in zip(params, function.params, strict=True)}}
    return Function(changed.name, graph, params, result, names, attrs={"global_symbol": changed.name})


def _without_marks(graph: Graph, marks: Iterable[str]) -> tuple[Graph, dict[str, str]]:
    """The graph without its checkpoint marks, and {mark: the tensor it marked}."""
    marks = set(marks)
    source: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        node = renamed(node, source)
        if marks.intersection(node.output_names):
            source[node.output_names[0]] = node.input_names[0]
        else:
            nodes.append(node)
    graph.nodes = nodes
    graph.values = {k: v for k, v in graph.values.items() if k not in source}
    graph.outputs = [source.get(o, o) for o in graph.outputs]
    return graph, source


def _kept(graph: Graph, starts: set[str], ends: set[str]) -> set[str] | None:
    """The tensors that the backward pass may read; None for all of them.

    Kept are parameters, what start_checkpoint marks, random draws, and whatever is computed from kept tensors and from
    results of end_checkpoint alone.
    """
    if not starts and not ends:
        return None
    kept, ended = {*graph.inputs, *graph.producers}, set[str]()
    for node in graph.nodes:
        if starts.intersection(node.output_names):
            kept.add(node.input_names[0])
        elif ends.intersection(node.output_names):
            ended.update(node.output_names)
        elif lookup(node.op).random or all(i in kept or i in ended for i in node.input_names):
            kept.update(node.output_names)
    return kept
