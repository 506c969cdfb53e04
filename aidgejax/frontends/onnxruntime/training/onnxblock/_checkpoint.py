"""save_checkpoint and load_checkpoint_to_model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from .....onnxio.ort_checkpoint import OrtCheckpoint, read_checkpoint, to_bytes
from .....onnxio.writer import write_atomically
from .._errors import NoFile, NotFound, TrainingError


def checkpoint_bytes(parameters: Any, nominal: bool = False) -> bytes:
    """The file of (trainable, frozen) TensorProtos."""
    if parameters is None:
        raise TrainingError("No checkpoint parameters provided.")
    trainable, frozen = parameters
    names = [t.name for t in (*trainable, *frozen)]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise TrainingError(f"a checkpoint holds each parameter once; {', '.join(map(repr, twice))} is given twice")
    return to_bytes(OrtCheckpoint(_arrays(trainable), _arrays(frozen), nominal))


def _arrays(tensors: Sequence[TensorProto]) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in tensors}


def save_checkpoint(parameters: tuple[Sequence[TensorProto], Sequence[TensorProto]], path_to_checkpoint: str,
                    nominal_checkpoint: bool = False) -> None:
    """Write a checkpoint file of (trainable, frozen) parameters.  nominal: their names and types alone."""
    data = checkpoint_bytes(parameters, nominal_checkpoint)
    path = os.path.abspath(os.fspath(path_to_checkpoint))
    if not os.path.isdir(os.path.dirname(path)):
        raise NoFile(f"cannot write {path!r}: there is no folder {os.path.dirname(path)!r}")
    write_atomically(data, path)


def load_checkpoint_to_model(path_to_checkpoint: str, model: ModelProto) -> None:
    """Overwrite the initializers of `model` that the checkpoint has, in place."""
    path = os.fspath(path_to_checkpoint)
    if not os.path.exists(path):
        raise NoFile(f"there is no checkpoint {path!r}")
    found = read_checkpoint(path)
    if found.nominal:
        raise TrainingError(f"checkpoint {path!r} is nominal: it holds names and types, and no numbers")
    stored = {t.name: t for t in model.graph.initializer}
    arrays = {**found.trainable, **found.frozen}
    wrong = [f"{n!r} has shape {list(a.shape)} and {list(stored[n].dims)} in the model" for n, a in arrays.items()
             if n in stored and list(a.shape) != list(stored[n].dims)]
    if wrong:
        raise TrainingError(f"checkpoint {path!r} is of another model: {'; '.join(wrong)}")
    if not any(n in stored for n in arrays):
        raise NotFound(f"checkpoint {path!r} and the model have no parameter in common")
    for name, array in arrays.items():
        if name in stored:
            stored[name].CopyFrom(numpy_helper.from_array(array, name))
