"""The arrangements in which a deployed graph is written: each a pass from the one that `to_integer` makes.

qdq        itself: what every runtime reads
qoperator  QLinearConv where there is a layer: integers from end to end, for runtimes without fusion
qonnx      Quant nodes with any number of bits (domain qonnx.custom_op.general), for FINN and similar tools
aidge      what aidge_onnx loads natively: one step per tensor, no Relu where the next levels begin at 0
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from ..arguments import checked_call
from ..errors import GraphError, SettingError
from ..graph import Graph, Node, Value
from ..interpreter.shape_inference import infer_shapes
from .deploy import OnGrid
from .proof import largest_sums
from .reading import grids_of
from .sites import LAYERS

FORMS = ("qdq", "qoperator", "qonnx", "aidge", "c")


@checked_call
def in_form(integers: Graph, form: str, *, packed: bool = False) -> Graph:
    """The deployed graph in one of FORMS (but "c", which is no graph).

    packed: weights of at most 4 bits as int4, two to a byte.  Raises GraphError naming what a form cannot say.
    """
    if form not in FORMS or form == "c":
        raise SettingError(f"form {form!r}: expected one of {', '.join(FORMS)}")
    makers: dict[str, Callable[[Graph], Graph]] = {
        "qdq": lambda g: g, "qoperator": _qoperator, "qonnx": _qonnx, "aidge": _aidge
    }  # fmt: skip
    graph = makers[form](integers)
    return _packed(graph) if packed else graph


def _pruned(graph: Graph) -> Graph:
    graph.prune()
    held = {i for n in graph.nodes for i in n.input_names} | set(graph.outputs)
    graph.producers = {k: p for k, p in graph.producers.items() if k in held}
    return infer_shapes(graph.check())


def _packed(graph: Graph) -> Graph:
    copy = graph.copy()
    for grid in grids_of(graph).values():
        held = copy.producers.get(grid.integers)
        if (
            held is not None
            and held.data.dtype == np.int8
            and grid.low >= -8
            and grid.high <= 7
            and not grid.zero.any()
        ):
            copy.producers[held.name] = replace(held, data=held.data.astype(ml_dtypes.int4))
    return infer_shapes(copy.check())


# ---- qoperator ----------------------------------------------------------------------------------------


def _unsigned(graph: Graph) -> Graph:
    """Signed 8-bit activations as unsigned ones, the zero point at 128: QLinearConv wants input and result alike."""
    copy = graph.copy()
    for node in graph.nodes:
        zero = copy.producers.get(node.inputs[2]) if node.op == "QuantizeLinear" and len(node.inputs) > 2 else None
        if zero is not None and zero.data.dtype == np.int8:
            copy.producers[zero.name] = replace(zero, data=(zero.data.astype(np.int16) + 128).astype(np.uint8))
    return infer_shapes(copy.check())


def _qoperator(graph: Graph) -> Graph:
    graph = _unsigned(graph)
    grids, readers = grids_of(graph), graph.readers()
    copy = graph.copy()
    copy.nodes = []
    done: set[str] = set()
    for node in graph.nodes:
        quantize = _behind(graph, node, grids, readers) if node.op in ("Conv", "Gemm", "MatMul") else None
        if quantize is None:
            if node.name not in done:
                copy.nodes.append(node)
            continue
        chain, last = quantize
        done.update(n.name for n in chain)
        _qlinear(copy, graph, node, grids, last, cut=any(n.op == "Clip" for n in chain))
    return _pruned(copy)


def _behind(
    graph: Graph, node: Node, grids: dict[str, OnGrid], readers: dict[str, list[Node]]
) -> tuple[list[Node], Node] | None:
    """(the nodes from a layer to the QuantizeLinear behind it, this last one) where a QLinearConv says the same."""
    if not all(i in grids for i in node.input_names) or grids[node.inputs[0]].step.size != 1:
        return None
    weight = graph.producers.get(grids[node.inputs[1]].integers)
    if weight is None or weight.data.dtype.itemsize > 1 or graph.value(grids[node.inputs[0]].integers).dtype != "uint8":
        return None
    tensor, chain = node.output_names[0], []
    while True:
        following = readers.get(tensor, [])
        if len(following) != 1 or tensor in graph.outputs:
            return None
        (n,) = following
        chain.append(n)
        if n.op == "QuantizeLinear":
            break
        if n.op not in ("Relu", "Clip") or any(i in graph.values for i in n.input_names[1:]):
            return None
        tensor = n.output_names[0]
    zero = graph.producers[chain[-1].inputs[2]].data
    if zero.dtype != np.uint8:
        return None
    if any(n.op == "Relu" for n in chain) and int(zero) != np.iinfo(zero.dtype).min:
        return None  # the rectifier is more than the end of the container
    return chain, chain[-1]


def _qlinear(copy: Graph, graph: Graph, node: Node, grids: dict[str, OnGrid], last: Node, *, cut: bool) -> None:
    x, w = grids[node.inputs[0]], grids[node.inputs[1]]
    writer = graph.writer()
    weight, bias = graph.producers[w.integers].data, None
    if len(node.input_names) > 2:
        bias = graph.producers[grids[node.inputs[2]].integers].data
    dequantize = writer[node.inputs[0]]
    scale, zero = dequantize.inputs[1], dequantize.inputs[2]
    rank = graph.value(node.inputs[0]).rank
    conv = node.op == "Conv"
    if not conv and rank != 2:
        raise GraphError(f"node {node.name!r} ({node.op}) has an input of rank {rank}: form 'qoperator' takes matrices")
    if not conv:
        flip = node.op == "MatMul" or not node.attrs.get("transB", 0)
        weight = (weight.T if flip else weight)[:, :, None, None]
    held = copy.constant(copy.fresh(f"{node.name}.qweight"), np.ascontiguousarray(weight)).name
    wscale = copy.constant(
        copy.fresh(f"{node.name}.qscale"), w.step.reshape(-1) if w.step.size > 1 else w.step.reshape(())
    )
    shape = w.step.reshape(-1).shape if w.step.size > 1 else ()
    wzero = copy.constant(
        copy.fresh(f"{node.name}.qzero"),
        np.broadcast_to(w.zero.reshape(-1) if w.zero.size > 1 else w.zero.reshape(()), shape).astype(weight.dtype),
    )
    end = last.output_names[0]
    inputs: list[Any] = [x.integers, scale, zero, held, wscale.name, wzero.name, last.inputs[1], last.inputs[2]]
    if bias is not None:
        inputs.append(
            copy.constant(
                copy.fresh(f"{node.name}.qbias"), np.broadcast_to(bias.reshape(-1), (len(weight),)).copy()
            ).name
        )
    attrs = {k: v for k, v in node.attrs.items() if k not in ("transB", "transA", "alpha", "beta")} if conv else {}
    if not conv:
        (image,) = _emit(copy, "Reshape", [x.integers, (0, weight.shape[1], 1, 1)], f"{node.name}/image")
        inputs[0] = image
    target = end if conv and not cut else copy.fresh(f"{end}.wide")
    _emit(copy, "QLinearConv", inputs, node.name, target, attrs)
    if not conv:
        flat = end if not cut else copy.fresh(f"{end}.flat")
        _emit(copy, "Reshape", [target, (0, len(weight))], f"{node.name}/matrix", flat)
        target = flat
    if cut:
        grid = next(g for g in grids.values() if g.integers == end)
        kind = graph.producers[last.inputs[2]].data.dtype
        ends = [
            copy.constant(copy.fresh(f"{node.name}.{k}"), np.asarray(v, kind)).name
            for k, v in (("low", grid.low), ("high", grid.high))
        ]
        _emit(copy, "Clip", [target, *ends], f"{node.name}/cut", end)


def _emit(
    copy: Graph, op: str, inputs: list[Any], name: str, output: str | None = None, attrs: dict[str, Any] | None = None
) -> tuple[str]:
    output = output or copy.fresh(name)
    copy.values[output] = Value(output, None, None)
    copy.nodes.append(Node(op, tuple(inputs), (output,), dict(attrs or {}), name))
    return (output,)


def qoperator_reasons(graph: Graph) -> list[str]:
    """Why a graph in this form may depend on the runtime: sums of 2^24 or more are rounded on their way to float32, and
    what is not in integers is as in `unproved`."""
    from_layers = [f"{n}: its sums may reach {b}, 2^24 or more" for n, b in largest_sums(graph).items() if b >= 2**24]
    floats = [
        f"{n.name} ({n.op}): it is computed in floating point"
        for n in graph.nodes
        if n.op in (*LAYERS, "Add", "Sub", "Mul", "AveragePool", "GlobalAveragePool", "ReduceMean", "Softmax")
    ]
    return from_layers + floats


# ---- qonnx --------------------------------------------------------------------------------------------


def _qonnx(graph: Graph) -> Graph:
    grids = grids_of(graph)
    copy = graph.copy()
    writer = graph.writer()
    copy.nodes = []
    for node in graph.nodes:
        if node.op != "DequantizeLinear":
            copy.nodes.append(node)
            continue
        grid = grids[node.output_names[0]]
        zero, low, high, wide = grid.zero.astype(np.float32), grid.low, grid.high, False
        if grid.integers in graph.producers:
            ints = graph.producers[grid.integers].data
            wide = ints.dtype == np.int32
            if node.attrs.get("block_size"):
                raise GraphError(f"tensor {node.output_names[0]!r} has steps by blocks: form 'qonnx' has no such Quant")
            zeros = grid.zero if grid.zero.ndim in (0, ints.ndim) else grid.zero.reshape(grid.step.shape)
            step = grid.step if grid.step.ndim in (0, ints.ndim) else grid.step.reshape(-1)
            floats = ((ints.astype(np.int64) - zeros) * step).astype(np.float32)
            source: str = copy.constant(copy.fresh(f"{grid.integers}.float"), floats).name
            bits = 32 if wide else max(2, int(max(-grid.low, grid.high + 1) - 1).bit_length() + 1)
            signed, step = True, step
        else:
            quantize = writer[grid.integers]
            source = quantize.inputs[0]
            clip = writer.get(source)
            if clip is not None and clip.op == "Clip" and clip.name.endswith("/clip"):
                source = clip.inputs[0]
            step = grid.step
            if int(grid.zero):  # QONNX's Quant adds its zero point before it rounds, ONNX after: halves fall otherwise
                low, high, zero = low - int(grid.zero), high - int(grid.zero), np.zeros((), np.float32)
                ends = [np.asarray(np.float32(level) * step, np.float32).reshape(()) for level in (low, high)]
                held = [copy.constant(copy.fresh(f"{node.name}.end"), e).name for e in ends]
                (source,) = _emit(copy, "Clip", [source, *held], f"{node.name}/cut")
            signed = low < 0
            bits = max(int(high).bit_length(), int(-low - 1).bit_length()) + 1 if signed else int(high).bit_length()
        inputs = [source, *(np.asarray(a, np.float32) for a in (step, zero.reshape(np.shape(step)), bits))]
        names = [
            copy.constant(copy.fresh(f"{node.name}.{k}"), a).name
            for k, a in zip(("scale", "zero", "bits"), inputs[1:], strict=True)
        ]
        narrow = int(signed and not wide and low == -high)
        attrs = {"signed": int(signed), "narrow": narrow, "rounding_mode": "ROUND"}
        copy.nodes.append(Node("Quant", (source, *names), node.outputs, attrs, node.name, "qonnx.custom_op.general"))
    return _pruned(copy)


# ---- aidge --------------------------------------------------------------------------------------------


def _aidge(graph: Graph) -> Graph:
    """One step per tensor (raises GraphError naming a weight that has more); a Relu in front of levels that begin at 0
    is what these levels cut off anyway, and Aidge's from_qdq wants none."""
    for t, grid in grids_of(graph).items():
        if grid.step.size > 1:
            raise GraphError(
                f"tensor {t!r} has {grid.step.size} steps: Aidge loads one per tensor; convert with "
                f"weights=Grid(bits, per='tensor')"
            )
    copy, readers = graph.copy(), graph.readers()
    instead: dict[str, str] = {}
    for node in graph.nodes:
        following = readers.get(node.output_names[0], [])
        if node.op != "Relu" or len(following) != 1 or node.output_names[0] in graph.outputs:
            continue
        (n,) = following
        if n.op == "Clip" and len(readers[n.output_names[0]]) == 1:
            (n,) = readers[n.output_names[0]]
        zero = graph.producers.get(n.inputs[2]) if n.op == "QuantizeLinear" else None
        if zero is not None and zero.data.dtype.kind == "u" and not zero.data.any():
            instead[node.output_names[0]] = node.inputs[0]
    copy.nodes = [
        n.replace(inputs=tuple(instead.get(i, i) if isinstance(i, str) else i for i in n.inputs))
        for n in graph.nodes
        if n.output_names[0] not in instead
    ]
    return _pruned(copy)
