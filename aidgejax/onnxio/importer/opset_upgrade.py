"""Nodes of older opsets in today's form, written in the same words as a gradient rule.

    @before(11, "Clip")
    def clip(op, node, x, *, min=None, max=None):
        return op.Clip(x, min, max)

says: where the model's opset is lower than 11, Clip means what is written here.  The function gets the old node, its
inputs by position and its attributes by keyword, and returns its outputs; operators that did not change, or that
only gained attributes and types, need no entry.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ...errors import ModelFileError
from ...graph import Graph, Node
from ...ops import OPERATORS
from ...passes.rewrite import Replacement, replace_nodes

EVER = 1 << 30
# {operator: [(the first opset with another form, how to write this one), ...], lowest first}
OLDER: dict[str, list[tuple[int, Callable]]] = {}
# Those that have to know the rank of their input, and in whose old form shapes can be inferred.
OLDER_OF_RANK: dict[str, list[tuple[int, Callable]]] = {}
RENAMED = {old: o.name for o in OPERATORS.values() for old in o.formerly}


def before(opset: int, *names: str, table: dict[str, list[tuple[int, Callable]]] = OLDER):
    def register(function: Callable) -> Callable:
        for name in names:
            table.setdefault(name, []).append((opset, function))
            table[name].sort(key=lambda entry: entry[0])
        return function

    return register


def upgraded(graph: Graph, opset: int) -> Graph:
    """The nodes of a graph that was read from a model of this opset, each in the form that aidgejax/ops has."""
    return replace_nodes(_without_saved_statistics(graph), partial(_older, OLDER, opset))


def upgraded_by_rank(graph: Graph, opset: int) -> Graph:
    """The same for the operators that need shapes; returns the very graph where there is nothing to do."""
    if any(_older(OLDER_OF_RANK, opset, n) for n in graph.nodes):
        return replace_nodes(graph, partial(_older, OLDER_OF_RANK, opset))
    return graph


def _older(table: dict[str, list[tuple[int, Callable]]], opset: int, node: Node) -> Replacement | None:
    if node.domain:
        return None
    for below, function in table.get(node.op, ()):
        if opset < below:
            return lambda op, *inputs, **attrs: function(op, node, *inputs, **attrs)
    return None


def _without_saved_statistics(graph: Graph) -> Graph:
    """BatchNormalization had two more outputs before opset 14; exporters name them though nobody reads them."""
    read = {*graph.outputs, *(i for n in graph.nodes for i in n.input_names)}
    read_or_none = lambda outputs: tuple(o if o in read else None for o in outputs)
    return graph.map_nodes(
        lambda n: n.replace(outputs=n.outputs[:3] + read_or_none(n.outputs[3:])) if n.op == "BatchNormalization" else n
    )


def _cannot(node: Node, what: str) -> ModelFileError:
    return ModelFileError(f"node {node.name!r} ({node.op}) cannot be read: {what}")


# ---- attributes that became inputs ---------------------------------------------------------------------


@before(11, "Clip")
def clip(op, node, x, *, min=None, max=None):
    return op.Clip(x, min, max)


@before(10, "Dropout")
def dropout_7(op, node, x, *, ratio=0.5):
    if len(node.outputs) < 2 or node.outputs[1] is None:
        return op.Dropout(x, ratio)
    y, mask = op.Dropout(x, ratio, outputs=2)
    return y, op.CastLike(mask, x)  # the mask had the dtype of x


@before(12, "Dropout")
def dropout(op, node, x, *, ratio=0.5):
    return op.Dropout(x, ratio, outputs=len(node.outputs))


@before(11, "Pad")
def pad(op, node, x, *, pads, mode="constant", value=0.0):
    return op.Pad(x, pads, value if value else None, mode=mode)


@before(10, "Slice")
def slice_(op, node, x, *, starts, ends, axes=None):
    return op.Slice(x, starts, ends, axes)


@before(13, "Split")
def split(op, node, x, *, axis=0, split=None):
    if split is None:
        return op.Split(x, axis=axis, num_outputs=len(node.outputs), outputs=len(node.outputs))
    return op.Split(x, split, axis=axis, outputs=len(node.outputs))


@before(18, "Split")
def split_13(op, node, x, split=None, *, axis=0):
    if split is None:
        return op.Split(x, axis=axis, num_outputs=len(node.outputs), outputs=len(node.outputs))
    return op.Split(x, split, axis=axis, outputs=len(node.outputs))


@before(13, "Squeeze", "Unsqueeze")
def squeeze(op, node, x, *, axes=None):
    return getattr(op, node.op)(x, axes)


@before(13, "ReduceSum")
@before(
    18,
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
)
def reduce(op, node, x, *, axes=None, keepdims=1):
    return getattr(op, node.op)(x, axes, keepdims=keepdims)


@before(10, "TopK")
def top_k(op, node, x, *, k, axis=-1):
    return op.TopK(x, (k,), axis=axis, outputs=2)


@before(20, "DFT")
def dft(op, node, x, dft_length=None, *, axis=1, inverse=0, onesided=0):
    return op.DFT(x, dft_length, axis, inverse=inverse, onesided=onesided)


# ---- other names, other defaults -----------------------------------------------------------------------


@before(EVER, "Upsample")
def upsample(op, node, x, scales, *, mode="nearest"):
    """scales: an attribute before opset 9."""
    scales = np.asarray(scales, np.float32) if isinstance(scales, tuple) else scales
    return op.Resize(x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@before(11, "Resize")
def resize_10(op, node, x, scales, *, mode="nearest"):
    return op.Resize(x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@before(EVER, "Resize")
def resize(op, node, x, *settings, **attributes):
    """Exporters write "absent" as a constant without elements."""
    settings = [None if getattr(s, "shape", None) == (0,) else s for s in settings]
    return op.Resize(x, *settings, **attributes)


@before(EVER, "Scatter")
def scatter(op, node, data, indices, updates, *, axis=0):
    return op.ScatterElements(data, indices, updates, axis=axis)


@before(9, "Scan")
def scan(op, node, lengths, *inputs, directions=None, **attributes):
    """Scan had a batch axis, and lengths of its own for every row."""
    if lengths is not None:
        raise _cannot(node, "sequence_lens is not read; leave it out, or export the model in opset 9 or later")
    return op.Scan(*inputs, scan_input_directions=directions, batched=1, outputs=len(node.outputs), **attributes)


@before(16, "RoiAlign")
def roi_align(op, node, x, rois, batch_indices, **attributes):
    return op.RoiAlign(x, rois, batch_indices, coordinate_transformation_mode="output_half_pixel", **attributes)


@before(20, "GridSample")
def grid_sample(op, node, x, grid, *, mode="bilinear", **attributes):
    return op.GridSample(x, grid, mode={"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode), **attributes)


# ---- other meanings ------------------------------------------------------------------------------------


@before(14, "BatchNormalization")
def batch_normalization(op, node, x, scale, bias, mean, var, *, epsilon=1e-5, momentum=0.9, spatial=1):
    """More outputs than one meant training; saved mean and variance are gone; spatial=0: statistics per position."""
    training = any(node.outputs[1:])
    if any(node.outputs[3:]):
        raise _cannot(
            node,
            f"its outputs {', '.join(repr(o) for o in node.outputs[3:] if o)} (saved statistics) do "
            f"not exist since opset 14; remove them",
        )
    if spatial:
        outputs = 3 if training else 1
        return op.BatchNormalization(
            x, scale, bias, mean, var, epsilon=epsilon, momentum=momentum, training_mode=int(training), outputs=outputs
        )
    if training:
        raise _cannot(node, "spatial=0 with outputs for training; only its inference is read")
    normal = op.Div(op.Sub(x, mean), op.Sqrt(op.Add(var, epsilon)))
    return op.Add(op.Mul(normal, scale), bias)


@before(21, "GroupNormalization")
def group_normalization(op, node, x, scale, bias, *, num_groups, epsilon=1e-5, **attributes):
    """Scale and bias had one number per group, and have one per channel."""
    size = op.Div(op.Shape(x, start=1, end=2), (num_groups,))
    target = op.Concat((num_groups,), size, axis=0)

    def per_channel(v):
        return op.Reshape(op.Expand(op.Reshape(v, (num_groups, 1)), target), (-1,))

    return op.GroupNormalization(
        x, per_channel(scale), per_channel(bias), num_groups=num_groups, epsilon=epsilon, **attributes
    )


@before(13, "Softmax", "LogSoftmax", "Hardmax", table=OLDER_OF_RANK)
def softmax(op, node, x, *, axis=1):
    """Over all axes from `axis` on, together; that is today's meaning where `axis` is the last one."""
    if x.rank is not None and axis in (-1, x.rank - 1):
        return getattr(op, node.op)(x, axis=-1)
    return op.ReshapeLike(getattr(op, node.op)(op.Flatten(x, axis=axis), axis=-1), x)
