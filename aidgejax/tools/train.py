"""Training in one call: a model and data as people have them, the loss that fits, and a model to write.

result = train("m.onnx", "d.npz", epochs=20)
result.evaluate("test.npz")
result.write("better.onnx")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from inspect import signature
from typing import Any

import jax
import numpy as np

from .. import onnxio
from ..dtypes import DTYPES
from ..errors import SettingError
from ..execution.budget import check_memory
from ..execution.program import Program, make_program
from ..graph import Graph
from ..passes.precision import precision_summary
from ..passes.roles import check_trains, summary
from ..training import optim
from ..training.class_names import class_names, classes_in_words, with_class_names
from ..training.columns import columns_for, load_columns, stratified
from ..training.data import Dataset, batch_order
from ..training.evaluation import make_evaluation
from ..training.fit import fit, fitting, fixed_batch
from ..training.loop import TrainState
from ..training.metrics import confusion_matrix
from ..training.optimizers import usual
from ..training.parallel import Placement
from ..training.placed_arrays import on_host
from ..training.processes import is_first, several
from ..training.width import as_wide, in_its_width
from .reading import batches_of, file_for, read_for_data, read_for_training
from .task import Task, fit_task


@dataclass(frozen=True)
class Result:
    """A trained model: its graph before the loss, what it was trained for, its arrays and the record of training."""

    model: Graph
    task: Task
    state: TrainState
    history: list[dict[str, Any]]
    notes: tuple[str, ...]
    layout: str = "NCHW"
    placement: Placement | None = None
    into: Graph | None = None  # what is written, where the model was read with sizes of the data

    def __repr__(self) -> str:
        last = self.history[-1] if self.history else {}
        shown = ", ".join(f"{k} {last[k]:.4g}" for k in last if k.endswith((self.task.score, "loss")))
        epochs = 1 + last["epoch"] - self.history[0]["epoch"] if last else 0
        return f"<Result of {self.model.name!r}, {self.task.summary}: {epochs} epochs; {shown or 'not trained'}>"

    @property
    def graph(self) -> Graph:
        """The model with the trained arrays."""
        params, buffers = on_host((self.state.params, self.state.buffers))
        return self.model.with_params(dict(params), dict(buffers))

    def evaluate(self, data: Any, *, batch_size: int = 256) -> dict[str, float]:
        """{"loss": ..., and what the task is scored by} of all rows."""
        rows = self._rows(load_columns(data)[0])
        program = make_program(self.task.graph, training=False)
        return scored(program, self.task, self.state, rows, batch_size, self.placement)

    def confusion(self, data: Any, *, batch_size: int = 256) -> np.ndarray:
        """How often class [target, prediction] occurs, i32[classes, classes]; every position counts where there are."""
        rows = columns_for(self.model, load_columns(data)[0], layout=self.layout)
        return confusion_of(self.graph, self.task, rows, batch_size)

    def predict(self, data: Any, *, batch_size: int = 256) -> dict[str, np.ndarray]:
        """{output: rows} of the model, as it infers."""
        rows = columns_for(self.model, load_columns(data)[0], layout=self.layout)
        return predicted(self.graph, rows, batch_size)

    def write(self, path: Any) -> None:
        """Write the model with the trained arrays to an ONNX file.  Of several processes each calls it, the first
        writes."""
        params, buffers = on_host((self.state.params, self.state.buffers))
        if is_first():
            onnxio.write(self.model if self.into is None else self.into, params, path, buffers=buffers)

    def _rows(self, data: Dataset) -> Dataset:
        named = columns_for(self.model, data, layout=self.layout)
        return fitting(self.task.graph, named.with_columns(self.task.adapt(named.columns)))


def train(
    model: Any,
    data: Any,
    *,
    epochs: int = 20,
    test: Any = None,
    loss: str | None = None,
    optimizer: str | optim.Optimizer = "adam",
    lr: float | Callable = 1e-3,
    batch_size: int = 32,
    seed: int = 0,
    layout: str = "NCHW",
    output: str | Sequence[str] | None = None,
    parameters: Any = None,
    constants: Any = None,
    on_epoch: Callable[[dict], Any] | None = None,
    callbacks: Sequence[Callable] = (),
    precision: str = "float32",
    verbose: bool = False,
    placement: Placement | None = None,
    **options: Any,
) -> Result:
    """Train a model on data.

    model: a path, a ModelProto, bytes, or a Graph; a fixed batch of 1 is freed.
    data: what `load_columns` takes: files, folders, arrays, a mapping, a Dataset, an iterable of batches.
    test: data that is scored after every epoch.  loss: see fit_task; options are the loss's.
    lr: a number or a schedule.  batch_size: at most the number of rows is taken.
    precision: float32, bfloat16 or float16, in which the steps compute; see `fit`.
    verbose: print what is trained, the loss, and each epoch.  placement: over which devices (training/parallel.py).
    Raises GraphError where nothing is trained, DataError and SettingError for what does not fit.
    """
    for name in options:
        if close := get_close_matches(name, signature(train).parameters, 1, 0.8):
            raise SettingError(f"train has no option {name!r}; did you mean {close[0]!r}?")
    graph, notes = read_for_training(model, parameters=parameters, constants=constants)
    check_trains(graph)
    in_file = placement is not None and several()
    training, held = load_columns(data, in_file=in_file)
    graph = with_class_names(graph, training.class_names)
    rows = columns_for(graph, training, layout=layout)
    plain = graph
    if not isinstance(model, Graph):
        read = partial(read_for_training, model, parameters=parameters, constants=constants)
        graph, more = read_for_data(read, graph, rows, batch_size)
        graph, notes = with_class_names(graph, training.class_names), (*notes, *more)
    batch_size, accumulate, more = batches_of(graph, min(batch_size, len(rows)))
    notes = (*notes, *more)
    task = fit_task(graph, rows.columns, loss, output=output, **options)
    ready = fitting(task.graph, rows.with_columns(task.columns))
    held = load_columns(test, in_file=in_file)[0] if test is not None else held
    notes = (
        *notes,
        *rows.notes,
        *classes_in_words(class_names(graph)),
        *summary(task.graph),
        f"loss: {task.summary}",
        *precision_summary(precision, task.graph),
        *([f"placement: {placement}"] if placement is not None else ()),
        *filter(None, [placement.uneven(task.graph.params) if placement is not None else ""]),
    )
    if verbose and is_first():
        print(*notes, sep="\n")
    into = file_for(plain, graph)
    result = Result(graph, task, None, [], notes, layout, placement, into)  # type: ignore[arg-type]  # the state is still to come
    test_rows = result._rows(held) if held is not None else None

    def report(record: dict) -> Any:
        if verbose and is_first():
            shown = ", ".join(f"{k} {record[k]:.4g}" for k in record if k.endswith((task.score, "loss")))
            print(f"epoch {record['epoch'] + 1}: {shown}")
        return on_epoch(record) if on_epoch else None

    state, history = fit(
        make_program(task.graph, training=True),
        usual(optimizer),
        lr,
        ready,
        epochs=epochs,
        batch_size=min(batch_size, len(ready)),
        accumulate=accumulate,
        seed=seed,
        metrics=task.metrics,
        test=test_rows,
        test_program=make_program(task.graph, training=False) if test_rows is not None else None,
        on_epoch=report,
        callbacks=callbacks,
        precision=precision,
        placement=placement,
    )
    return Result(graph, task, state, history, notes, layout, placement, into)


def scored(
    program: Program, task: Task, state: Any, rows: Dataset, batch_size: int, placement: Placement | None = None
) -> dict[str, float]:
    """The loss and the metrics of all rows, whatever their number."""
    evaluate = make_evaluation(program, loss="loss", metrics=task.metrics, placement=placement)
    size = fixed_batch(program.graph) or min(batch_size, len(rows))
    size = size if placement is None else placement.next_batch(size)
    order, weights = batch_order(len(rows), size, last="pad", always_weigh=True)
    check_memory(program.graph, {k: rows.columns[k][: order.shape[1]] for k in program.graph.inputs})
    with in_its_width(program.graph):
        found = evaluate(state.params, state.buffers, order, weights, rows.on_device(placement))
    return {k: float(v) for k, v in jax.device_get(found).items()}


def confusion_of(graph: Graph, task: Task, rows: Dataset, batch_size: int = 256) -> np.ndarray:
    """The confusion matrix of a task with class indices.  Raises SettingError for another task."""
    classes = (task.graph.value(task.prediction).shape or (None,) * 2)[task.axis : task.axis + 1]
    if task.score != "accuracy" or task.loss.startswith("bce") or not isinstance(next(iter(classes), None), int):
        raise SettingError(f"a confusion matrix is of classes; this is {task.summary}")
    target = task.adapt(rows.columns)["target"]
    if target.dtype.kind == "f":
        target = target.argmax(1)
    scores = np.moveaxis(predicted(graph, rows, batch_size)[task.prediction], task.axis, 1)
    return np.asarray(confusion_matrix(scores, target, classes[0]))


def predicted(graph: Graph, rows: Dataset, batch_size: int) -> dict[str, np.ndarray]:
    """{output: array} of all rows."""
    program = make_program(graph, wrt=[], training=False)
    call = jax.jit(lambda params, buffers, batch: program.forward(params, buffers, batch, None, save=False)[0])
    size, parts = fixed_batch(graph) or min(batch_size, len(rows)), []
    check_memory(program.graph, {k: rows.columns[k][:size] for k in graph.inputs})
    for at in range(0, len(rows), size):
        batch = {k: as_wide(v, rows.columns[k][at : at + size]) for k, v in graph.inputs.items()}
        short = size - len(next(iter(batch.values())))
        whole = {k: np.concatenate([a, np.repeat(a[-1:], short, 0)]) if short else a for k, a in batch.items()}
        with in_its_width(graph):
            outputs = jax.device_get(call(graph.params, graph.buffers, whole))
        parts.append({k: _declared(graph, k, v)[: size - short] for k, v in outputs.items()})
    return {k: np.concatenate([p[k] for p in parts]) for k in graph.outputs}


def _declared(graph: Graph, name: str, array: Any) -> np.ndarray:
    """An output in the dtype that the model says: integers of 64 bits are computed in 32."""
    dtype = graph.value(name).dtype
    return np.asarray(array, DTYPES[dtype] if dtype in DTYPES and "int" in dtype else None)


def held_out(data: Dataset, fraction: float = 0.2, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Two parts, stratified by the targets where these are classes."""
    labels: Mapping[str, np.ndarray] = data.columns
    return stratified(data, fraction, labels.get("target"), seed)
