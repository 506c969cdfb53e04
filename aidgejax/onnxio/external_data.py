"""Models whose initializers stay in a second file: only what is written out needs their numbers.

`detached(model)` is enough for all that needs no numbers; `array_of(tensor, folder)` are the numbers.
"""

from __future__ import annotations

import math
import os

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ..errors import ModelFileError


def is_outside(tensor: TensorProto) -> bool:
    """Does the tensor name a file instead of holding numbers?"""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def detached(model: ModelProto) -> ModelProto:
    """The model with the initializers that are outside as inputs: enough to check it, and to differentiate it."""
    outside = [t for t in model.graph.initializer if is_outside(t)]
    if not outside:
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    inside = [t for t in model.graph.initializer if not is_outside(t)]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(inside)
    have = {i.name for i in model.graph.input}
    copy.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in outside if t.name not in have
    )
    return copy


def attached(copy: ModelProto, model: ModelProto) -> None:
    """Undo `detached`: give what was made of the copy the initializers of the model that are outside."""
    outside = [t for t in model.graph.initializer if is_outside(t)]
    if outside:
        del copy.graph.input[:]
        copy.graph.input.extend(model.graph.input)
        copy.graph.initializer.extend(outside)


def bytes_of(tensor: TensorProto) -> int:
    """How many bytes its numbers take, wherever they are."""
    return math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def array_of(tensor: TensorProto, folder: str | None = None) -> np.ndarray:
    """Its numbers; those that are outside stay on the disk.  folder: of the model's file, where the second file is."""
    if not is_outside(tensor):
        return numpy_helper.to_array(tensor)
    entries = {e.key: e.value for e in tensor.external_data}
    place, what = entries.get("location", ""), f"initializer {tensor.name!r}"
    if folder is None:
        raise ModelFileError(
            f"{what} keeps its numbers in the file {place!r}, and where that is was not given: load "
            f"the model with its data"
        )
    folder = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(folder, place))
    if os.path.commonpath([folder, path]) != folder or not os.path.isfile(path):
        raise ModelFileError(f"{what} cannot be read: {place!r} is no file beside the model in {folder!r}")
    offset, size = int(entries.get("offset") or 0), bytes_of(tensor)
    length = int(entries.get("length") or size)
    if length != size or not 0 <= offset <= os.path.getsize(path) - size:
        raise ModelFileError(
            f"{what} takes {size} bytes; {place!r} should have {length} from byte {offset}, and has "
            f"{os.path.getsize(path)} in all"
        )
    shape = tuple(tensor.dims)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.memmap(path, dtype, "r", offset, shape) if size else np.zeros(shape, dtype)


def bring_inside(tensor: TensorProto, folder: str | None) -> None:
    """Read the numbers of a tensor that is outside."""
    tensor.CopyFrom(numpy_helper.from_array(np.array(array_of(tensor, folder)), tensor.name))
