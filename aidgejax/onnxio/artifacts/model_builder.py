"""Appending nodes to a ModelProto: losses on top of a model, and what ONNX Runtime calls blocks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, ValueInfoProto, helper, numpy_helper

from ...errors import AidgeJaxError, GraphError
from ..external_data import attached, detached
from ..importer.reader import read
from .custom_ops import Foreign

Shape = list[int | str | None]


class ModelBuilder:
    """model: what is changed, in place.  path: the file it was read from, where its data is not in it."""

    def __init__(self, model: ModelProto, path: str | None = None) -> None:
        self.model, self.path = model, path
        self._count = 0

    @property
    def has_path(self) -> bool:
        return self.path is not None

    def fresh(self, stem: str) -> str:
        """A name for a tensor or a node that nothing in the model bears."""
        graph = self.model.graph
        taken = {n.name for n in graph.node} | {o for n in graph.node for o in n.output}
        taken |= {v.name for v in (*graph.input, *graph.output, *graph.initializer)}
        while True:
            name = f"onnx::{stem}::{self._count}"
            self._count += 1
            if name not in taken:
                return name

    def node(self, op_type: str, *inputs: str, stem: str | None = None, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        output = self.fresh(stem or f"{op_type.lower()}_output")
        self.model.graph.node.append(
            helper.make_node(op_type, list(inputs), [output], self.fresh(op_type), **attributes)
        )
        return output

    def constant(self, array: Any, stem: str = "const", dtype: Any = "float32") -> str:
        """Append an initializer; returns its name.  Raises TypeError or ValueError for what is no array of numbers."""
        name = self.fresh(stem)
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def writes(self, name: str) -> bool:
        return any(name in n.output for n in self.model.graph.node)

    def info(self, name: str) -> ValueInfoProto | None:
        """Type and shape of a tensor; None where there is no tensor of that name, or nothing is known of it."""
        for model in (lambda: self.model, self._inferred):
            graph = model().graph
            for info in (*graph.input, *graph.output, *graph.value_info):
                if info.name == name and _is_typed(info):
                    return info
        for t in self.model.graph.initializer:
            if t.name == name:
                return helper.make_tensor_value_info(name, t.data_type, list(t.dims))
        return None

    def known(self, name: str) -> ValueInfoProto:
        """`info`, or GraphError naming the tensor."""
        if (info := self.info(name)) is None:
            raise GraphError(
                f"the model has no tensor {name!r} whose type is known; its outputs are "
                f"{', '.join(repr(o.name) for o in self.model.graph.output) or 'none'}"
            )
        return info

    def dtype(self, name: str) -> np.dtype:
        """A tensor's NumPy dtype."""
        return helper.tensor_dtype_to_np_dtype(self.known(name).type.tensor_type.elem_type)

    def infer_shapes(self) -> ModelProto:
        """A copy with the shapes that onnx infers; by way of a file where the model's data is in one."""
        if not self.has_path:
            return onnx.shape_inference.infer_shapes(self.model)
        with tempfile.TemporaryDirectory(prefix="aidgejax_") as folder:
            path = os.path.join(folder, "temp.onnx")
            copy = ModelProto()
            copy.CopyFrom(detached(self.model))
            onnx.save(copy, path, save_as_external_data=True, location="temp.data", size_threshold=1024)
            onnx.shape_inference.infer_shapes_path(path, path)
            found = onnx.load(path)
        attached(found, self.model)
        return found

    def _inferred(self) -> ModelProto:
        try:
            return self.infer_shapes()
        except Exception:  # it may not know all operators; then what is declared has to do
            return self.model

    def input(
        self,
        name: str,
        like: ValueInfoProto,
        elem_type: int | None = None,
        dims: Callable[[Shape], Shape] | None = None,
    ) -> str:
        """An input of the graph: the tensor of that name, or a new one of the type of `like`.

        dims: its shape as a function of that of `like`.
        """
        graph = self.model.graph
        if any(name == v.name for v in (*graph.input, *graph.initializer)) or self.writes(name):
            return name
        shape = self.shape(like)
        graph.input.append(
            helper.make_tensor_value_info(
                name, elem_type or like.type.tensor_type.elem_type, shape if dims is None else dims(shape)
            )
        )
        return name

    def shape(self, info: ValueInfoProto) -> Shape:
        """Sizes, or what they are called: by a name of the inputs, or as derived from one, "4*N"."""
        shape: Shape = [
            d.dim_param or (d.dim_value if d.HasField("dim_value") else None) for d in info.type.tensor_type.shape.dim
        ]
        known = {d.dim_param for i in self.model.graph.input for d in i.type.tensor_type.shape.dim}
        if any(d is None or isinstance(d, str) and d not in known for d in shape):
            try:
                found = read(Foreign(detached(self.model), ()).rest).value(info.name).shape
            except AidgeJaxError:  # it will be read once more, and refused with its reason
                return shape
            if found is not None and len(found) == len(shape):
                return [None if str(d).startswith("?") else d for d in found]
        return shape

    def set_outputs(self, names: list[str]) -> None:
        """Let these tensors, and no others, be the outputs."""
        infos = [self.known(n) for n in dict.fromkeys(names)]
        del self.model.graph.output[:]
        self.model.graph.output.extend(infos)


def _is_typed(info: ValueInfoProto) -> bool:
    kind = info.type.WhichOneof("value")
    return info.type.tensor_type.HasField("shape") if kind == "tensor_type" else kind is not None
