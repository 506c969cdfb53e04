"""Block, and the two that end a model: ForwardBlock and TrainingBlock."""

from __future__ import annotations

import difflib
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from .....errors import AidgeJaxError, NoGradientRule
from .....onnxio import read
from .....onnxio.artifacts.custom_ops import Foreign
from .....onnxio.artifacts.training_model import evaluation_model, training_model
from .....onnxio.external_data import attached, detached
from .._errors import NoGradient, NotFound, TrainingError, WrongType
from . import _accessor


class Block(ABC):
    """What can be stacked: `build` changes `base` and returns the names of its outputs.

    Calling a block builds it; when the outermost one is done, the model must pass the onnx checker.
    A subclass need not call `super().__init__()`.
    """

    _depth = 0

    def __init__(self, temp_file_name: str = "temp.onnx") -> None:
        if os.path.isabs(temp_file_name):
            raise TrainingError(f"Please pass in a relative path for the temp_file_name, got {temp_file_name!r}")

    @property
    def base(self) -> ModelProto:
        """The model that is being built."""
        return _accessor.accessor().model

    @abstractmethod
    def build(self, *args: Any, **kwargs: Any) -> Any:
        """Stack this block on its inputs; returns the name of its output, or several."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        model = self.base
        Block._depth += 1
        try:
            output = self.build(*args, **kwargs)
        finally:
            Block._depth -= 1
        if Block._depth == 0:
            _check(model)
        return output

    def infer_shapes_on_base(self) -> ModelProto:
        """The base with the shapes that onnx infers; by way of a file where it was opened with a path."""
        opened = _accessor.accessor()
        if not opened.has_path:
            return onnx.shape_inference.infer_shapes(opened.model)
        with tempfile.TemporaryDirectory(prefix="aidgejax_") as folder:
            path = os.path.join(folder, "temp.onnx")
            copy = ModelProto()
            copy.CopyFrom(detached(opened.model))
            onnx.save(copy, path, save_as_external_data=True, location="temp.data", size_threshold=1024)
            onnx.shape_inference.infer_shapes_path(path, path)
            found = onnx.load(path)
        attached(found, opened.model)
        return found

    # ---- for the blocks of this package -----------------------------------------------------------------

    def _node(self, op_type: str, *inputs: str, stem: str | None = None, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        opened = _accessor.accessor()
        wrong = [i for i in inputs if not isinstance(i, str)]
        if wrong:
            raise WrongType(
                f"{type(self).__name__} takes names of tensors, got {wrong[0]!r}; for a number, the name "
                f"that onnxblock.blocks.Constant(number)() returns"
            )
        output = opened.fresh(stem or f"{op_type.lower()}_output")
        opened.model.graph.node.append(
            helper.make_node(op_type, list(inputs), [output], opened.fresh(op_type), **attributes)
        )
        return output

    def _constant(self, array: Any, stem: str = "const", dtype: str = "float32") -> str:
        opened = _accessor.accessor()
        name = opened.fresh(stem)
        try:
            held = np.asarray(array, dtype)
        except (TypeError, ValueError):
            raise WrongType(f"{type(self).__name__}: {array!r} is no number, and no array of numbers") from None
        opened.model.graph.initializer.append(numpy_helper.from_array(held, name))
        return name

    def _info(self, name: str) -> ValueInfoProto:
        """Type and shape of a tensor; LookupError if there is none of that name."""
        for model in (lambda: self.base, self._inferred):
            graph = model().graph
            for info in (*graph.input, *graph.output, *graph.value_info):
                if info.name == name and _is_typed(info):
                    return info
        for t in self.base.graph.initializer:
            if t.name == name:
                return helper.make_tensor_value_info(name, t.data_type, list(t.dims))
        if any(name in n.output for n in self.base.graph.node):
            _check(self.base)  # it may say why nothing is known
        raise NotFound(
            f"Could not find input or output with name {name}: the model has no tensor of that name whose "
            f"type is known; its outputs are {', '.join(o.name for o in self.base.graph.output) or 'none'}"
        )

    def _inferred(self) -> ModelProto:
        try:
            return self.infer_shapes_on_base()
        except Exception:  # it may not know all operators; then what is declared has to do
            return self.base

    def _input(self, name: str, like: ValueInfoProto, elem_type: int | None = None, dims: Any = None) -> str:
        """An input of the graph: the one of that name, or a new one of the type of `like`."""
        graph = self.base.graph
        if any(name == v.name for v in (*graph.input, *graph.initializer)) or any(name in n.output for n in graph.node):
            return name
        tensor = like.type.tensor_type
        shape = self._shape(like)
        graph.input.append(
            helper.make_tensor_value_info(name, elem_type or tensor.elem_type, shape if dims is None else dims(shape))
        )
        return name

    def _shape(self, info: ValueInfoProto) -> list[int | str | None]:
        """Sizes, or what they are called: by a name of the inputs, or as derived from one, "4*N"."""
        shape = [
            d.dim_param or (d.dim_value if d.HasField("dim_value") else None) for d in info.type.tensor_type.shape.dim
        ]
        known = {d.dim_param for i in self.base.graph.input for d in i.type.tensor_type.shape.dim}
        if any(d is None or isinstance(d, str) and d not in known for d in shape):
            try:
                found = read(Foreign(detached(self.base), ()).rest).value(info.name).shape
            except AidgeJaxError:  # it will be read once more, and refused with its reason
                return shape
            if found is not None and len(found) == len(shape):
                return [None if str(d).startswith("?") else d for d in found]
        return shape


def _check(model: ModelProto) -> None:
    try:
        onnx.checker.check_model(detached(model), full_check=True)
    except Exception as e:  # the checker raises several kinds
        raise TrainingError(f"after build the model is not valid: {' '.join(str(e).split())}") from None


class ForwardBlock(Block):
    """A model for inference: the outputs of the graph are those that `build` returns."""

    _model: ModelProto | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        base = self.base
        Block._depth += 1
        try:
            output = self.build(*args, **kwargs)
        finally:
            Block._depth -= 1
        _set_outputs(self, base, _names(output))
        _check(base)
        self._model = ModelProto()
        self._model.CopyFrom(base)
        return output

    def to_model_proto(self) -> ModelProto:
        """The model; RuntimeError before it was built."""
        if self._model is None:
            raise TrainingError("Please build the forward model first before trying to retrieve it.")
        return self._model


class TrainingBlock(Block):
    """A training and an evaluation model: the gradient starts at the (first) output that `build` returns.

    No parameter requires a gradient until `requires_grad` says so.
    """

    _models: tuple[ModelProto, ModelProto] | None = None
    _parameters: tuple[list[TensorProto], list[TensorProto]] | None = None
    _tail = "standard"

    def requires_grad(self, argument_name: str, value: bool = True) -> None:
        """Say that an initializer is trained (True) or is an input that is not (False)."""
        if not isinstance(argument_name, str):
            raise WrongType(
                f"requires_grad takes the name of an initializer, got {argument_name!r}; call it once for each"
            )
        asked = self.__dict__.setdefault("_asked", {})
        asked[argument_name] = bool(value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        base = self.base
        Block._depth += 1
        try:
            output = self.build(*args, **kwargs)
        finally:
            Block._depth -= 1
        loss, *extra = _names(output)
        _set_outputs(self, base, [loss, *extra])
        _check(base)
        asked = self.__dict__.get("_asked", {})
        trainable = [n for n, value in asked.items() if value]
        frozen = [n for n, value in asked.items() if not value]
        check_names(base, trainable, frozen)
        stored = {t.name: t for t in base.graph.initializer}
        order = list(stored)
        trainable.sort(key=lambda n: order.index(n) if n in stored else len(order))
        frozen.sort(key=order.index)
        try:
            self._models = (
                training_model(base, loss, trainable, frozen, extra, tail=self._tail),
                evaluation_model(base, loss, trainable, frozen, extra),
            )
        except NoGradientRule as e:
            raise NoGradient(str(e)) from None
        except AidgeJaxError as e:
            raise TrainingError(str(e)) from None
        self._parameters = ([stored[n] for n in trainable if n in stored], [stored[n] for n in frozen])
        return output

    def to_model_proto(self) -> tuple[ModelProto, ModelProto]:
        """(training model, evaluation model); RuntimeError before they were built."""
        if self._models is None:
            raise TrainingError("Please build the training and eval models first before trying to retrieve them.")
        return self._models

    def parameters(self) -> tuple[list[TensorProto], list[TensorProto]]:
        """(trainable, frozen) parameters; RuntimeError before the models were built."""
        if self._parameters is None:
            raise TrainingError("Please build the training model first before trying to retrieve the parameters.")
        return self._parameters


def _is_typed(info: ValueInfoProto) -> bool:
    kind = info.type.WhichOneof("value")
    return info.type.tensor_type.HasField("shape") if kind == "tensor_type" else kind is not None


def check_tensors(tensors: Any, what: str) -> None:
    """Refuse what is no list of TensorProtos."""
    wrong = [t for t in tensors if not isinstance(t, TensorProto)] if isinstance(tensors, Sequence) else [tensors]
    if isinstance(tensors, str) or wrong:
        raise WrongType(
            f"{what} must be a list of TensorProtos; `parameters()` of a TrainingBlock gives two of them, "
            f"(trainable, frozen). Got {type(wrong[0] if wrong else tensors).__name__}"
        )


def _names(output: Any) -> list[str]:
    names = [output] if isinstance(output, str) else list(output) if isinstance(output, list | tuple) else []
    wrong = [n for n in names if not isinstance(n, str)]
    if wrong or not names:
        raise TrainingError(f"build must return the name of its output, or several; got {output!r}")
    return names


def _set_outputs(block: Block, model: ModelProto, names: list[str]) -> None:
    infos = [block._info(n) for n in dict.fromkeys(names)]
    del model.graph.output[:]
    model.graph.output.extend(infos)


def check_names(model: ModelProto, trainable: list[str], frozen: list[str]) -> None:
    """Refuse names that are no parameters of the model; an input may require a gradient."""
    both = set(trainable) & set(frozen)
    if both:
        raise TrainingError(f"A parameter cannot be frozen and require gradient computation at the same time {both}")
    graph = model.graph
    stored = {t.name: t for t in graph.initializer}
    inputs = {i.name for i in graph.input}
    read = {i for n in graph.node for i in n.input}
    floats = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
    for name in trainable:
        if name not in stored and name not in inputs:
            raise TrainingError(
                f"Node arg {name} is not found in the graph: requires_grad names it, and {_near(name, stored)}"
            )
        if name in stored and stored[name].data_type not in floats:
            raise TrainingError(
                f"{name} cannot require a gradient: it holds "
                f"{TensorProto.DataType.Name(stored[name].data_type)}, not floating-point numbers"
            )
        if name not in read:
            raise TrainingError(
                f"{name} couldn't find the consumer node: no node reads this parameter, so it has no "
                f"gradient; take it out of requires_grad"
            )
    for name in frozen:
        if name not in stored:
            raise TrainingError(
                f"Node arg {name} is not found in the graph: frozen_params names it, and {_near(name, stored)}"
            )


def _near(name: str, stored: Collection[str]) -> str:
    """The initializers that there are, those of a similar name first."""
    first = difflib.get_close_matches(name, stored, 3)
    names = list(dict.fromkeys([*first, *stored]))
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"the initializers are {', '.join(names[:20]) or 'none'}{more}"
