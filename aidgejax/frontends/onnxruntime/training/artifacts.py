"""onnxruntime.training.artifacts: generate_artifacts writes what training on a device starts from."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from typing import Any

from onnx import ModelProto

from ....errors import AidgeJaxError
from ....onnxio.artifacts.forward_model import (
    check_is_number,
    check_parameters,
    load,
    prepared,
    with_constants_inside,
)
from ....onnxio.artifacts.generate import ort_converter, write_files
from ....onnxio.artifacts.ort_checkpoint import OrtCheckpoint
from ....onnxio.artifacts.training_model import opset_of
from ....onnxio.exporter.writer import LARGEST_MODEL
from . import onnxblock
from ._errors import LossArguments, NoFile, NotFound, OutOfRange, TrainingError, UnknownOptimizer
from .onnxblock.checkpoint_utils import checkpoint_of
from .onnxblock.model_accessor import check_runtime


class LossType(Enum):
    """The loss that generate_artifacts appends."""

    MSELoss = 1
    CrossEntropyLoss = 2
    BCEWithLogitsLoss = 3
    L1Loss = 4


class OptimType(Enum):
    """The optimizer that generate_artifacts writes."""

    AdamW = 1
    SGD = 2


def generate_artifacts(
    model: ModelProto | str,
    requires_grad: list[str] | None = None,
    frozen_params: list[str] | None = None,
    loss: LossType | onnxblock.Block | None = None,
    optimizer: OptimType | onnxblock.Block | None = None,
    artifact_directory: str | bytes | os.PathLike | None = None,
    prefix: str = "",
    ort_format: bool = False,
    custom_op_library: str | bytes | os.PathLike | None = None,
    additional_output_names: list[str] | None = None,
    nominal_checkpoint: bool = False,
    loss_input_names: list[str] | None = None,
    *,
    runtime: str = "standard",
    shapes: Mapping[str, Any] | None = None,
    batch: str | None = None,
) -> None:
    """Write training_model.onnx, eval_model.onnx, optimizer_model.onnx (with an optimizer), checkpoint and, if asked
    for, nominal_checkpoint, each name after `prefix`.  All of them or, after an error, none.

    model: the forward model, or its path.  By path it may be larger than 2 GiB: its data is then not loaded, and the
        checkpoint's is in checkpoint.data.  requires_grad, frozen_params: initializers that become inputs; the others
        stay in the models.  loss: one of LossType, a Block, or None where the first output is the loss.
    additional_output_names: tensors to output beside the loss.  loss_input_names: what the loss is given, instead of
        all outputs.  custom_op_library: nodes of its domains are kept as they are.
    runtime: "standard", ONNX's own operators, for any runtime; or "onnxruntime-training", for ONNX Runtime's training
        build (1.19.2 is the last).
    shapes, batch: not ONNX Runtime's: sizes of the inputs ({"x": ("N", 3, 32, 32)} or {"H": 32}), and a name for a
        batch that the file fixes, as of aidgejax.onnxio.read.
    Raises RuntimeError, naming the culprit; LookupError for outputs that there are not; FileNotFoundError.
    """
    check_runtime(runtime)
    base, path = _load(model)
    folder = _folder(artifact_directory)
    trainable = _list(requires_grad, "requires_grad")
    frozen = _list(frozen_params, "frozen_params")
    loss_block, optimizer_block = _loss_block(loss), _optimizer_block(optimizer)
    library = _library(custom_op_library)
    extra = _additional(additional_output_names)
    if optimizer_block is not None and not trainable:
        raise OutOfRange(
            "an optimizer was asked for, but requires_grad names no parameter; name those to train, or "
            "leave out the optimizer"
        )
    if ort_format:
        _ours(ort_converter)
    asked, base = opset_of(base), _ours(prepared, base, (*trainable, *frozen), shapes, batch)
    _ours(check_parameters, base, trainable, frozen)
    _ours(with_constants_inside, base, (*trainable, *frozen), path)

    block = _Training(loss_block, isinstance(loss, LossType), loss_input_names or None, extra)
    for name in trainable:
        block.requires_grad(name)
    for name in frozen:
        block.requires_grad(name, False)
    with (
        onnxblock.custom_op_library(library) if library else nullcontext(),
        onnxblock.base(base, path, runtime=runtime),
    ):
        block(*(o.name for o in base.graph.output))
    training, evaluation = block.to_model_proto()
    if opset_of(training) != asked:
        warnings.warn(
            f"the model's opset is {asked}; its training model is written in opset {opset_of(training)}, the "
            f"lowest that has every operator of it",
            UserWarning,
            stacklevel=2,
        )
    parameters = block.parameters()

    files: dict[str, ModelProto | OrtCheckpoint] = {"training_model.onnx": training, "eval_model.onnx": evaluation}
    if optimizer_block is not None:
        files["optimizer_model.onnx"] = _optimizer_model(optimizer_block, parameters, opset_of(training), runtime)
    files["checkpoint"] = checkpoint_of(parameters, folder=os.path.dirname(os.path.abspath(path or "")))
    if nominal_checkpoint:
        files["nominal_checkpoint"] = checkpoint_of(parameters, nominal=True)
    _ours(write_files, {f"{prefix}{name}": content for name, content in files.items()}, folder, ort_format)


class _Training(onnxblock.TrainingBlock):
    """The loss on top of the model's outputs, and what else is to be output."""

    def __init__(
        self, loss: onnxblock.Block, is_one_of_ours: bool, inputs: Sequence[str] | None, extra: Sequence[str]
    ) -> None:
        super().__init__()
        self._loss, self._ours, self._inputs, self._extra = loss, is_one_of_ours, inputs, extra

    def build(self, *outputs: str) -> Any:
        for name in self._extra:
            try:
                self._info(name)
            except NotFound:
                raise NotFound(f"The provided name {name} is not a graph value info or a graph output.") from None
        for name in self._inputs or ():
            self._info(name)
        inputs = self._inputs or outputs
        if self._ours and len(inputs) != 1:
            raise LossArguments(
                f"{type(self._loss).__name__} compares one output with a target, and was given "
                f"{len(inputs)}: {', '.join(map(repr, inputs))}. Choose one with "
                f"loss_input_names=[...], or write a block that takes them all"
            )
        if isinstance(self._loss, onnxblock.blocks.PassThrough):
            _ours(check_is_number, self._info(inputs[0]))
            inputs = inputs[:1]
        try:
            loss = self._loss(*inputs)
        except TypeError as e:
            if isinstance(e, AidgeJaxError):
                raise
            raise LossArguments(
                f"the loss {type(self._loss).__name__} could not be built on the outputs "
                f"{', '.join(map(repr, inputs))}: {e}"
            ) from e
        return (loss, *self._extra)


# ---- arguments ----------------------------------------------------------------------------------------


def _load(model: Any) -> tuple[ModelProto, str | None]:
    if isinstance(model, str):
        if not os.path.exists(model):
            raise NoFile(f"there is no model {model!r}")
        try:
            return load(model), model
        except Exception as e:  # protobuf's own kinds, and ours
            raise TrainingError(f"{model!r} is not an ONNX model: {e}") from None
    if not isinstance(model, ModelProto):
        raise TrainingError(
            f"Please pass in either a string or an ONNX ModelProto for the model, got {type(model).__name__}."
        )
    if sum(len(t.raw_data) for t in model.graph.initializer) > LARGEST_MODEL:
        raise TrainingError("This model is > 2GB. Please pass in a path to the ONNX file instead.")
    return model, None


def _folder(artifact_directory: Any) -> Path:
    folder = Path.cwd() if artifact_directory is None else Path(os.fsdecode(artifact_directory))
    if not folder.is_dir():
        raise NoFile(f"there is no folder {str(folder)!r} to write the artifacts to; make it first")
    return folder


def _list(names: Any, what: str) -> list[str]:
    if names is None:
        return []
    if isinstance(names, str):
        raise TrainingError(f"{what} is the string {names!r}; expected a list of names, such as [{names!r}]")
    names = list(names)
    wrong = [n for n in names if not isinstance(n, str)]
    if wrong:
        raise TrainingError(f"{what} holds {wrong[0]!r}, which is {type(wrong[0]).__name__}; expected names")
    return list(dict.fromkeys(names))


def _additional(names: Any) -> list[str]:
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise TrainingError(
            f"Unknown type provided for additional output names {type(names)}. Expected additional "
            f"output names to be a list of strings."
        )
    return list(dict.fromkeys(names))


def _loss_block(loss: Any) -> onnxblock.Block:
    if loss is None:
        return onnxblock.blocks.PassThrough()
    if isinstance(loss, LossType):
        return getattr(onnxblock.loss, loss.name)()
    if isinstance(loss, onnxblock.Block):
        return loss
    raise TrainingError(
        f"Unknown loss provided {type(loss)}: {loss!r}. Expected loss to be either one of "
        f"onnxruntime.training.artifacts.LossType or onnxruntime.training.onnxblock.Block."
    )


def _optimizer_block(optimizer: Any) -> onnxblock.Block | None:
    if optimizer is None or isinstance(optimizer, onnxblock.Block):
        return optimizer
    if isinstance(optimizer, OptimType):
        return getattr(onnxblock.optim, optimizer.name)()
    raise UnknownOptimizer(
        f"Unknown optimizer provided {type(optimizer)}: {optimizer!r}. Expected optimizer to be "
        f"either one of onnxruntime.training.artifacts.OptimType or "
        f"onnxruntime.training.onnxblock.Block."
    )


def _library(path: Any) -> str | None:
    if path is None:
        return None
    path = os.fsdecode(path)
    if not os.path.exists(path):
        raise TrainingError(f"Custom op library path {path} does not exist.")
    return path


def _optimizer_model(block: onnxblock.Block, parameters: Any, opset: int, runtime: str) -> ModelProto:
    with onnxblock.empty_base(opset, runtime=runtime) as opened:
        # One of ours writes an input per parameter of a list; another block is given what ONNX Runtime gives it.
        block(parameters[0] if isinstance(block, onnxblock.optim.optim.BuiltinOptimizer) else parameters)
        return opened.model


def _ours(f: Callable[..., Any], *args: Any) -> Any:
    """f(*args); what it refuses is a RuntimeError here."""
    try:
        return f(*args)
    except AidgeJaxError as e:
        raise e if isinstance(e, TrainingError) else TrainingError(str(e)) from None
