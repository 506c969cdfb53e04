"""Block, and the two that end a model: ForwardBlock and TrainingBlock."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto

from .....errors import AidgeJaxError, NoGradientRule
from .....onnxio.artifacts.forward_model import check_parameters
from .....onnxio.artifacts.training_model import evaluation_model, training_model
from .....onnxio.external_data import detached
from .._errors import NoGradient, NotFound, TrainingError, WrongType
from . import model_accessor


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
        return model_accessor.accessor().model

    @abstractmethod
    def build(self, *args: Any, **kwargs: Any) -> Any:
        """Stack this block on its inputs; returns the name of its output, or several."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        model = self.base
        output = self._built(args, kwargs)
        if Block._depth == 0:
            _check(model)
        return output

    def _built(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """What `build` returns; blocks that it calls know that they stand inside of one."""
        Block._depth += 1
        try:
            return self.build(*args, **kwargs)
        finally:
            Block._depth -= 1

    def infer_shapes_on_base(self) -> ModelProto:
        """The base with the shapes that onnx infers; by way of a file where it was opened with a path."""
        return model_accessor.accessor().infer_shapes()

    # ---- for the blocks of this package -----------------------------------------------------------------

    def _node(self, op_type: str, *inputs: str, stem: str | None = None, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        opened = model_accessor.accessor()
        wrong = [i for i in inputs if not isinstance(i, str)]
        if wrong:
            raise WrongType(
                f"{type(self).__name__} takes names of tensors, got {wrong[0]!r}; for a number, the name "
                f"that onnxblock.blocks.Constant(number)() returns"
            )
        return opened.node(op_type, *inputs, stem=stem, **attributes)

    def _constant(self, array: Any, stem: str = "const", dtype: str = "float32") -> str:
        try:
            return model_accessor.accessor().constant(array, stem, dtype)
        except (TypeError, ValueError):
            raise WrongType(f"{type(self).__name__}: {array!r} is no number, and no array of numbers") from None

    def _info(self, name: str) -> ValueInfoProto:
        """Type and shape of a tensor; LookupError if there is none of that name."""
        opened = model_accessor.accessor()
        if (info := opened.info(name)) is not None:
            return info
        if opened.writes(name):
            _check(self.base)  # it may say why nothing is known
        raise NotFound(
            f"Could not find input or output with name {name}: the model has no tensor of that name whose "
            f"type is known; its outputs are {', '.join(o.name for o in self.base.graph.output) or 'none'}"
        )

    def _input(self, name: str, like: ValueInfoProto) -> str:
        """An input of the graph: the one of that name, or a new one of the type of `like`."""
        return model_accessor.accessor().input(name, like)


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
        output = self._built(args, kwargs)
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
        try:
            check_parameters(base, trainable, frozen)
        except AidgeJaxError as e:
            raise TrainingError(str(e)) from None
        stored = {t.name: t for t in base.graph.initializer}
        order = list(stored)
        trainable.sort(key=lambda n: order.index(n) if n in stored else len(order))
        frozen.sort(key=order.index)
        try:
            self._models = (
                training_model(base, loss, trainable, frozen, extra, tail=model_accessor.accessor().runtime),
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
    for n in names:
        block._info(n)
    model_accessor.accessor().set_outputs(names)
