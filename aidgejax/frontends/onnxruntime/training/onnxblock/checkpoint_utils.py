"""save_checkpoint and load_checkpoint_to_model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from onnx import ModelProto, TensorProto, numpy_helper

from .....errors import AidgeJaxError
from .....onnxio.artifacts.generate import checkpoint_of as artifacts_checkpoint
from .....onnxio.artifacts.ort_checkpoint import OrtCheckpoint, read_checkpoint, write_checkpoint
from .._errors import NoFile, NotFound, TrainingError, WrongType
from .onnxblock import check_tensors


def checkpoint_of(parameters: Any, nominal: bool = False, folder: str | None = None) -> OrtCheckpoint:
    """The checkpoint of (trainable, frozen) TensorProtos.  folder: where their numbers are, if they are outside."""
    if parameters is None:
        raise TrainingError("No checkpoint parameters provided.")
    if not isinstance(parameters, list | tuple) or len(parameters) != 2:
        count = f" of {len(parameters)}" if hasattr(parameters, "__len__") else ""
        raise WrongType(
            f"a checkpoint takes (trainable, frozen) parameters, two lists; got {type(parameters).__name__}{count}"
        )
    trainable, frozen = parameters
    check_tensors(trainable, "a checkpoint's trainable parameters")
    check_tensors(frozen, "a checkpoint's frozen parameters")
    names = [t.name for t in (*trainable, *frozen)]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise TrainingError(f"a checkpoint holds each parameter once; {', '.join(map(repr, twice))} is given twice")

    try:
        return artifacts_checkpoint(trainable, frozen, nominal=nominal, folder=folder)
    except AidgeJaxError as e:
        raise TrainingError(str(e)) from None


def save_checkpoint(
    parameters: tuple[Sequence[TensorProto], Sequence[TensorProto]],
    path_to_checkpoint: str,
    nominal_checkpoint: bool = False,
) -> None:
    """Write a checkpoint file of (trainable, frozen) parameters.  nominal: their names and types alone."""
    checkpoint = checkpoint_of(parameters, nominal_checkpoint)
    path = os.path.abspath(os.fspath(path_to_checkpoint))
    if not os.path.isdir(os.path.dirname(path)):
        raise NoFile(f"cannot write {path!r}: there is no folder {os.path.dirname(path)!r}")
    write_checkpoint(checkpoint, path)


def load_checkpoint_to_model(path_to_checkpoint: str, model: ModelProto) -> None:
    """Overwrite the initializers of `model` that the checkpoint has, in place."""
    path = os.fspath(path_to_checkpoint)
    if not isinstance(model, ModelProto):
        raise WrongType(
            f"load_checkpoint_to_model changes a ModelProto, got {type(model).__name__}; onnx.load reads one"
        )
    if not os.path.exists(path):
        raise NoFile(f"there is no checkpoint {path!r}")
    try:
        found = read_checkpoint(path)
    except AidgeJaxError as e:
        raise TrainingError(str(e)) from None
    if found.nominal:
        raise TrainingError(f"checkpoint {path!r} is nominal: it holds names and types, and no numbers")
    stored = {t.name: t for t in model.graph.initializer}
    arrays = {**found.trainable, **found.frozen}
    wrong = [
        f"{n!r} has shape {list(a.shape)} and {list(stored[n].dims)} in the model"
        for n, a in arrays.items()
        if n in stored and list(a.shape) != list(stored[n].dims)
    ]
    if wrong:
        raise TrainingError(f"checkpoint {path!r} is of another model: {'; '.join(wrong)}")
    if not any(n in stored for n in arrays):
        raise NotFound(f"checkpoint {path!r} and the model have no parameter in common")
    for name, array in arrays.items():
        if name in stored:
            stored[name].CopyFrom(numpy_helper.from_array(array, name))
