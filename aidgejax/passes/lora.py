"""Low-rank adapters: beside a matrix that stays, a product of two small ones is trained (Hu et al. 2021, eq. 3)."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import numpy as np

from ..errors import GraphError
from ..graph import Graph, Node

A, B = "{}.lora_A", "{}.lora_B"


def lora(
    graph: Graph, rank: int, targets: Iterable[str] = ("*",), *, alpha: float | None = None, seed: int = 0
) -> Graph:
    """The graph with y + (x A) B * alpha / rank in the place of y = x W, for every matrix W that `targets` names.

    W is the second input of a MatMul or Gemm: a producer, or what DequantizeLinear makes of one.  Everything that was
    trained becomes constant; A is drawn with variance 1 / rows, B starts at 0, so nothing changes at first.
    alpha: default rank.  Raises GraphError where nothing is named so, or rank is not 1 or more.
    """
    if rank < 1:
        raise GraphError(f"an adapter of rank {rank}: expected 1 or more")
    rng, writer, copy = np.random.default_rng(seed), graph.writer(), graph.copy()
    for p in copy.producers.values():
        if p.role == "parameter":
            p.role, p.why = "constant", "has an adapter beside it"
    copy.nodes, found = [], False
    for node in graph.nodes:
        name = _matrix(graph, writer, node)
        shape = graph.producers[name].data.shape if name else ()
        if (
            name is None
            or len(shape) != 2
            or not any(fnmatchcase(name, t) for t in targets)
            or node.attrs.get("transA")
        ):
            copy.nodes.append(node)
            continue
        found = True
        rows, columns = shape[::-1] if node.attrs.get("transB") else shape
        (y,) = node.output_names
        kept = copy.fresh(f"{y}.without_adapter")
        copy.values[kept] = graph.value(y)
        copy.nodes.append(node.replace(outputs=(kept,)))
        if not copy.has(A.format(name)):
            copy.parameter(A.format(name), (rng.normal(size=(rows, rank)) / np.sqrt(rows)).astype(np.float32))
            copy.parameter(B.format(name), np.zeros((rank, columns), np.float32))
        (low,) = copy.add("MatMul", [node.inputs[0], A.format(name)], name=copy.fresh(f"{node.name}/lora_A"))
        (high,) = copy.add("MatMul", [low, B.format(name)], name=copy.fresh(f"{node.name}/lora_B"))
        factor = float(rank if alpha is None else alpha) / rank
        (scaled,) = copy.add("Mul", [high, factor], name=copy.fresh(f"{node.name}/lora_scale"))
        copy.nodes.append(Node("Add", (kept, scaled.name), (y,), {}, copy.fresh(f"{node.name}/lora_Add")))
    if not found:
        raise GraphError(
            f"graph {graph.name!r} has no matrix of a MatMul or Gemm called {', '.join(map(repr, targets))}"
        )
    return copy


def merge_lora(graph: Graph) -> Graph:
    """The graph with its adapters added to the matrices beside which they stand, where those are floats.

    Raises GraphError where a matrix is stored as integers: write those adapters as they are.
    """
    copy, readers = graph.copy(), graph.readers()
    for name in [p for p in graph.producers if graph.has(A.format(p))]:
        matrix = graph.producers[name].data
        if matrix.dtype.kind != "f":
            raise GraphError(f"{name!r} is stored as {matrix.dtype.name}, to which an adapter cannot be added exactly")
        a, b = (graph.producers[k.format(name)].data for k in (A, B))
        for low in readers.get(A.format(name), []):
            (high,) = readers[low.output_names[0]]
            (scale,) = readers[high.output_names[0]]
            (last,) = readers[scale.output_names[0]]
            kept = next(n for n in graph.nodes if n.outputs[0] == last.inputs[0])
            delta = a.astype(np.float64) @ b * float(scale.inputs[1]) / float(kept.attrs.get("alpha", 1.0))
            merged = matrix + (delta.T if kept.attrs.get("transB") else delta)
            copy.producers[name].data = merged.astype(matrix.dtype)
            gone = {low.name, high.name, scale.name, last.name}
            copy.nodes = [
                n.replace(outputs=last.outputs) if n.name == kept.name else n for n in copy.nodes if n.name not in gone
            ]
            for o in (low, high, scale, kept):
                copy.values.pop(o.output_names[0], None)
        for k in (A, B):
            del copy.producers[k.format(name)]
        copy.producers[name].role, copy.producers[name].why = "parameter", "takes part in the computation"
    return copy


def _matrix(graph: Graph, writer: dict[str, Node], node: Node) -> str | None:
    if node.op not in ("MatMul", "Gemm") or not isinstance(node.inputs[1], str):
        return None
    name = node.inputs[1]
    source = writer.get(name)
    while source is not None and source.op in ("Sub", "Gather"):  # a zero point apart, rows in another order
        source = writer.get(str(source.inputs[0]))
    if source is not None and source.op == "DequantizeLinear":
        name = str(source.inputs[0])
    return name if name in graph.producers else None
