"""aidgejax: train explicit graphs for hardware.

The tour, in reading order.  A graph is plain data; its gradient is another graph, written by hand-made rules; both are
lowered to pure JAX functions; a whole epoch is one compiled program; a NumPy backend that shares no code checks it.

    graph = aidgejax.onnxio.read("model.onnx")
    graph = aidgejax.with_loss(graph, "cross_entropy", reduction="rows")
    program = aidgejax.make_program(graph, training=True)
    state, history = aidgejax.fit(program, aidgejax.optim.adam(), aidgejax.schedule.constant(1e-3), data,
                                  epochs=10, batch_size=32)
    aidgejax.onnxio.write(graph, state.params, "trained.onnx")

`python -m aidgejax` does the same from the command line.
"""

from . import analog, fillers, metrics, onnxio, ops, optim, reference, schedule, zoo
from .backend import NumpyProgram, run
from .checkpoint import load, save
from .comparison import compare
from .data import Dataset, batch_order, chunks, digits, load_npz, prefetch
from .errors import (
    AidgeJaxError,
    BackendError,
    CheckpointError,
    DataError,
    GraphError,
    ModelFileError,
    NoGradientRule,
    QueryError,
    SettingError,
    UnknownOperator,
)
from .freeze import cut_at, freeze_body, freeze_statistics
from .gradient import grad_name, make_gradient
from .graph import Graph, Node, Producer, Value
from .lower import Program, as_jax, make_program
from .match import matches
from .ops.loss import with_loss
from .summary import inspect
from .train import TrainState, fit, make_accumulating_step, make_epoch, make_evaluation, make_step, start
from .walk import infer_shapes

__version__ = "0.1.0"

__all__ = [
    "Graph", "Value", "Node", "Producer", "ops", "zoo", "matches", "onnxio", "with_loss", "infer_shapes",
    "cut_at", "freeze_body", "freeze_statistics",
    "make_gradient", "grad_name", "make_program", "Program", "as_jax", "run", "reference", "NumpyProgram", "compare",
    "inspect", "analog", "fillers", "optim", "schedule", "metrics", "Dataset", "digits", "load_npz", "batch_order",
    "chunks", "prefetch", "TrainState", "start", "make_step", "make_accumulating_step", "make_epoch",
    "make_evaluation", "fit", "save", "load", "AidgeJaxError", "BackendError", "CheckpointError", "DataError",
    "GraphError", "ModelFileError", "NoGradientRule", "QueryError", "SettingError", "UnknownOperator",
]  # fmt: skip
