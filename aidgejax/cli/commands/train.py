"""Trains an ONNX model on arrays."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from ... import onnxio
from ...errors import SettingError
from ...execution.devices import device
from ...execution.numpy_program import NumpyProgram
from ...execution.program import make_program
from ...execution.run import BACKENDS
from ...graph import Graph
from ...interpreter.shape_inference import infer_shapes
from ...passes.loss import LOSSES, with_loss
from ...training import metrics, optim, schedule
from ...training.data import Dataset
from ...training.fit import fit, fitting
from .. import run_folder
from ..arguments import count, number
from ..data import load

HELP = "train an ONNX model; with nothing else, a LeNet on handwritten digits"
OPTIMIZERS: dict[str, Callable[[argparse.Namespace], optim.Optimizer]] = {
    "sgd": lambda a: optim.sgd(momentum=a.momentum, weight_decay=a.weight_decay),
    "adam": lambda a: optim.adam(weight_decay=a.weight_decay),
    "adamw": lambda a: optim.adamw(weight_decay=a.weight_decay),
    "rmsprop": lambda a: optim.rmsprop(weight_decay=a.weight_decay),
    "adagrad": lambda a: optim.adagrad(weight_decay=a.weight_decay),
}
SCHEDULES: dict[str, Callable[[float, int], schedule.Schedule]] = {
    "constant": lambda lr, steps: schedule.constant(lr),
    "step": lambda lr, steps: schedule.step_lr(lr, max(1, steps // 3)),
    "cosine": lambda lr, steps: schedule.cosine(lr, steps, periodic=False),
    "linear": lambda lr, steps: schedule.linear(lr, steps),
    "exponential": lambda lr, steps: schedule.exponential(lr, steps, 0.01),
    "polynomial": lambda lr, steps: schedule.polynomial(lr, steps, 2.0),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="M.onnx", help="the model to train (default: a small LeNet)")
    add(
        "--data",
        metavar="D.npz",
        help="arrays named as the model's inputs, and `target` "
        "(and test_... for a test set; else a fifth is split off); default: 1797 UCI digits",
    )
    add("--loss", choices=sorted(LOSSES), help="default: cross_entropy for integer targets, else mse")
    add("--optimizer", choices=sorted(OPTIMIZERS), default="adam")
    add("--lr", type=number(0), default=0.003, help="(highest) learning rate")
    add("--momentum", type=float, default=0.9, help="of sgd")
    add("--weight-decay", type=float, default=0.0)
    add("--schedule", choices=sorted(SCHEDULES), default="cosine")
    add("--warmup", type=count(0), default=0, help="steps of linear warm-up")
    add("--epochs", type=count(1), default=30)
    add("--batch-size", type=count(1), default=32)
    add("--accumulate", type=count(1), default=1, help="micro-batches per update")
    add("--last", choices=("drop", "pad"), default="drop", help="what happens to a short last batch")
    add("--seed", type=count(0), default=0)
    add("--device", default="auto", help="auto, cpu, gpu, cuda or tpu")
    add("--backend", choices=BACKENDS, default="jax")
    add("--out", metavar="FOLDER", help="run folder (default: runs/<date>-<time>)")


def run(args: argparse.Namespace) -> None:
    with jax.default_device(device(args.device)):
        graph = model = onnxio.read(args.model) if args.model else _default_model()
        columns, test_columns = load(args.data, graph)
        graph, loss, score = _trainable(graph, args.loss, columns["target"])
        data, test = (fitting(graph, Dataset(c)) for c in (columns, test_columns))
        steps = args.epochs * max(1, len(data) // args.batch_size // args.accumulate)
        learning_rate = SCHEDULES[args.schedule](args.lr, steps)
        if args.warmup:
            learning_rate = schedule.warmup(learning_rate, args.warmup)
        optimizer = OPTIMIZERS[args.optimizer](args)
        program: Any = make_program(graph, training=True)
        evaluated: Any = make_program(graph, training=False)
        if args.backend == "numpy":
            program, evaluated = NumpyProgram(program), NumpyProgram(evaluated)
        out = args.out or os.path.join("runs", time.strftime("%Y%m%d-%H%M%S"))
        run_folder.claim(out)
        print(
            f"{graph.name}: {sum(a.size for a in graph.params.values()):,} parameters, {len(data)} rows to train on, "
            f"{len(test)} to test; {args.optimizer}, {args.epochs} epochs on {jax.devices()[0].platform} "
            f"({args.backend} backend)"
        )
        speeds = []
        with tqdm(total=args.epochs, unit="epoch", desc="compiling", disable=None, file=sys.stderr) as bar:

            def on_epoch(record: dict[str, Any]) -> None:
                speeds.append(record["rows"] / record["seconds"])
                bar.set_description("training")
                bar.set_postfix_str(f"loss {record['loss']:.4f}, test {score.show(record)}")
                bar.update()

            state, history = fit(
                program,
                optimizer,
                learning_rate,
                data,
                epochs=args.epochs,
                batch_size=args.batch_size,
                accumulate=args.accumulate,
                last=args.last,
                seed=args.seed,
                loss=loss,
                metrics=score.metrics,
                test=test,
                test_program=evaluated,
                on_epoch=on_epoch,
                compiled=args.backend == "jax",
            )
        settings = {k: v for k, v in vars(args).items() if k not in ("run", "command")}
        run_folder.write(out, model, settings, state, history)
        steady = float(np.median(speeds[1:] or speeds))  # the first epoch holds the compilation
        print(f"run folder: {out}")
        print(f"test {score.show(history[-1])}  {steady:.0f} {score.unit}/s")


class _Score:
    """What is reported: accuracy for classes, the loss itself otherwise."""

    def __init__(self, prediction: str, counted: bool) -> None:
        self.counted, self.unit = counted, "images" if counted else "rows"
        self.metrics = {}
        if counted:
            self.metrics["accuracy"] = lambda out, batch: metrics.accuracy(out[prediction], batch["target"])

    def show(self, record: dict[str, Any]) -> str:
        return f"accuracy {record['test_accuracy']:.3f}" if self.counted else f"loss {record['test_loss']:.4g}"


def _trainable(graph: Graph, loss: str | None, target: np.ndarray) -> tuple[Graph, str, _Score]:
    """The graph with a loss that gives one number per row, the loss's name, and how to score it."""
    graph = infer_shapes(graph)
    if len(graph.outputs) != 1:
        raise SettingError(
            f"model {graph.name!r} has {len(graph.outputs)} outputs ({', '.join(graph.outputs)}): "
            f"`train` needs one; cut the others off, or train from a script"
        )
    prediction = graph.outputs[0]
    loss = loss or ("cross_entropy" if target.dtype.kind in "iu" and target.ndim == 1 else "mse")
    counted = loss in ("cross_entropy", "nll")
    graph = infer_shapes(with_loss(graph, loss, prediction=prediction, target="target", reduction="rows"))
    return graph, "loss", _Score(prediction, counted)


def _default_model() -> Graph:
    return onnxio.read(resources.files("aidgejax").joinpath("assets/lenet.onnx").read_bytes())
