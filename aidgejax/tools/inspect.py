"""What a graph is, in words and numbers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

import numpy as np

from ..analog import describe, layers
from ..arguments import takes_graph
from ..errors import SettingError
from ..execution.program import make_program
from ..graph import Graph, Node
from ..interpreter.abstract_evaluation import number_of
from ..interpreter.shape_inference import SIZES, infer_shapes
from ..ops import OPERATORS, lookup
from ..passes.control_flow.conditional import CONDITIONAL, branches_of
from ..passes.roles import summary as role_summary


@takes_graph
def inspect(graph: Graph, *, gradient: bool = False, sizes: Mapping[str, int] | None = None) -> str:
    """The graph printed, its parameters and floating-point operations counted; with `gradient`, its backward graph too.

    sizes: numbers for symbolic sizes in the count; default 1 each.
    """
    graph = infer_shapes(graph)
    params = sum(a.size for a in graph.params.values())
    held = sum(a.nbytes for a in [*graph.params.values(), *graph.buffers.values()])
    at = symbols_at(graph, sizes)
    costs = [(n, flops(graph, n, at)) for n in graph.nodes]
    total = sum(c for _, c in costs)
    lines = [
        str(graph),
        "",
        f"{params:,} parameters in {len(graph.params)} tensors, "
        f"{sum(a.size for a in graph.buffers.values()):,} buffer elements, {held:,} bytes",
    ]
    lines.append(
        f"{total:,.0f} floating-point operations forward"
        + (f" at {', '.join(f'{s}={n}' for s, n in at.items())}" if at else "")
    )
    lines += [*role_summary(graph), *(f"size: {found}" for found in graph.metadata.get(SIZES, ()))]
    if layers(graph):
        lines += ["", describe(graph), ""]
    lines.append("operators: " + ", ".join(f"{op} {k}" for op, k in sorted(graph.count().items())))
    heavy = sorted(costs, key=lambda c: -c[1])[:5]
    lines.append("heaviest: " + ", ".join(f"{n.name} ({n.op}) {100 * c / max(total, 1):.0f} %" for n, c in heavy if c))
    if gradient:
        backward = make_program(graph).gradient
        lines += [
            "",
            str(backward),
            "",
            f"{len(backward.nodes)} nodes backward for {len(graph.nodes)} forward: "
            + ", ".join(f"{op} {k}" for op, k in sorted(backward.count().items())),
        ]
    return "\n".join(lines)


def flops(graph: Graph, node: Node, sizes: Mapping[str, int]) -> float:
    """Floating-point operations of a node; a multiply-add counts two.  Unknown sizes count as 1."""

    def shape(name: Any) -> tuple[int, ...]:
        dims = (graph.value(name).shape or ()) if isinstance(name, str) else np.shape(name) if name is not None else ()
        return tuple(number_at(d, sizes) for d in dims)

    operator = lookup(node.op)
    inputs = [None if i is None else shape(i) for i in operator.pad_inputs(node.inputs)]
    outputs = [shape(o) for o in node.output_names]
    if node.op == CONDITIONAL:  # of the branch that takes more
        return max(sum(flops(b, n, sizes) for n in b.nodes) for b in branches_of(graph, node))
    if operator.flops is None:
        return math.prod(outputs[0]) if outputs else 0
    return operator.flops(inputs, outputs, {**operator.attributes, **node.attrs})


def symbols_at(graph: Graph, sizes: Mapping[str, int] | None) -> dict[str, int]:
    """{symbolic size of the inputs: the number that is given for it, or 1}"""
    symbols = sorted({d for v in graph.inputs.values() for d in v.shape or () if isinstance(d, str)})
    return {s: (sizes or {}).get(s, 1) for s in symbols}


def number_at(size: Any, sizes: Mapping[str, int]) -> int:
    """A size as a number, at least 1; 1 where a symbol of it is not known."""
    try:
        return max(1, number_of(size or 1, sizes))
    except KeyError:
        return 1


def formula_sheet(names: Sequence[str] = ()) -> str:
    """Every operator, or those of names or patterns, with formula, ONNX name and whether it has a gradient rule.

    Raises SettingError for a name that no operator has.
    """
    lines, shown = [], [n for n in sorted(OPERATORS) if not names or any(fnmatch(n.lower(), w.lower()) for w in names)]
    for wanted in names:
        if not any(fnmatch(n.lower(), wanted.lower()) for n in shown):
            near = difflib.get_close_matches(wanted.lower(), [n.lower() for n in OPERATORS], 3)
            close = ", ".join(n for n in sorted(OPERATORS) if n.lower() in near)
            raise SettingError(f"there is no operator {wanted!r}" + (f"; near to it: {close}" if close else ""))
    for name in shown:
        o = OPERATORS[name]
        where = "aidgejax" if o.onnx is None else f"{o.onnx[0] or 'ONNX'} {o.onnx[1]}"
        lines.append(f"{name:26} {where:14} {'rule' if o.vjp else '-':5} {o.formula}")
    rules = sum(1 for n in shown if OPERATORS[n].vjp)
    return "\n".join([*lines, f"{len(shown)} operator{'' if len(shown) == 1 else 's'}, {rules} with a rule"])
