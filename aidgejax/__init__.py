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

from typing import TYPE_CHECKING

from .cli.signals import leave_at_once

leave_at_once()  # before the imports that take seconds; `python -m aidgejax` alone

from . import analog, errors, onnxio, ops, passes, quant, reference
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
from .execution.numpy_program import NumpyProgram
from .execution.program import Program, as_jax, make_program
from .execution.run import run
from .graph import Graph, Node, Producer, Value
from .interpreter.shape_inference import infer_shapes
from .passes.freeze import cut_at, freeze_body, freeze_statistics
from .passes.gradient import grad_name, make_gradient
from .passes.loss import with_loss
from .passes.pattern import matches
from .tools import zoo
from .tools.compare import compare
from .tools.inspect import inspect
from .tools.pictures import plot_confusion, plot_history, plot_ranges, plot_sensitivity, plot_sweep, plot_weights
from .tools.profile import profile
from .tools.summary import summary
from .tools.train import train
from .training import checkpoint, data, fillers, metrics, optim, schedule
from .training.checkpoint import load, save
from .training.columns import columns_for, load_columns
from .training.data import Dataset, batch_order, chunks, digits, load_npz, prefetch
from .training.evaluation import make_evaluation
from .training.fit import fit
from .training.loop import TrainState, make_accumulating_step, make_epoch, make_step, start
from .training.parallel import data_parallel, replicated, sharded
from .training.stream import Stream

__version__ = "0.1.0"

__all__ = [
    "AidgeJaxError",
    "analog",
    "as_jax",
    "BackendError",
    "batch_order",
    "checkpoint",
    "CheckpointError",
    "chunks",
    "columns_for",
    "compare",
    "cut_at",
    "data",
    "data_parallel",
    "DataError",
    "Dataset",
    "digits",
    "errors",
    "fillers",
    "fit",
    "freeze_body",
    "freeze_statistics",
    "grad_name",
    "Graph",
    "GraphError",
    "infer_shapes",
    "inspect",
    "load",
    "load_columns",
    "load_npz",
    "make_accumulating_step",
    "make_epoch",
    "make_evaluation",
    "make_gradient",
    "make_program",
    "make_step",
    "matches",
    "metrics",
    "ModelFileError",
    "Node",
    "NoGradientRule",
    "NumpyProgram",
    "onnxio",
    "ops",
    "optim",
    "passes",
    "plot_confusion",
    "plot_history",
    "plot_ranges",
    "plot_sensitivity",
    "plot_sweep",
    "plot_weights",
    "prefetch",
    "Producer",
    "profile",
    "Program",
    "quant",
    "QueryError",
    "reference",
    "replicated",
    "run",
    "save",
    "schedule",
    "SettingError",
    "sharded",
    "start",
    "Stream",
    "summary",
    "train",
    "TrainState",
    "UnknownOperator",
    "Value",
    "with_loss",
    "zoo",
]

# What other libraries call what is here under another name.
_ELSEWHERE = {
    "evaluate": "train(...).evaluate(data), or `python -m aidgejax evaluate`",
    "export": "onnxio.write",
    "load_model": "onnxio.read",
    "predict": "train(...).predict(data), or run(graph, feeds)",
    "quantize": "quant.convert, calibrate, finetune and write, or `python -m aidgejax quantize`",
    "read": "onnxio.read",
    "save_model": "onnxio.write",
    "view": "graph.to_svg(), or `python -m aidgejax view`",
    "write": "onnxio.write",
}


if not TYPE_CHECKING:  # else any name would pass for one

    def __getattr__(name):
        cure = f"; that is {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"module 'aidgejax' has no attribute {name!r}{cure}")
