"""A file with what was asked for when it was read: cut, with other sizes, with a batch of any size, with constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from ...errors import GraphError, ModelFileError
from ...graph import Dim
from ..importer.cutting import cut
from ..source import Edits, Expanded, Retargeted, Source


class NotExpressible(ModelFileError):
    """The file's own form does not say what the graph says."""


def edited(model: ModelProto, source: Source) -> ModelProto:
    """The model with the edits of its source.  Raises NotExpressible where onnx's checker refuses the result."""
    edits = source.edits
    if not isinstance(edits, Edits):
        raise NotExpressible(edits)
    model = cut(model, edits.inputs, edits.outputs, edits.given)
    graph = model.graph
    before = len(graph.initializer)
    for name, array in edits.values.items():
        _remove(graph.input, name)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
    for info in graph.input:
        if info.name in edits.sizes:
            _set_shape(info, source.plain.inputs[info.name].shape)
    _change_nodes(graph, edits)
    if model.ir_version < 4:  # there every initializer is an input too
        graph.input.extend(
            helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in graph.initializer[before:]
        )
    if edits.sizes or edits.values or edits.nodes:
        for info in (*graph.output, *graph.value_info):
            known = source.plain.has(info.name)
            _set_shape(info, source.plain.value(info.name).shape if known else None)
    try:
        if not any(t.external_data for t in graph.initializer):
            onnx.checker.check_model(model, full_check=True)
    except Exception as e:  # the checker raises several kinds, some of them plain RuntimeErrors
        raise NotExpressible(f"what was read from it does not fit into its form: {str(e).splitlines()[0]}") from None
    return model


def _remove(infos: Any, name: str) -> None:
    kept = [i for i in infos if i.name != name]
    del infos[:]
    infos.extend(kept)


def _set_shape(info: ValueInfoProto, shape: Sequence[Dim] | None) -> None:
    if info.type.WhichOneof("value") != "tensor_type":
        return
    declared = info.type.tensor_type
    if shape is None:
        declared.ClearField("shape")
        return
    del declared.shape.dim[:]
    for d in shape:
        dim = declared.shape.dim.add()
        if isinstance(d, int):
            dim.dim_value = d
        elif d is not None and not d.startswith("?"):
            dim.dim_param = d


def _change_nodes(graph: GraphProto, edits: Edits) -> None:
    by_output = {o: k for k, n in enumerate(graph.node) for o in n.output}
    taken = {*by_output, *(t.name for t in graph.initializer), *(i.name for i in graph.input)}
    before: dict[int, list[NodeProto]] = {}

    def named(stem: str) -> str:
        name, k = stem, 0
        while name in taken:
            k += 1
            name = f"{stem}_{k}"
        taken.add(name)
        return name

    def stored(stem: str, numbers: Sequence[int]) -> str:
        name = named(stem)
        graph.initializer.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
        return name

    for change in edits.nodes:
        if change.output not in by_output:
            raise GraphError(f"the file has no node that writes {change.output!r}")
        at = by_output[change.output]
        node = graph.node[at]
        if isinstance(change, Retargeted):
            node.input[change.position] = stored(f"{change.output}.shape", change.numbers)
            kept = [a for a in node.attribute if a.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)
        else:
            nodes, expanded = _expansion(node.input[change.position], change, named, stored)
            before.setdefault(at, []).extend(nodes)
            node.input[change.position] = expanded
    if before:
        nodes = [n for k, node in enumerate(list(graph.node)) for n in (*before.get(k, ()), node)]
        made = [NodeProto.FromString(n.SerializeToString()) for n in nodes]
        del graph.node[:]
        graph.node.extend(made)


def _expansion(x: str, change: Expanded, named: Any, stored: Any) -> tuple[list[NodeProto], str]:
    """Nodes that any opset has, and what the last one writes."""
    stem = f"{change.output}.{change.position}"
    shape, size, target, wide = (named(f"{stem}.{what}") for what in ("like", "batch", "target", "expanded"))
    axis = stored(f"{stem}.axis", [change.like_axis])
    ones = [stored(f"{stem}.ones", [1] * n) if n else "" for n in (change.axis, change.rank - change.axis - 1)]
    return [
        helper.make_node("Shape", [change.like], [shape], name=shape),
        helper.make_node("Gather", [shape, axis], [size], name=size, axis=0),
        helper.make_node("Concat", [p for p in (ones[0], size, ones[1]) if p], [target], name=target, axis=0),
        helper.make_node("Expand", [x, target], [wide], name=wide),
    ], wide
