"""Training artifacts in a folder: the training, evaluation and optimizer models and the checkpoint of a model.

write_artifacts("model.onnx", "out", loss="CrossEntropyLoss", optimizer=optim.adam())
"""

from __future__ import annotations

import io
import logging
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ...errors import ModelFileError, SettingError
from ...passes.optimizer_graph import Rule
from ...passes.roles import check_trains
from ..external_data import array_of
from ..importer.reader import read
from .forward_model import check_is_number, check_parameters, load, prepared, with_constants_inside
from .losses import LOSSES
from .model_builder import ModelBuilder
from .optimizer_model import optimizer_model, ort_optimizer_model
from .ort_checkpoint import OrtCheckpoint, write_checkpoint
from .training_model import evaluation_model, opset_of, training_model

RUNTIMES = ("standard", "onnxruntime-training")
Content = ModelProto | OrtCheckpoint


def write_artifacts(
    path: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    loss: str | None = None,
    optimizer: Rule | tuple[str, Mapping[str, Any]] | None = None,
    trainable: Sequence[str] | None = None,
    frozen: Sequence[str] | None = None,
    outputs: Sequence[str] = (),
    loss_inputs: Sequence[str] = (),
    prefix: str = "",
    nominal: bool = False,
    ort_format: bool = False,
    runtime: str = "standard",
    shapes: Mapping[str, Any] | None = None,
    batch: str | None = None,
) -> list[Path]:
    """Write training_model.onnx, eval_model.onnx, optimizer_model.onnx (with an optimizer) and checkpoint.

    loss: one of losses.LOSSES, by ONNX Runtime's names; None where the first output is the loss already.
    optimizer: one of training.optim, for runtime "standard"; ("adamw" | "sgd", settings) for ONNX Runtime's own nodes.
    trainable, frozen: tensors that become inputs; default: all parameters, and the running statistics.
    outputs: tensors to output beside the loss.  loss_inputs: what the loss is computed from instead of all outputs.
    shapes, batch: sizes of the inputs, and a name for a batch that the file fixes, as of `read`.
    nominal: a checkpoint of names and types as well.  ort_format: ONNX Runtime's own format as well.
    All files or, after an error, none.  Returns their paths.  Raises what the parts raise, all of AidgeJaxError.
    """
    path = os.fspath(path)
    if runtime not in RUNTIMES:
        raise SettingError(f"runtime is {runtime!r}; expected one of {', '.join(map(repr, RUNTIMES))}")
    if loss is not None and loss not in LOSSES:
        raise SettingError(f"loss is {loss!r}; expected one of {', '.join(map(repr, LOSSES))}")
    graph = read(
        path, shapes=shapes, batch=batch
    )  # refuses, in our words, what onnx.load and the checker would stumble over
    if trainable is None:
        frozen = list(graph.buffers) if frozen is None else list(frozen)
        check_trains(graph)
        trainable = [p for p in graph.params if p not in frozen]
    trainable, frozen = list(dict.fromkeys(trainable)), list(dict.fromkeys(frozen or ()))
    base = prepared(load(path), (*trainable, *frozen), shapes, batch)
    check_parameters(base, trainable, frozen)
    with_constants_inside(base, (*trainable, *frozen), path)
    builder = ModelBuilder(base, path)
    found = _append_loss(builder, loss, list(loss_inputs) or [o.name for o in base.graph.output])
    for name in outputs:
        builder.known(name)
    builder.set_outputs([found, *outputs])
    order = [t.name for t in base.graph.initializer]
    trainable, frozen = ([n for n in order if n in names] for names in (trainable, frozen))
    training = training_model(base, found, trainable, frozen, outputs, tail=runtime)
    files: dict[str, Content] = {
        "training_model.onnx": training,
        "eval_model.onnx": evaluation_model(base, found, trainable, frozen, outputs),
    }
    tensors = {t.name: t for t in base.graph.initializer}
    if optimizer is not None:
        files["optimizer_model.onnx"] = _optimizer(optimizer, [tensors[n] for n in trainable], opset_of(training))
    beside = os.path.dirname(os.path.abspath(path))
    files["checkpoint"] = checkpoint_of([tensors[n] for n in trainable], [tensors[n] for n in frozen], folder=beside)
    if nominal:
        files["nominal_checkpoint"] = checkpoint_of(
            [tensors[n] for n in trainable], [tensors[n] for n in frozen], nominal=True
        )
    return write_files({f"{prefix}{name}": content for name, content in files.items()}, Path(folder), ort_format)


def _append_loss(builder: ModelBuilder, loss: str | None, inputs: list[str]) -> str:
    for name in inputs:
        builder.known(name)
    if loss is None:
        check_is_number(builder.known(inputs[0]))
        return inputs[0]
    if len(inputs) != 1:
        raise SettingError(
            f"{loss} compares one output with a target, and was given {len(inputs)}: "
            f"{', '.join(map(repr, inputs))}. Choose one with loss_inputs=[...]"
        )
    return LOSSES[loss](builder, inputs[0])


def _optimizer(optimizer: Any, parameters: Sequence[TensorProto], opset: int) -> ModelProto:
    if isinstance(optimizer, tuple):
        return ort_optimizer_model(optimizer[0], opset, **optimizer[1])
    like = {p.name: (tuple(p.dims), helper.tensor_dtype_to_np_dtype(p.data_type)) for p in parameters}
    return optimizer_model(optimizer, like, opset=opset)


def checkpoint_of(
    trainable: Sequence[TensorProto],
    frozen: Sequence[TensorProto],
    *,
    nominal: bool = False,
    folder: str | None = None,
) -> OrtCheckpoint:
    """The checkpoint of parameters.  folder: where their numbers are, if they are outside.  nominal: none of them."""

    def arrays(tensors: Sequence[TensorProto]) -> dict[str, Any]:
        if nominal:
            return {t.name: np.zeros(0, helper.tensor_dtype_to_np_dtype(t.data_type)) for t in tensors}
        return {t.name: array_of(t, folder) for t in tensors}

    return OrtCheckpoint(arrays(trainable), arrays(frozen), nominal)


def write_files(files: Mapping[str, Content], folder: Path, ort_format: bool = False) -> list[Path]:
    """All files or none: they are made in a folder beside the others and moved when all are there."""
    if ort_format:
        ort_converter()
    scratch = Path(tempfile.mkdtemp(prefix=f".artifacts_{secrets.token_hex(4)}_", dir=folder))
    try:
        for name, content in files.items():
            if isinstance(content, OrtCheckpoint):
                write_checkpoint(content, str(scratch / name))
            else:
                (scratch / name).write_bytes(content.SerializeToString())
        if ort_format:
            _convert(scratch)
        made = sorted(scratch.iterdir())
        for file in made:
            if (folder / file.name).is_dir():
                raise ModelFileError(f"cannot write {str(folder / file.name)!r}: it is a folder")
        for file in made:
            os.replace(file, folder / file.name)
        return [folder / file.name for file in made]
    except OSError as e:
        raise ModelFileError(f"the artifacts cannot be written to {str(folder)!r}: {e}") from e
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def ort_converter() -> Any:
    """onnxruntime's converter to its own format; SettingError where it is not installed."""
    try:
        from onnxruntime.tools import convert_onnx_models_to_ort
    except ImportError as e:
        raise SettingError(
            f"ort_format needs onnxruntime's converter, and it cannot be imported ({e}): "
            f"pip install onnxruntime, or leave out ort_format"
        ) from None
    return convert_onnx_models_to_ort


def _convert(folder: Path) -> None:
    """Beside each model; the converter prints, logs, and leaves files for the collector to close."""
    converter = ort_converter()
    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
    for path in sorted(folder.glob("*.onnx")):
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                converter.convert_onnx_models_to_ort(path, optimization_styles=[converter.OptimizationStyle.Fixed])
            except Exception as e:  # onnxruntime's own kinds
                raise ModelFileError(f"onnxruntime could not convert {path.name} to its own format: {e}") from None
