"""Patching a model that keeps its data in other files: what is written keeps it in one of its own, beside it.

The data is copied by stream, then the graph's arrays are written over it one after the other: never all at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ...errors import ModelFileError
from ...files import CHUNK, whole_file, write_atomically
from ...graph import Graph
from ..external_data import array_of, is_outside
from ..source import Source, check_unchanged
from ..tensors import byte_count, every_tensor

PAGE = 4096  # where tensors begin, so that a runtime can map them


def outside(model: ModelProto) -> list[TensorProto]:
    """The tensors whose data is in other files."""
    return [t for _, t in every_tensor(model) if is_outside(t)]


def write_beside(graph: Graph, model: ModelProto, source: Source, path: str) -> None:
    """Write a patched model and its data.  A data file of another model is not replaced.

    Raises ModelFileError for that, and where the files that were read have changed since.
    """
    check_unchanged(source)
    tensors = outside(model)
    before = [_entries(t) for t in tensors]
    places = sorted({e["location"] for e in before})
    origin = os.path.dirname(os.path.realpath(source.path or ""))
    here = os.path.realpath(path) == os.path.realpath(source.path or "")
    one = len(places) == 1
    name = places[0] if here and one else f"{os.path.basename(path)}.data"
    target = os.path.join(os.path.dirname(path), name)
    if os.path.lexists(target) and not (here and one) and not _is_of(path, name):
        raise ModelFileError(
            f"cannot write {path!r}: its data goes to {target!r}, which exists; remove it, or choose another name"
        )
    new, end = not os.path.lexists(target), 0
    with whole_file(target) as file:
        if one:  # what lies between the tensors, too
            with open(os.path.join(origin, places[0]), "rb") as old:
                shutil.copyfileobj(old, file, CHUNK)
        for t, entries in zip(tensors, before, strict=True):
            data = _data(graph, source, t, entries, origin)
            offset = int(entries.get("offset") or 0) if one else end
            file.seek(offset)
            file.write(data.data)
            end = -(-(offset + data.nbytes) // PAGE) * PAGE
            _set(t, "location", name)
            if not one:
                _set(t, "offset", offset)
                _set(t, "length", data.nbytes)
    try:
        write_atomically(model.SerializeToString(), path)
    except BaseException:
        if new:
            os.unlink(target)
        raise


def bring_all_inside(graph: Graph, model: ModelProto, source: Source) -> None:
    """Give a patched model its data, in place."""
    check_unchanged(source)
    origin = os.path.dirname(os.path.realpath(source.path or ""))
    for t in outside(model):
        data = _data(graph, source, t, _entries(t), origin).tobytes()
        t.ClearField("external_data")
        t.data_location = TensorProto.DEFAULT
        t.raw_data = data


def _data(graph: Graph, source: Source, tensor: TensorProto, entries: Mapping[str, str], origin: str) -> np.ndarray:
    """The tensor's bytes: the graph's numbers, or the file's where the graph does not hold the tensor."""
    size = byte_count(tensor, tensor.name)
    p = graph.producers.get(tensor.name)
    if p is None or tensor.name in source.packed:
        return array_of(_place(entries, size, tensor.name), origin)
    array = np.asarray(p.data)
    if array.shape != tuple(tensor.dims):
        raise ModelFileError(f"{tensor.name!r} is {list(array.shape)}, and {list(tensor.dims)} in the file")
    wanted = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    array = np.ascontiguousarray(array.astype(wanted, copy=False))
    if size != array.nbytes:  # several numbers in a byte
        return np.frombuffer(numpy_helper.from_array(array).raw_data, np.uint8)
    return array.reshape(-1).view(np.uint8)


def _place(entries: Mapping[str, str], size: int, name: str) -> TensorProto:
    """The same place in the same file as so many bytes."""
    plain = TensorProto(name=name, data_type=TensorProto.UINT8, dims=[size], data_location=TensorProto.EXTERNAL)
    for k in ("location", "offset"):
        if k in entries:
            plain.external_data.add(key=k, value=entries[k])
    return plain


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {e.key: e.value for e in tensor.external_data}


def _set(tensor: TensorProto, key: str, value: Any) -> None:
    for e in tensor.external_data:
        if e.key == key:
            e.value = str(value)
            return
    tensor.external_data.add(key=key, value=str(value))


def _is_of(path: str, name: str) -> bool:
    """Is there a model under this path whose data is in the file of this name, and nowhere else?"""
    try:
        with open(path, "rb") as f:
            model = ModelProto.FromString(f.read())
    except Exception:  # no file, or no model: protobuf has kinds of its own
        return False
    return {_entries(t).get("location") for t in outside(model)} == {name}
