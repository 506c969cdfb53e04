"""Recipes that make one node of several that follow each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....passes.fold_batchnorm import affine_of
from ..errors import TensorTypeError
from ..graphview import GraphView
from ..node import Node, Port
from ..operators import make_operator
from ..operators.normalization import STATISTICS
from .surgery import bypass, checked, constant, data_of, like, nodes_of, only_reader, put_in_place, take_out, write

AFFINE = ("FC", *(f"{p}Conv{k}{d}D" for p in ("", "Padded") for k in ("", "DepthWise") for d in (1, 2, 3)))


def fuse_batchnorm(graph_view: Any, batchnorm_node: Node | None = None) -> None:
    """fuse_batchnorm(graph), or fuse_batchnorm(conv, bn): BatchNorms into the convolution or FC before them.

        W' = W g / sqrt(var + epsilon)      b' = (b - mean) g / sqrt(var + epsilon) + shift

    A layer without a bias gets one, `<layer>_b`.  Left alone: BatchNorms in training mode or behind anything else, and
    layers that something else reads as well.
    """
    if isinstance(graph_view, Node):
        if batchnorm_node is None or batchnorm_node.type() not in STATISTICS:
            raise TensorTypeError("fuse_batchnorm(conv, bn): bn is no BatchNorm node")
        for view in list(graph_view.views):
            _fuse_batchnorm(view, batchnorm_node)
        return
    for norm in nodes_of(checked(graph_view, "fuse_batchnorm"), *STATISTICS):
        _fuse_batchnorm(graph_view, norm)


def _fuse_batchnorm(graph: GraphView, norm: Node) -> None:
    source, attr = norm.sources[0], norm.get_operator().attr
    if source is None or source.node.type() not in AFFINE or only_reader(source.node) is not norm or attr.training_mode:
        return
    layer, settings = source.node, [data_of(norm, k) for k in range(1, 5)]
    weight = data_of(layer, 1)
    shared = any(p is not None and len(p.node.readers[0]) > 1 for p in layer.sources[1:3])
    if weight is None or shared or any(a is None for a in settings):
        return
    gain, bias_of_norm, mean, variance = (np.asarray(a) for a in settings)
    factor, offset = affine_of(gain, bias_of_norm, mean, variance, attr.epsilon, f"node {norm.name()!r}")
    bias = data_of(layer, 2)
    if layer.sources[2] is None:
        made = constant(np.zeros(len(factor), weight.dtype), f"{layer.name()}_b", layer, trained=True)
        made.annotations().set_attr("AttachedProducer", True)
        made.add_child(layer, 0, 2)
        graph.add(made)
    shift = offset if bias is None else bias.astype(np.float64) * factor + offset
    write(layer, 1, weight.astype(np.float64) * factor.reshape(-1, *[1] * (weight.ndim - 1)))
    write(layer, 2, shift)
    bypass(graph, norm)


def matmul_to_fc(graph_view: GraphView) -> None:
    """A MatMul whose second factor is a Producer [in, out], and an Add of a Producer [out] behind it, become an FC.

    It is named <matmul>_<add>, or as the MatMul where there is no Add.  The Producer is transposed.
    """
    for node in nodes_of(checked(graph_view, "matmul_to_fc"), "MatMul"):
        weight = node.sources[1]
        if weight is None or weight.node.type() != "Producer" or len(weight.node.readers[0]) > 1:
            continue
        tensor = weight.node.get_operator().get_output(0)
        if tensor.ndim != 2 or (source := node.get_operator().get_input(0)) is not None and source.ndim > 2:
            continue
        add, bias = only_reader(node), None
        if add is not None and add.type() == "Add":
            others = [p for p in add.sources if p is not None and p.node is not node]
            if len(others) == 1 and others[0].node.type() == "Producer":
                vector = others[0].node.get_operator().get_output(0)
                bias = others[0] if vector.dims == [tensor.dims[1]] else None
        fused = f"{node.name()}_{add.name()}" if bias is not None and add is not None else node.name()
        fc = Node(make_operator("FC"), fused)
        if tensor.has_data():
            write(node, 1, tensor.cell.read().T)
        else:
            tensor.cell.clear(tensor.cell.shape[::-1])
        inputs = [node.sources[0], weight, bias]
        if bias is not None and add is not None:
            bypass(graph_view, add, include_producers=False)
        _move(graph_view, node, fc, inputs)


def _move(graph: GraphView, old: Node, new: Node, inputs: list[Port | None]) -> None:
    """As put_in_place, under the old name if the new node bears it."""
    name = new.name()
    old.set_name("")
    new.set_name(name)
    put_in_place(graph, old, new, inputs)


def fuse_consecutive_adds(graph_view: GraphView) -> None:
    """Adds of Adds become one Sum, named as the first."""
    for last in reversed(nodes_of(checked(graph_view, "fuse_consecutive_adds"), "Add")):
        if last not in graph_view.members:
            continue
        chain, inputs = [last], list(last.sources)
        while True:
            at = next(
                (k for k, p in enumerate(inputs) if p and p.node.type() == "Add" and len(p.node.readers[0]) == 1), None
            )
            if at is None:
                break
            inner: Any = inputs[at]
            chain.append(inner.node)
            inputs[at : at + 1] = list(inner.node.sources)
        if len(chain) > 1:
            total = Node(make_operator("Sum", len(inputs)), chain[-1].name())
            for node in chain[1:]:
                take_out(graph_view, node, include_producers=False)
            _move(graph_view, last, total, inputs)


def _pairs(graph: GraphView, kind: str) -> list[tuple[Node, Node]]:
    """(first, second) of this type where the second alone reads the first; for one pass of changes."""
    found = []
    for node in nodes_of(graph, kind):
        reader = only_reader(node)
        if reader is not None and reader.type() == kind and reader.sources[0] == Port(node, 0):
            found.append((node, reader))
    return found


def _fuse_pairs(graph: GraphView, kind: str, joined: Any) -> None:
    """Until there are none: the first of a pair takes joined(first's attributes, second's), and the second goes."""
    stuck: set[Node] = set()
    while True:
        pair = next(((a, b) for a, b in _pairs(graph, kind) if a not in stuck), None)
        if pair is None:
            return
        first, second = pair
        changed = joined(first.get_operator().attr.dict(), second.get_operator().attr.dict())
        if changed is None or any(p is not None for p in (*first.sources[1:], *second.sources[1:])):
            stuck.add(first)
            continue
        for key, value in changed.items():
            first.get_operator().attr.set_attr(key, value)
        bypass(graph, second)


def fuse_transpose(graph_view: GraphView) -> None:
    """Transposes that follow each other become the first."""

    def joined(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any] | None:
        one, two = list(a["output_dims_order"]), list(b["output_dims_order"])
        if len(one) != len(two):
            return None
        return {"output_dims_order": [one[k] for k in two] if one else []}

    _fuse_pairs(checked(graph_view, "fuse_transpose"), "Transpose", joined)


def _nonnegative(*axes: Any) -> bool:
    return all(len(a) and all(k >= 0 for k in a) for a in axes)


def fuse_consecutive_unsqueeze(graph_view: GraphView) -> None:
    """Unsqueezes that follow each other become the first."""

    def joined(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any] | None:
        one, two = sorted(a["axes"]), sorted(b["axes"])
        if not _nonnegative(one, two):
            return None
        moved = []
        for axis in one:  # where an axis of the first stands behind the second
            for new in two:
                axis += new <= axis
            moved.append(axis)
        return {"axes": sorted([*moved, *two])}

    _fuse_pairs(checked(graph_view, "fuse_consecutive_unsqueeze"), "Unsqueeze", joined)


def fuse_consecutive_squeeze(graph_view: GraphView) -> None:
    """Squeezes that follow each other become the first."""

    def joined(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any] | None:
        one, two = sorted(a["axes"]), sorted(b["axes"])
        if not _nonnegative(one, two):
            return None
        rank = max([*one, *two]) + len(one) + 1
        kept = [k for k in range(rank) if k not in one]
        return {"axes": sorted([*one, *(kept[k] for k in two)])}

    _fuse_pairs(checked(graph_view, "fuse_consecutive_squeeze"), "Squeeze", joined)


def fuse_consecutive_slices(graph_view: GraphView) -> None:
    """Slices of step 1 along the same axes that follow each other become the first."""

    def joined(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any] | None:
        alike = list(a["axes"]) == list(b["axes"]) and len(a["axes"])
        plain = all(s == 1 for s in (*a["steps"], *b["steps"]))
        if not alike or not plain or not _nonnegative(a["starts"], a["ends"], b["starts"], b["ends"]):
            return None
        starts = [p + q for p, q in zip(a["starts"], b["starts"], strict=True)]
        ends = [min(end, p + q) for end, p, q in zip(a["ends"], a["starts"], b["ends"], strict=True)]
        return {"starts": starts, "ends": ends, "steps": [1] * len(starts)}

    _fuse_pairs(checked(graph_view, "fuse_consecutive_slices"), "Slice", joined)


def fuse_concatenation(graph_view: GraphView) -> None:
    """A Concat that only another one along the same axis reads becomes a part of it, under the first's name."""
    changed = True
    while changed:
        changed = False
        for outer in nodes_of(checked(graph_view, "fuse_concatenation"), "Concat"):
            axis = outer.get_operator().attr.axis
            for k, p in enumerate(outer.sources):
                inner = None if p is None else p.node
                if inner is None or inner.type() != "Concat" or inner.get_operator().attr.axis != axis:
                    continue
                if only_reader(inner) is not outer:
                    continue
                inputs = [*outer.sources[:k], *inner.sources, *outer.sources[k + 1 :]]
                whole = Node(make_operator("Concat", len(inputs), axis=axis), inner.name())
                take_out(graph_view, inner, include_producers=False)
                _move(graph_view, outer, whole, inputs)
                changed = True
                break
            if changed:
                break


def fuse_reduce_unsqueeze(graph_view: GraphView) -> None:
    """A reduction that drops axes, and an Unsqueeze that puts them back, become one that keeps them."""
    for node in [
        n for n in checked(graph_view, "fuse_reduce_unsqueeze").execution_order() if n.type().startswith("Reduce")
    ]:
        back, attr = only_reader(node), node.get_operator().attr
        if back is None or back.type() != "Unsqueeze" or attr.keep_dims:
            continue
        if sorted(attr.axes) == sorted(back.get_operator().attr.axes) and _nonnegative(attr.axes):
            attr.keep_dims = True
            bypass(graph_view, back)


def convert_reduce_mean_global_average_pooling(graph_view: GraphView) -> None:
    """A ReduceMean over all axes of an image becomes a GlobalAveragePooling, <name>_converted_to_gav."""
    for node in nodes_of(checked(graph_view, "convert_reduce_mean_global_average_pooling"), "ReduceMean"):
        attr = node.get_operator().attr
        axes = sorted(attr.axes)
        if attr.keep_dims and len(axes) >= 1 and axes == list(range(2, 2 + len(axes))):
            pool = Node(make_operator("GlobalAveragePooling"), f"{node.name()}_converted_to_gav")
            put_in_place(graph_view, node, pool, [node.sources[0]])


def fuse_convolution(graph_view: GraphView) -> None:
    """A convolution of 1x1 and the unpadded one that alone reads it become one, under the first's name."""
    for first in nodes_of(checked(graph_view, "fuse_convolution"), "Conv2D"):
        second = only_reader(first)
        if second is None or second.type() != "Conv2D" or second.sources[0] != Port(first, 0):
            continue
        a, b = first.get_operator().attr, second.get_operator().attr
        w1, w2, b1, b2 = data_of(first, 1), data_of(second, 1), data_of(first, 2), data_of(second, 2)
        if list(a.kernel_dims) != [1, 1] or list(a.stride_dims) != [1, 1] or w1 is None or w2 is None:
            continue
        weight = np.einsum("omhw,mi->oihw", w2.astype(np.float64), w1[:, :, 0, 0].astype(np.float64))
        bias = 0.0 if b2 is None else b2.astype(np.float64)
        if b1 is not None:
            bias = bias + np.einsum("omhw,m->o", w2.astype(np.float64), b1.astype(np.float64))
        a.kernel_dims, a.stride_dims, a.dilation_dims = b.kernel_dims, b.stride_dims, b.dilation_dims
        write(first, 1, weight)
        if np.ndim(bias):
            if first.sources[2] is None:
                made = constant(np.zeros(len(weight), w1.dtype), f"{first.name()}_b", first, trained=True)
                made.add_child(first, 0, 2)
                graph_view.add(made)
            write(first, 2, np.asarray(bias))
        bypass(graph_view, second)


def conv_to_matMul(graph: GraphView) -> int:  # noqa: N802
    """Each Conv2D as unfolded windows times a matrix; how many.  The shapes must be known: call forward_dims before."""
    count = 0
    for node in nodes_of(checked(graph, "conv_to_matMul"), "Conv2D"):
        weight, out = node.sources[1], node.get_operator().get_output(0)
        if weight is None or len(out.dims) != 4:
            continue
        attr, name = node.get_operator().attr, node.name()
        unfold = Node(
            make_operator("Unfold2D", attr.kernel_dims, stride_dims=attr.stride_dims, dilation_dims=attr.dilation_dims),
            f"{name}_unfold",
        )
        rows = _reshaped(graph, weight, [out.dims[1], -1], f"{name}_w_reshape", node)
        product = Node(make_operator("MatMul"), f"{name}_matmul")
        rows.add_child(product, 0, 0)
        unfold.add_child(product, 0, 1)
        graph.add([unfold, rows, product])
        image = _reshaped(graph, Port(product, 0), [-1, *out.dims[1:]], f"{name}_reshape", node)
        last = image
        if node.sources[2] is not None:
            bias = _reshaped(graph, node.sources[2], [1, -1, 1, 1], f"{name}_b_reshape", node)
            last = Node(make_operator("Add"), f"{name}_add")
            image.add_child(last, 0, 0)
            bias.add_child(last, 0, 1)
            graph.add([bias, last])
        for new in (unfold, product, last):
            like(new, node)
        source = node.sources[0]
        if graph.chosen_inputs is not None:
            graph.chosen_inputs = [Port(unfold, 0) if p == Port(node, 0) else p for p in graph.chosen_inputs]
        if source is not None:
            source.node.add_child(unfold, source.index, 0)
        put_in_place(graph, node, last, [])
        count += 1
    return count


def _reshaped(graph: GraphView, source: Port, shape: list[int], name: str, old: Node) -> Node:
    node = Node(make_operator("Reshape"), name)
    target = constant(np.asarray(shape, np.int64), f"{name}_shape_prod", old)
    source.node.add_child(node, source.index, 0)
    target.add_child(node, 0, 1)
    like(node, old)
    graph.add([target, node])
    return node
