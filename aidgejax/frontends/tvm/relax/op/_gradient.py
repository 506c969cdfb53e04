"""The gradient of one call, as nodes that another call writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .....graph import Graph, Value
from .....interpreter.shape_inference import infer_shapes
from .....passes.gradient import grad_name, make_gradient
from ..structure import flat, mapped


def write_gradient(op: Any, write: Callable[..., Any], values: Sequence[Any], cotangent: Any) -> tuple[Any, ...]:
    """Write what `write(op, *values)` computes and its gradient.  Returns one gradient like each value.

    values: Values, tuples of them, or literals, whose gradient is None, as is that of integers.
    cotangent: the gradient of the result, like it.  Raises NoGradientRule as passes.gradient.make_gradient does.
    """
    graph, known = Graph("call"), dict[str, Any]()

    def declared(leaf: Any) -> Any:
        if not isinstance(leaf, Value):
            return leaf
        made = graph.input(f"a{len(known)}", leaf.shape, leaf.dtype or "float32")
        known[made.name] = leaf
        return made

    inputs = [mapped(declared, v) for v in values]
    results = flat(mapped(lambda v: v.name, write(graph.op, *inputs)))
    graph.outputs = list(results)
    graph = infer_shapes(graph)
    floats = [n for n in known if graph.inputs[n].is_float]
    backward = make_gradient(graph, [r for r in results if graph.value(r).is_float], floats, unreachable="zeros")
    known |= {grad_name(r): d for r, d in zip(results, flat(cotangent), strict=True)}
    needed = {i for n in backward.nodes for i in n.input_names}
    for node in reversed(graph.nodes):
        if needed.intersection(node.output_names):
            needed.update(node.input_names)
    for part in (graph, backward):
        known |= {k: p.data for k, p in part.producers.items() if k not in known}
        for node in part.nodes:
            if part is graph and not needed.intersection(node.output_names):
                continue
            if all(o in known for o in node.output_names):
                continue  # what the gradient computes again of shapes is there already
            made = getattr(op, node.op)(
                *(known[i] if isinstance(i, str) else i for i in node.inputs), outputs=len(node.outputs), **node.attrs
            )
            made = made if isinstance(made, tuple) else (made,)
            known |= {o: v for o, v in zip(node.outputs, made, strict=True) if o is not None}
    gradients = dict(zip(floats, backward.outputs, strict=True))
    found = {n: known[g] for n, g in gradients.items()}
    return tuple(mapped(lambda v: found.get(v.name) if isinstance(v, Value) else None, i) for i in inputs)
