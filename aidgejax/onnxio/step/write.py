"""write_step: forward, loss, gradient and optimizer in one ONNX file of standard operators.

    step = write_step(graph, None, "step.onnx", loss="cross_entropy", optimizer=aj.optim.sgd(momentum=0.9))

A step maps (batch, scalars, state) to (loss, next state); a loop feeds each next state back.  All that a loop must know
stands in the model's metadata, as JSON under `KEY`: see `description`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper

from ...arguments import takes_graph
from ...errors import ModelFileError, SettingError
from ...files import write_set
from ...graph import Graph
from ...interpreter.shape_inference import infer_shapes
from ...passes.fold import folded
from ...passes.loss import LOSSES, with_loss
from ...passes.optimizer_graph import Rule
from ...passes.training_step import StepGraph, make_step_graph
from ..artifacts.training_model import for_onnxruntime
from ..exporter.opset_downgrade import at_opset
from ..importer.reader import read
from .fewer_nodes import with_fewer_nodes
from .small_images import as_products
from .target_operators import in_target_operators
from .targets import Target, outside_graph, target_named

KEY = "aidgejax.step"
ORT_LOSSES = {"MSELoss": "mse", "CrossEntropyLoss": "cross_entropy", "BCEWithLogitsLoss": "bce_logits", "L1Loss": "l1"}


@dataclass(frozen=True)
class Step:
    """A step that was written.

    path: the file.  state: {input: the output that is its next value}.  initial: {input: array}.  scalars: inputs
    that are one number, "learning_rate" and "seed".  batch: the inputs of data.  loss: the output that is minimized.
    parameters, buffers: the part of the state that is the trained model.
    made: the settings it was written with, as far as JSON holds them: see `settings_of`.
    """

    path: str
    model: ModelProto
    state: dict[str, str]
    initial: dict[str, np.ndarray]
    scalars: tuple[str, ...]
    batch: tuple[str, ...]
    loss: str
    outputs: tuple[str, ...]
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    made: dict[str, Any] = field(default_factory=dict)


@takes_graph
def write_step(
    graph: Graph,
    params: Mapping[str, Any] | None,
    path: str | os.PathLike,
    *,
    optimizer: Rule,
    loss: str = "loss",
    train: Iterable[str] | None = None,
    frozen: Iterable[str] = (),
    clip_norm: float | None = None,
    accumulate: int = 1,
    schedule: Callable | float | None = None,
    batch: int | str | None = None,
    target: str | Target | Iterable[str] | None = None,
    opset: int = 17,
    outputs: Sequence[str] = (),
    prediction: str | None = None,
    raw: bool = True,
) -> Step:
    """Write the training step of `graph` to `path`, its initial state beside it (.npz, and .bin for C and JavaScript).

    params: arrays in place of the graph's own, by name; None for these.
    optimizer: one of training.optim.  loss: a tensor of the graph, or the name of a loss to append to its output (as
        passes.loss has them, or ONNX Runtime's), whose target becomes the input "target"; prediction: which tensor such
        a loss compares, of a graph with several outputs.
    train: the parameters to train; default all but `frozen`.  clip_norm, accumulate, schedule: as
        passes.training_step.make_step_graph takes them; with a schedule the file computes the rate itself.
    batch: a number, for which shapes are folded; None or a name leaves a symbolic batch symbolic.
    target: "webnn", "webgpu", "elementary", or what targets.target_named takes: nodes outside of it are written in
        others; what cannot be is refused with ModelFileError, node by node, and nothing is written.
    opset: the least; a step that needs a later one has it.  outputs: tensors to output beside the loss.
    raw: write `<path>.bin` too: the arrays of the initial state one after another, little-endian, in the state's order.
    """
    path = os.fspath(path)
    step = make_step(
        graph,
        params,
        optimizer=optimizer,
        loss=loss,
        train=train,
        frozen=frozen,
        clip_norm=clip_norm,
        accumulate=accumulate,
        schedule=schedule,
        batch=batch,
        outputs=outputs,
        prediction=prediction,
    )
    made = {**settings_of(optimizer, loss, clip_norm, accumulate, schedule), "prediction": prediction}
    model = to_model(step, opset=opset, target=target, made=made)
    stem = os.path.splitext(path)[0]
    stored = BytesIO()
    initial: dict[str, Any] = {**step.initial}  # none of them is called `file`
    np.savez(stored, **initial)
    files = {path: model.SerializeToString(), f"{stem}.npz": stored.getvalue()}
    if raw:
        files[f"{stem}.bin"] = b"".join(_little(a).tobytes() for a in step.initial.values())
    try:
        write_set(files)
    except OSError as e:
        raise ModelFileError(f"cannot write {e.filename or path!r}: {e.strerror or e}") from e
    return _step_of(path, model, step, made)


def make_step(
    graph: Graph,
    params: Mapping[str, Any] | None = None,
    *,
    optimizer: Rule,
    loss: str = "loss",
    train: Iterable[str] | None = None,
    frozen: Iterable[str] = (),
    clip_norm: float | None = None,
    accumulate: int = 1,
    schedule: Callable | float | None = None,
    batch: int | str | None = None,
    outputs: Sequence[str] = (),
    prediction: str | None = None,
) -> StepGraph:
    """The step as a graph, which `run` executes on both backends; arguments as write_step has them."""
    if params:
        graph = graph.with_params(dict(params))
    graph = infer_shapes(_with_batch(graph, batch))
    loss = ORT_LOSSES.get(loss, loss)
    if not graph.has(loss):
        if loss not in LOSSES:
            raise SettingError(
                f"graph {graph.name!r} has no tensor {loss!r}, and there is no loss of that name: the losses are "
                f"{', '.join((*LOSSES, *ORT_LOSSES))}"
            )
        graph, loss = infer_shapes(with_loss(graph, loss, prediction=prediction)), "loss"
    if frozen := list(frozen):
        unknown = [n for n in frozen if n not in graph.params]
        if unknown:
            raise SettingError(
                f"frozen: graph {graph.name!r} has no parameter {', '.join(map(repr, unknown))}; it has "
                f"{', '.join(map(repr, graph.params))}"
            )
        train = [p for p in (graph.params if train is None else train) if p not in frozen]
    return make_step_graph(
        graph,
        optimizer,
        loss=loss,
        train=train,
        outputs=outputs,
        accumulate=accumulate,
        schedule=schedule,
        clip_norm=clip_norm,
    )


def to_model(
    step: StepGraph,
    *,
    opset: int = 17,
    target: str | Target | Iterable[str] | None = None,
    made: Mapping[str, Any] | None = None,
) -> ModelProto:
    """The step as a model in ONNX's own operators, folded.  made: settings to note in its metadata."""
    if target is not None:
        table = target_named(target, for_onnxruntime(step.graph))
        graph = in_target_operators(step.graph, table)
        graph = folded(infer_shapes(graph))
        if found := outside_graph(graph, table):
            listed = "; ".join(f"{node} ({op}): {reason}" for node, op, reason in found[:12])
            more = f"; and {len(found) - 12} more" if len(found) > 12 else ""
            raise ModelFileError(
                f"the step of graph {step.graph.name!r} has {len(found)} nodes outside the target "
                f"{table.name}: {listed}{more}"
            )
    else:
        graph = infer_shapes(for_onnxruntime(as_products(infer_shapes(step.graph))))
        graph = with_fewer_nodes(infer_shapes(folded(graph)))
    graph.metadata = {}
    model = at_opset(graph, opset)[0]
    del model.metadata_props[:]
    helper.set_model_props(model, {KEY: json.dumps({**description(step), "made": dict(made or {})})})
    return model


def settings_of(
    optimizer: Rule, loss: str, clip_norm: float | None, accumulate: int, schedule: Callable | float | None
) -> dict[str, Any]:
    """What a step is written with, for whoever compares it with its program.

    {"loss", "clip_norm", "accumulate", "optimizer": {"name", "settings"}, or None where it is not one of training.optim
    alone, "schedule": the same of training.schedule, None where there is none, True where it is another function}.
    """
    noted: Any = None if schedule is None else _recipe(schedule) or True
    if isinstance(schedule, int | float):
        noted = {"name": "constant", "settings": {"initial_lr": float(schedule)}}
    made: dict[str, Any] = {"loss": loss, "clip_norm": clip_norm, "accumulate": accumulate, "schedule": noted}
    return {**made, "optimizer": _recipe(optimizer)}


def _recipe(made: Any) -> dict[str, Any] | None:
    """{"name", "settings"} of what a function of training.recipes made, if JSON holds its settings."""
    recipe = getattr(made, "recipe", None)
    if recipe is None:
        return None
    function = getattr(importlib.import_module(recipe.module), recipe.name)
    settings = dict(inspect.signature(function).bind(*recipe.args, **dict(recipe.keywords)).arguments)
    plain = {k: _recipe(v) or v for k, v in settings.items()}  # a schedule may be made of another
    return (
        {"name": recipe.name, "settings": plain}
        if all(v is None or isinstance(v, bool | int | float | str | dict) for v in plain.values())
        else None
    )


def description(step: StepGraph) -> dict[str, Any]:
    """What a loop needs to know, for the metadata.

    state: [{input, output, dtype, shape, offset, bytes}], offset and bytes in the .bin file of the initial state.
    initial: {bytes, crc32} of that file as a whole, so that files which were not written together are told apart.
    """
    state, offset, checksum = [], 0, 0
    for name, array in step.initial.items():
        state.append(
            {
                "input": name,
                "output": step.state[name],
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "offset": offset,
                "bytes": array.nbytes,
            }
        )
        offset += array.nbytes
        checksum = zlib.crc32(_little(array).tobytes(), checksum)
    graph = step.graph
    return {
        "version": 1,
        "loss": step.loss,
        "outputs": list(step.outputs),
        "batch": [_typed(graph, n) for n in step.batch],
        "scalars": [_typed(graph, n) for n in step.scalars],
        "state": state,
        "initial": {"bytes": offset, "crc32": checksum},
        "parameters": list(step.parameters),
        "buffers": list(step.buffers),
    }


def read_step(path: str | os.PathLike) -> Step:
    """A step that write_step wrote, its initial state included.

    Raises ModelFileError for another file, and for a .npz that was not written together with it.
    """
    path = os.fspath(path)
    try:
        model = onnx.load(path)
        known = json.loads(next(p.value for p in model.metadata_props if p.key == KEY))
        with np.load(f"{os.path.splitext(path)[0]}.npz", allow_pickle=False) as stored:
            initial = {s["input"]: stored[s["input"]] for s in known["state"]}
        _check_initial(initial, known)
        state = {s["input"]: s["output"] for s in known["state"]}
        names = {k: tuple(v["name"] for v in known[k]) for k in ("scalars", "batch")}
        rest = {k: tuple(known[k]) for k in ("outputs", "parameters", "buffers")}
        return Step(
            path, model, state, initial, loss=known["loss"], **names, **rest, made=dict(known.get("made") or {})
        )
    except (OSError, StopIteration, KeyError, TypeError, ValueError) as e:
        raise ModelFileError(
            f"{path!r} is no training step that write_step wrote, or its .npz is missing or another's: {e}"
        ) from None
    except Exception as e:  # protobuf's own kind
        raise ModelFileError(f"{path!r} is no ONNX file: {e}") from None


def _check_initial(initial: Mapping[str, np.ndarray], known: Mapping[str, Any]) -> None:
    """Raise ValueError unless these are the arrays that the step was written with."""
    for s in known["state"]:
        array = initial[s["input"]]
        if (list(array.shape), array.nbytes) != (s["shape"], s["bytes"]):
            raise ValueError(
                f"its .npz has {s['input']!r} as {array.dtype}{list(array.shape)}, and the step as "
                f"{s['dtype']}{s['shape']}: they were not written together; write the step again"
            )
    checksum = 0
    for array in initial.values():
        checksum = zlib.crc32(_little(array).tobytes(), checksum)
    wanted = known.get("initial")  # files of earlier versions have none
    if wanted is not None and checksum != wanted["crc32"]:
        raise ValueError(
            "its .npz holds other values than the step was written with: a writer was stopped between its files, or "
            "a saved state took its place; write the step again, and keep saved states under names of their own"
        )


def read_trained(step: Step, path: str | os.PathLike) -> dict[str, np.ndarray]:
    """{parameter or buffer: array} of a state that a loop has saved: a .bin as the C and the browser's loop write it
    (all of the state, in the order of the metadata, little-endian), or a .npz by name.

    For onnxio.write(model, read_trained(step, "trained.bin"), "trained.onnx").
    Raises ModelFileError for a file that is not of this step.
    """
    wanted = {n: step.initial[n] for n in (*step.parameters, *step.buffers)}
    try:
        if os.fspath(path).endswith(".npz"):
            with np.load(path, allow_pickle=False) as stored:
                found = {n: stored[n] for n in wanted}
        else:
            data, at, found = Path(path).read_bytes(), 0, {}
            for name, a in step.initial.items():
                part = np.frombuffer(data, a.dtype.newbyteorder("<"), a.size, at)
                at += a.nbytes
                if name in wanted:
                    found[name] = part.reshape(a.shape).astype(a.dtype)
            if at != len(data):
                raise ValueError(f"it has {len(data)} bytes, and the state {at}")
        for n, a in wanted.items():
            if found[n].shape != a.shape:
                raise ValueError(f"{n!r} has the shape {found[n].shape}, and the step's {a.shape}")
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as e:
        raise ModelFileError(f"{os.fspath(path)!r} holds no state of the step {step.path!r}: {e}") from None
    return found


def step_graph(step: Step) -> Graph:
    """The file's graph, for `run` on either backend."""
    return read(step.model.SerializeToString())


def _typed(graph: Graph, name: str) -> dict[str, Any]:
    value = graph.value(name)
    return {"name": name, "dtype": value.dtype, "shape": [None if d is None else d for d in value.shape or ()]}


def _little(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("<")) if array.dtype.byteorder == ">" else array


def _with_batch(graph: Graph, batch: int | str | None) -> Graph:
    """The symbolic batch as a number."""
    if batch is None or isinstance(batch, str):
        return graph
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise SettingError(f"batch is {batch!r}; expected a number of rows, or a name")
    symbols = {v.shape[0] for v in graph.inputs.values() if v.shape and isinstance(v.shape[0], str)}
    if not symbols and any(v.shape and v.shape[0] != batch for v in graph.inputs.values()):
        raise SettingError(
            f"batch is {batch}, but the inputs of graph {graph.name!r} have sizes of their own: "
            f"{', '.join(map(str, graph.inputs.values()))}; read the model with batch='N' first"
        )
    copy = graph.copy()
    for name, v in graph.inputs.items():
        shape = tuple(batch if d in symbols else d for d in v.shape or ())
        copy.inputs[name] = replace(v, shape=shape if v.shape is not None else None)
    copy.values = {k: replace(v, shape=None) for k, v in graph.values.items()}
    return copy


def _step_of(path: str, model: ModelProto, step: StepGraph, made: dict[str, Any]) -> Step:
    return Step(
        path,
        model,
        step.state,
        step.initial,
        step.scalars,
        step.batch,
        step.loss,
        step.outputs,
        step.parameters,
        step.buffers,
        made,
    )
