"""Data that a model keeps in other files: read once, straight into the arrays of the graph."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper
from onnx.external_data_helper import load_external_data_for_tensor

from ...errors import ModelFileError
from ..external_data import is_outside
from ..tensors import BITS, byte_count, every_tensor, to_array

SMALL = 1 << 16  # bytes of a tensor that is brought into the model, where everything finds it


class Numbers:
    """numbers(tensor, what to call it) -> its array; a large tensor that is outside is read when it is asked for."""

    def __init__(self, model: ModelProto | None = None, path: Any = None) -> None:
        self.folder = "" if path is None else os.path.dirname(os.path.realpath(os.fspath(path)))
        self._checked: set[str] = set()
        self._read: dict[tuple[str, int, int, tuple[int, ...]], np.ndarray] = {}
        for what, tensor in every_tensor(model) if model is not None else ():
            if is_outside(tensor):
                large = byte_count(tensor, what) > SMALL and tensor.data_type not in BITS
                if not (large and what.startswith("initializer ")):
                    self._loaded(tensor)

    def __call__(self, tensor: TensorProto, what: str) -> np.ndarray:
        if not is_outside(tensor) or not self.folder:
            return to_array(tensor, what)
        entries = {e.key: e.value for e in tensor.external_data}
        location, offset = entries.get("location", ""), int(entries.get("offset") or 0)
        key = (location, offset, tensor.data_type, tuple(tensor.dims))
        if key not in self._read:
            self._read[key] = self._from_file(tensor, what, location, offset)
        return self._read[key]

    def _from_file(self, tensor: TensorProto, what: str, location: str, offset: int) -> np.ndarray:
        if location not in self._checked:  # onnx refuses paths that lead out of the folder, and links
            probe = TensorProto(name=tensor.name, data_type=TensorProto.UINT8, dims=[1])
            probe.data_location = TensorProto.EXTERNAL
            for k, v in (("location", location), ("offset", "0"), ("length", "1")):
                probe.external_data.add(key=k, value=v)
            self._loaded(probe)
            self._checked.add(location)
        dtype, shape = helper.tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims)
        count = byte_count(tensor, what) // dtype.itemsize
        try:
            with open(os.path.join(self.folder, location), "rb") as file:
                file.seek(offset)
                found = np.fromfile(file, dtype, count)
        except OSError as e:
            raise ModelFileError(f"its external data cannot be read: {e}") from None
        if found.size != count:
            raise ModelFileError(
                f"its external data cannot be read: {what} takes {count * dtype.itemsize} bytes from byte {offset} of "
                f"{location!r}, which holds {found.nbytes}"
            )
        return found.reshape(shape)

    def _loaded(self, tensor: TensorProto) -> None:
        try:
            load_external_data_for_tensor(tensor, self.folder)
        except Exception as e:  # several kinds, of what is too short, too
            raise ModelFileError(f"its external data cannot be read: {e}") from None
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
