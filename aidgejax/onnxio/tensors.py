"""TensorProto -> NumPy, believing nothing: what a file claims is compared with what it holds before it is used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from ..errors import ModelFileError

FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
REFUSED: dict[int, str] = {
    TensorProto.STRING: "strings",
    TensorProto.COMPLEX64: "complex numbers",
    TensorProto.COMPLEX128: "complex numbers",
}
# Several of these share a byte.
BITS = {
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    getattr(TensorProto, "INT2", -1): 2,
    getattr(TensorProto, "UINT2", -2): 2,
    getattr(TensorProto, "FLOAT6E2M3", -3): 6,
    getattr(TensorProto, "FLOAT6E3M2", -4): 6,
}


def dtype_name(element: int, what: str) -> str:
    """NumPy's name of an ONNX element type; refused where we have none for it."""
    known = TensorProto.DataType.values()
    if element == TensorProto.UNDEFINED or element not in known:
        raise ModelFileError(
            f"{what} has element type {element}, which is none of ONNX's ({min(known) + 1} to {max(known)})"
        )
    if element in REFUSED:
        raise ModelFileError(f"{what} holds {REFUSED[element]}, which aidgejax does not compute with")
    return helper.tensor_dtype_to_np_dtype(element).name


def byte_count(tensor: TensorProto, what: str) -> int:
    """How many bytes the tensor's type and sizes ask for."""
    dtype_name(tensor.data_type, what)
    bits = BITS.get(tensor.data_type) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return (_elements(tensor, what) * bits + 7) // 8


def to_array(tensor: TensorProto, what: str) -> np.ndarray:
    """The tensor's numbers.  what: how to call it in a message, e.g. "initializer 'w'"."""
    dtype = dtype_name(tensor.data_type, what)
    if tensor.HasField("segment"):
        raise ModelFileError(f"{what} is a segment of a larger tensor; store it whole")
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ModelFileError(f"{what} keeps its data in another file, which only a model read from a path may do")
    wanted, elements = byte_count(tensor, what), _elements(tensor, what)
    filled = [f for f in FIELDS if len(getattr(tensor, f))]
    raw = tensor.raw_data if tensor.HasField("raw_data") else None
    if raw is not None and filled:
        raise ModelFileError(f"{what} holds its data twice, as raw_data and as {', '.join(filled)}")
    field = helper.tensor_dtype_to_field(tensor.data_type)
    if [f for f in filled if f != field]:
        raise ModelFileError(f"{what} is {dtype} but holds {', '.join(filled)}; expected {field} or raw_data")
    if raw is not None:
        if len(raw) != wanted:
            raise ModelFileError(f"{what} is {dtype}{list(tensor.dims)}, which is {wanted} bytes, but holds {len(raw)}")
    else:
        per_byte = 8 // BITS.get(tensor.data_type, 8)  # 6-bit numbers have an entry each, as larger ones
        count, expected = len(getattr(tensor, field)), -(-elements // per_byte)
        if count != expected:
            raise ModelFileError(
                f"{what} is {dtype}{list(tensor.dims)}, which is {expected} entries of {field}, but holds {count}"
            )
    try:
        data = numpy_helper.to_array(tensor)
    except Exception as e:  # sizes that fit each other and NumPy all the same says no, e.g. more than 64 axes
        raise ModelFileError(f"{what}, {dtype}{list(tensor.dims)}, cannot be read: {e}") from e
    return data.view(np.uint8) != 0 if dtype == "bool" else data


def _elements(tensor: TensorProto, what: str) -> int:
    negative = [d for d in tensor.dims if d < 0]
    if negative:
        raise ModelFileError(f"{what} has shape {list(tensor.dims)}: a size cannot be negative")
    return math.prod(tensor.dims)


def every_tensor(model: onnx.ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Every tensor that the model holds anywhere, and how to call it."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[tuple[str, TensorProto]]:
    yield from ((f"initializer {t.name!r}", t) for t in graph.initializer)
    for sparse in graph.sparse_initializer:
        yield f"sparse initializer {sparse.values.name!r}", sparse.values
        yield f"sparse initializer {sparse.values.name!r}", sparse.indices
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, TensorProto]]:
    for node in nodes:
        for a in node.attribute:
            what = f"attribute {a.name!r} of node {node.name!r} ({node.op_type})"
            yield from ((what, t) for t in ([a.t] if a.HasField("t") else []) + list(a.tensors))
            for sparse in ([a.sparse_tensor] if a.HasField("sparse_tensor") else []) + list(a.sparse_tensors):
                yield what, sparse.values
                yield what, sparse.indices
            for graph in ([a.g] if a.HasField("g") else []) + list(a.graphs):
                yield from _of_graph(graph)


def check_external(model: onnx.ModelProto) -> bool:
    """Does the model keep data in other files?  What it says about them must be possible; onnx itself reads them.

    Parts that lie on top of each other are refused where they would take more than twice the files' size.
    """
    parts: dict[str, list[tuple[int, int]]] = {}
    for what, tensor in every_tensor(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {e.key: e.value for e in tensor.external_data}
        wanted = byte_count(tensor, what)
        offset, length = _number(entries.get("offset", "0"), "offset", what), wanted
        if "length" in entries:
            length = _number(entries["length"], "length", what)
            if length != wanted:
                raise ModelFileError(
                    f"{what} is {wanted} bytes by its type and shape {list(tensor.dims)}, but its "
                    f"external length is {length}"
                )
        elif parts.get(entries.get("location", "")):
            raise ModelFileError(
                f"{what} does not say its length in the external file {entries.get('location')!r}, "
                f"which it shares with other tensors"
            )
        parts.setdefault(entries.get("location", ""), []).append((offset, offset + length))
    for location, spans in parts.items():
        held, end = 0, 0
        for start, stop in sorted(spans):
            held += max(0, stop - max(start, end))
            end = max(end, stop)
        if sum(stop - start for start, stop in spans) > 2 * held:
            raise ModelFileError(
                f"the external file {location!r} is claimed several times over: {len(spans)} tensors "
                f"take {sum(b - a for a, b in spans)} bytes from {held}"
            )
    return bool(parts)


def _number(text: str, key: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelFileError(f"{what} has external {key} {text!r}: expected a number of bytes")
    return int(text)


def attribute_value(a: AttributeProto, what: str) -> Any:
    """An attribute as a node of ours holds it: number, string, array, or a tuple of numbers or strings."""
    if a.type == AttributeProto.FLOAT:
        return a.f
    if a.type == AttributeProto.INT:
        return a.i
    if a.type == AttributeProto.STRING:
        return _text(a.s, what)
    if a.type == AttributeProto.TENSOR:
        return to_array(a.t, what)
    if a.type == AttributeProto.FLOATS:
        return tuple(a.floats)
    if a.type == AttributeProto.INTS:
        return tuple(a.ints)
    return tuple(_text(s, what) for s in a.strings)


def _text(s: bytes, what: str) -> str:
    try:
        return s.decode()
    except UnicodeDecodeError:
        raise ModelFileError(f"{what} is not text: {s[:40]!r}") from None
