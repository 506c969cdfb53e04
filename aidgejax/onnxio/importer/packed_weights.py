"""Weights that onnxruntime stores in a form of its own, put into the shape that a standard operator reads.

MatMulNBits, GatherBlockQuantized: several integers in a byte, in blocks with a scale each.  com.microsoft.nchwc.Conv:
a filter in blocks of 8 or 16 channels, as the kernels of the machine that wrote the file want them.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
from onnx import GraphProto

from ...errors import ModelFileError
from ...graph import Graph, Node, Producer
from ...passes.roles import GRID
from .contrib.registry import MINE, NCHWC

UNSIGNED = {2: ml_dtypes.uint2, 4: ml_dtypes.uint4, 8: np.dtype(np.uint8).type}
SIGNED = {2: ml_dtypes.int2, 4: ml_dtypes.int4, 8: np.dtype(np.int8).type}
# {operator: the inputs that are stored in a form of their own}
PACKED = {
    (MINE, "MatMulNBits"): (1, 2, 3, 4),
    (MINE, "GatherBlockQuantized"): (0, 3),
    (MINE, "DynamicQuantizeLSTM"): (1, 2, 8, 9, 10, 11),
    (NCHWC, "Conv"): (1,),
}
# Of these: what is no integer, and yet no weight.
FLOATS_OF_GRID = {(MINE, "MatMulNBits"): (3,)}


def packed_names(graph: GraphProto) -> set[str]:
    """The initializers of a file that the graph which is read from it holds in another form."""
    found: set[str] = set()
    for node in graph.node:
        places = PACKED.get((node.domain, node.op_type), ())
        found.update(node.input[k] for k in places if k < len(node.input) and node.input[k])
    return found


def unpacked(graph: Graph) -> Graph:
    """The graph whose packed initializers are plain ones; the nodes that read them have the attribute `unpacked`."""
    if not any((n.domain, n.op) in PACKED for n in graph.nodes):
        return graph
    copy, block = graph.copy(), nchwc_block(graph)
    done: dict[str, np.ndarray] = {}
    copy.nodes = []
    for node in graph.nodes:
        if (node.domain, node.op) == (NCHWC, "ReorderInput"):
            node = node.replace(attrs=node.attrs | {"block": block})
        if (node.domain, node.op) not in PACKED:
            copy.nodes.append(node)
            continue
        arrays = [_stored(graph, node, k) for k in range(len(node.inputs))]
        key = (node.domain, node.op)
        made = FORMS[key](node, arrays, block)
        for k, array in made.items():
            name = str(node.inputs[k])
            if name in done and not (done[name].shape == array.shape and done[name].dtype == array.dtype):
                raise ModelFileError(
                    f"node {node.name!r} ({node.op}) reads {name!r} in another form than a node before"
                )
            done[name] = array
            role = "parameter" if node.domain == NCHWC else "constant"
            copy.producers[name] = Producer(name, array, role, GRID if k in FLOATS_OF_GRID.get(key, ()) else "")
        copy.nodes.append(node.replace(attrs=node.attrs | {"unpacked": 1}))
    return copy


def _stored(graph: Graph, node: Node, k: int) -> np.ndarray | None:
    """What the file holds as the node's input; refused where a packed one is computed."""
    name = node.inputs[k]
    if not isinstance(name, str):
        return None
    if name in graph.producers:
        return graph.producers[name].data
    if k in PACKED[node.domain, node.op]:
        raise ModelFileError(
            f"node {node.name!r} ({node.op} of {node.domain}) cannot be read: {name!r} is not stored in the file, "
            f"so that its integers cannot be unpacked"
        )
    return None


def _bits(node: Node, data: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The last axis of bytes as `count` integers of so many bits, those of low value first."""
    each = 8 // bits
    parts = (data[..., None] >> (np.arange(each, dtype=np.uint8) * bits)) & ((1 << bits) - 1)
    whole = parts.reshape(*data.shape[:-1], -1)
    if whole.shape[-1] < count:
        raise _wrong(node, f"{data.shape[-1]} bytes hold {whole.shape[-1]} integers of {bits} bits; expected {count}")
    return whole[..., :count]


def _wrong(node: Node, what: str) -> ModelFileError:
    return ModelFileError(f"node {node.name!r} ({node.op} of {node.domain}) cannot be read: {what}")


def _known_bits(node: Node) -> int:
    bits = int(node.attrs.get("bits", 4))
    if bits not in UNSIGNED:
        raise _wrong(node, f"integers of {bits} bits; 2, 4 and 8 are read")
    return bits


def _matmul(node: Node, arrays: list[np.ndarray | None], _: int) -> dict[int, np.ndarray]:
    """B [N, blocks, bytes] -> integers [K, N]; scales and zero points -> [blocks, N].

    Without zero points the middle of the range is zero: then the integers are signed ones.  Zero points that are
    floats become what they take off, times the scale.  g_idx, the block of each row: the rows are put in order, and
    it becomes the place of each.
    """
    rows, columns, block = (int(node.attrs[k]) for k in ("K", "N", "block_size"))
    bits, blocks = _known_bits(node), -(-rows // block)
    if node.attrs.get("weight_prepacked"):
        raise _wrong(node, "its weights are in the form of a GPU's kernels (weight_prepacked)")
    packed, scales = arrays[1], arrays[2]
    zero = arrays[3] if len(arrays) > 3 else None
    if packed is None or scales is None:
        raise _wrong(node, "it lacks its weights or scales")
    if packed.dtype != np.uint8 or packed.size != columns * blocks * block * bits // 8:
        raise _wrong(
            node,
            f"its weights are {packed.dtype.name}{list(packed.shape)}; {rows} x {columns} integers of {bits} bits "
            f"in blocks of {block} are uint8{[columns, blocks, block * bits // 8]}",
        )
    if scales.size != columns * blocks:
        raise _wrong(node, f"it has {scales.size} scales for {columns} columns of {blocks} blocks")
    q = _bits(node, packed.reshape(columns, -1), bits, blocks * block)[:, :rows].T
    spread = np.ascontiguousarray(scales.reshape(columns, blocks).T)
    made, order = {}, _in_order(node, arrays[4] if len(arrays) > 4 else None, rows, block)
    if zero is None:
        q = q.astype(np.int16) - (1 << bits - 1)
    elif zero.dtype == np.uint8:
        made[3] = _bits(node, zero.reshape(columns, -1), bits, blocks).T.astype(UNSIGNED[bits])
    elif zero.size == columns * blocks:
        made[3] = np.ascontiguousarray(zero.reshape(columns, blocks).T * spread)
    else:
        raise _wrong(node, f"it has {zero.size} zero points for {columns} columns of {blocks} blocks")
    if order is not None:
        q, made[4] = q[order], np.argsort(order, kind="stable")
    made[1] = np.ascontiguousarray(q).astype((SIGNED if zero is None else UNSIGNED)[bits])
    made[2] = spread
    return made


def _in_order(node: Node, group: np.ndarray | None, rows: int, block: int) -> np.ndarray | None:
    """The order of rows in which those of one block follow each other; None where they do."""
    if group is None or np.array_equal(group, np.arange(rows) // block):
        return None
    order = np.argsort(group, kind="stable")
    if not np.array_equal(group[order], np.arange(rows) // block):
        raise _wrong(node, f"its g_idx puts other than {block} rows into a block")
    return order


def _lstm(node: Node, arrays: list[np.ndarray | None], _: int) -> dict[int, np.ndarray]:
    """Matrices [direction, in, 4 hidden] -> [direction, 4 hidden, in], and a scale for each row of them."""
    made = {}
    for at, scale_at in ((1, 8), (2, 10)):
        q, scale, zero = arrays[at], arrays[scale_at], arrays[scale_at + 1]
        if q is None or scale is None or zero is None or q.ndim != 3:
            raise _wrong(node, "it lacks a matrix, a scale or a zero point")
        made[at] = np.ascontiguousarray(q.transpose(0, 2, 1))
        for k, v in ((scale_at, scale), (scale_at + 1, zero)):
            rows = v.reshape(len(v), -1, 1) if v.ndim == 2 else v.reshape(-1, 1, 1)
            made[k] = np.ascontiguousarray(np.broadcast_to(rows, (*made[at].shape[:2], 1)))
    return made


def _gather(node: Node, arrays: list[np.ndarray | None], _: int) -> dict[int, np.ndarray]:
    """uint8 data that holds several integers in a byte, unpacked along the last axis."""
    data, zero, scales = arrays[0], arrays[3] if len(arrays) > 3 else None, arrays[2]
    if data is None or scales is None:
        raise _wrong(node, "it lacks its data or scales")
    if data.dtype != np.uint8:
        return {}
    bits = _known_bits(node)
    q = _bits(node, data, bits, data.shape[-1] * 8 // bits)
    if zero is None:
        return {0: (q.astype(np.int16) - (1 << bits - 1)).astype(SIGNED[bits])}
    return {0: q.astype(UNSIGNED[bits]), 3: _bits(node, zero, bits, scales.shape[-1]).astype(UNSIGNED[bits])}


# ---- filters in blocks of channels -------------------------------------------------------------------


def _filter(node: Node, arrays: list[np.ndarray | None], block: int) -> dict[int, np.ndarray]:
    """[out / block, in / block, h, w, block, block] or [out / block, in, h, w, block] -> [out, in, h, w]."""
    w = arrays[1]
    if w is None or w.ndim != 4 or w.shape[0] % block:
        raise _wrong(node, f"its filter is {None if w is None else list(w.shape)}; expected blocks of {block} channels")
    out, inside, height, width = w.shape
    group = int(node.attrs.get("group", 1))
    if inside < block if group == 1 else inside == 1 and out == group:
        plain = w.reshape(out // block, inside, height, width, block).transpose(0, 4, 1, 2, 3)
    else:
        plain = w.reshape(out // block, inside // block, height, width, block, block).transpose(0, 5, 1, 4, 2, 3)
    return {1: np.ascontiguousarray(plain).reshape(w.shape)}


def nchwc_block(graph: Graph) -> int:
    """8 or 16, whichever the padded sizes in the graph ask for; where both fit, what this machine would write."""
    convs = [n for n in graph.nodes if (n.domain, n.op) == (NCHWC, "Conv")]
    sizes = {n.outputs[0]: p.data.shape[0] for n in convs if (p := graph.producers.get(str(n.inputs[1])))}
    if any(d % 16 for d in sizes.values()):
        return 8
    for node in graph.nodes:
        if (node.domain, node.op) == (NCHWC, "ReorderOutput") and node.inputs[0] in sizes:
            channels = int(node.attrs.get("channels", 0))
            if channels and -(-channels // 8) * 8 != sizes[str(node.inputs[0])]:
                return 16
    return _block_of_machine()


def _block_of_machine() -> int:
    """The channels in a block of onnxruntime's kernels: 16 with AVX-512 and on ARM, else 8."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return 16
    try:
        return 16 if "avx512f" in Path("/proc/cpuinfo").read_text(errors="replace") else 8
    except OSError:
        return 8


FORMS: dict[tuple[str, str], Callable[[Node, list[np.ndarray | None], int], dict[int, np.ndarray]]] = {
    (MINE, "MatMulNBits"): _matmul,
    (MINE, "GatherBlockQuantized"): _gather,
    (MINE, "DynamicQuantizeLSTM"): _lstm,
    (NCHWC, "Conv"): _filter,
}
