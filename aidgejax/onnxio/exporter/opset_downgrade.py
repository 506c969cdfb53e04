"""Writing a graph in an older opset than its operators' newest form asks for, where the older form says the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ...dtypes import DTYPES, ONNX_CODES
from ...graph import Graph, Node
from ...passes.control_flow.conditional import with_branches
from ...passes.rewrite import Replacement, replace_nodes
from ..importer.subgraphs import every_graph
from .decompose import decomposed
from .writer import IR_OF_OPSET, OLDEST_OPSET, to_model

# Since opset 18 these take their axes as an input, before that as an attribute.
REDUCTIONS = (
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
)


def at_opset(graph: Graph, opset: int) -> tuple[ModelProto, bool]:
    """(model, is it in this opset?): in `opset` where it can be written so, else in the lowest that has it all."""
    graph = _casts(decomposed(graph))
    graph = graph.copy()
    graph.source = None  # whatever file it came from
    lowest = to_model(graph)
    needed = next(i.version for i in lowest.opset_import if i.domain == "")
    if opset >= needed:
        return (lowest if opset == needed else to_model(graph, opset=opset)), True
    for version in range(max(opset, OLDEST_OPSET), needed):
        if older := _lowered(lowest, version):
            return older, version == opset
    return lowest, False


def _casts(graph: Graph) -> Graph:
    """CastLike is younger than Cast, and the types are known."""

    def replacement(node: Node) -> Replacement | None:
        dtype = graph.value(node.inputs[1]).dtype if node.op == "CastLike" and not node.attrs else None
        if dtype not in ONNX_CODES:
            return None

        def write(op: Any, x: Any, like: Any) -> Any:
            if isinstance(x, int | float):
                return op.Identity(np.asarray(x, DTYPES[dtype]))
            return op.Cast(x, to=ONNX_CODES[dtype])

        return write

    return replace_nodes(with_branches(graph, _casts), replacement)


def _lowered(model: ModelProto, opset: int) -> ModelProto | None:
    """The model in an older opset, or None where the checker says that it is not one."""
    older = ModelProto()
    older.CopyFrom(model)
    graphs = list(every_graph(older.graph))
    nodes = [n for g in graphs for n in g.node]
    values = {t.name: t for g in graphs for t in g.initializer}
    if opset < 18:
        for node in nodes:
            if node.op_type in REDUCTIONS and len(node.input) > 1:
                axes = values.get(node.input[1])
                if axes is None:
                    return None
                node.attribute.append(helper.make_attribute("axes", [int(a) for a in numpy_helper.to_array(axes)]))
                del node.input[1:]
            if node.op_type == "Split":  # into equal parts unless an attribute says otherwise
                kept = [a for a in node.attribute if a.name != "num_outputs"]
                del node.attribute[:]
                node.attribute.extend(kept)
    if opset < 16 and _needs_a_later_meaning(nodes):
        return None
    read = {i for n in nodes for i in n.input} | {o.name for g in graphs for o in g.output}
    for g in graphs:
        kept = [t for t in g.initializer if t.name in read]
        del g.initializer[:]
        g.initializer.extend(kept)
    for i in older.opset_import:
        if i.domain == "":
            i.version = opset
    older.ir_version = next(ir for top, ir in IR_OF_OPSET if opset <= top)
    try:
        onnx.checker.check_model(older, full_check=True)
    except Exception:  # several kinds, some of them plain RuntimeErrors
        return None
    return older


def _needs_a_later_meaning(nodes: Iterable[NodeProto]) -> bool:
    """Forms that an older opset accepts and does not mean."""
    return any(
        n.op_type in ("ScatterElements", "ScatterND")
        and n.attribute
        and any(a.name == "reduction" for a in n.attribute)
        for n in nodes
    )
