"""python -m aidgejax train | compare | inspect | artifacts | ops     (see --help of each)"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from .. import onnxio
from ..errors import AidgeJaxError, DataError, SettingError
from ..execution.devices import device
from ..execution.numpy_program import NumpyProgram
from ..execution.program import make_program
from ..execution.run import BACKENDS
from ..frontends.onnxruntime.training import command as artifacts
from ..graph import Graph
from ..interpreter.shape_inference import infer_shapes
from ..passes.loss import LOSSES, with_loss
from ..tools.compare import compare
from ..tools.inspect import formula_sheet, inspect
from ..training import metrics, optim, schedule
from ..training.data import Dataset, digits, load_npz
from ..training.fit import fit, fitting, read_history

OPTIMIZERS = {
    "sgd": lambda a: optim.sgd(momentum=a.momentum, weight_decay=a.weight_decay),
    "adam": lambda a: optim.adam(weight_decay=a.weight_decay),
    "adamw": lambda a: optim.adamw(weight_decay=a.weight_decay),
    "rmsprop": lambda a: optim.rmsprop(weight_decay=a.weight_decay),
    "adagrad": lambda a: optim.adagrad(weight_decay=a.weight_decay),
}
SCHEDULES = {
    "constant": lambda lr, steps: schedule.constant(lr),
    "step": lambda lr, steps: schedule.step_lr(lr, max(1, steps // 3)),
    "cosine": lambda lr, steps: schedule.cosine(lr, steps, periodic=False),
    "linear": lambda lr, steps: schedule.linear(lr, steps),
    "exponential": lambda lr, steps: schedule.exponential(lr, steps, 0.01),
    "polynomial": lambda lr, steps: schedule.polynomial(lr, steps, 2.0),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.  Returns 0, 1 for what the user can mend (one line on stderr) or 2 for bad arguments."""
    args = parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except AidgeJaxError as e:
        print(f"aidgejax {args.command}: {' '.join(str(e).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"aidgejax {args.command}: interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m aidgejax", description="Train explicit graphs for hardware.")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    p = commands.add_parser(
        "train",
        help="train an ONNX model; with nothing else, a LeNet on handwritten digits",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("--model", metavar="M.onnx", help="the model to train (default: a small LeNet)")
    p.add_argument(
        "--data",
        metavar="D.npz",
        help="arrays named as the model's inputs, and `target` "
        "(and test_... for a test set; else a fifth is split off); default: 1797 UCI digits",
    )
    p.add_argument("--loss", choices=sorted(LOSSES), help="default: cross_entropy for integer targets, else mse")
    p.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adam")
    p.add_argument("--lr", type=_number(0), default=0.003, help="(highest) learning rate")
    p.add_argument("--momentum", type=float, default=0.9, help="of sgd")
    p.add_argument("--weight-decay", type=float, default=0.0)
    p.add_argument("--schedule", choices=sorted(SCHEDULES), default="cosine")
    p.add_argument("--warmup", type=_count(0), default=0, help="steps of linear warm-up")
    p.add_argument("--epochs", type=_count(1), default=30)
    p.add_argument("--batch-size", type=_count(1), default=32)
    p.add_argument("--accumulate", type=_count(1), default=1, help="micro-batches per update")
    p.add_argument("--last", choices=("drop", "pad"), default="drop", help="what happens to a short last batch")
    p.add_argument("--seed", type=_count(0), default=0)
    p.add_argument("--device", default="auto", help="auto, cpu, gpu, cuda or tpu")
    p.add_argument("--backend", choices=BACKENDS, default="jax")
    p.add_argument("--out", metavar="FOLDER", help="run folder (default: runs/<date>-<time>)")
    p.set_defaults(run=train)

    p = commands.add_parser(
        "compare",
        help="the JAX backend against the NumPy backend, node by node",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("model", metavar="M.onnx")
    p.add_argument("--data", metavar="D.npz", help="a batch: arrays named as the model's inputs (default: random)")
    p.add_argument("--steps", type=_count(0), default=10, help="training steps to compare")
    p.add_argument("--tolerance", type=_number(0), default=1e-4, help="relative to a tensor's largest element")
    p.add_argument("--seed", type=_count(0), default=0)
    p.set_defaults(run=run_compare)

    p = commands.add_parser("inspect", help="print a model, its parameter and FLOP counts")
    p.add_argument("model", metavar="M.onnx")
    p.add_argument("--gradient", action="store_true", help="the backward graph too")
    p.set_defaults(run=run_inspect)

    artifacts.add_arguments(commands.add_parser("artifacts", help=artifacts.HELP))

    p = commands.add_parser("ops", help="the formula sheet: every operator")
    p.set_defaults(run=lambda args: print(formula_sheet()))
    return top


def train(args: argparse.Namespace) -> int:
    with jax.default_device(device(args.device)):
        graph = onnxio.read(args.model) if args.model else _default_model()
        columns, test_columns = _load(args, graph)
        graph, loss, score = _trainable(graph, args.loss, columns["target"])
        data, test = (fitting(graph, Dataset(c)) for c in (columns, test_columns))
        steps = args.epochs * max(1, len(data) // args.batch_size // args.accumulate)
        learning_rate = SCHEDULES[args.schedule](args.lr, steps)
        if args.warmup:
            learning_rate = schedule.warmup(learning_rate, args.warmup)
        optimizer = OPTIMIZERS[args.optimizer](args)
        program = make_program(graph, training=True)
        evaluated = make_program(graph, training=False)
        if args.backend == "numpy":
            program, evaluated = NumpyProgram(program), NumpyProgram(evaluated)
        out = args.out or os.path.join("runs", time.strftime("%Y%m%d-%H%M%S"))
        _claim_folder(out)
        print(
            f"{graph.name}: {sum(a.size for a in graph.params.values()):,} parameters, {len(data)} rows to train on, "
            f"{len(test)} to test; {args.optimizer}, {args.epochs} epochs on {jax.devices()[0].platform} "
            f"({args.backend} backend)"
        )
        speeds = []
        with tqdm(total=args.epochs, unit="epoch", desc="compiling", disable=None, file=sys.stderr) as bar:

            def on_epoch(record: dict) -> None:
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
        _write_run(out, args, state, history, score)
        steady = float(np.median(speeds[1:] or speeds))  # the first epoch holds the compilation
        print(f"run folder: {out}")
        print(f"test {score.show(history[-1])}  {steady:.0f} {score.unit}/s")
    return 0


class _Score:
    """What is reported: accuracy for classes, the loss itself otherwise."""

    def __init__(self, prediction: str, counted: bool) -> None:
        self.counted, self.unit = counted, "images" if counted else "rows"
        self.metrics = {}
        if counted:
            self.metrics["accuracy"] = lambda out, batch: metrics.accuracy(out[prediction], batch["target"])

    def show(self, record: dict) -> str:
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


def _load(args: argparse.Namespace, graph: Graph) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(training, test) columns, named as the graph's inputs, and "target"."""
    whole = load_npz(args.data) if args.data else digits()
    columns = _renamed(whole.columns, graph, args)
    held = {k.removeprefix("test_"): v for k, v in columns.items() if k.startswith("test_")}
    if held:
        return {k: v for k, v in columns.items() if not k.startswith("test_")}, held
    training, test = Dataset(columns).split(0.2, seed=1997)
    return training.columns, test.columns


def _renamed(columns: dict[str, np.ndarray], graph: Graph, args: argparse.Namespace) -> dict[str, np.ndarray]:
    names = list(graph.inputs)
    found = dict(columns)
    if len(names) == 1 and names[0] not in found:
        other = [k for k in ("x", "images", "data", "input") if k in found]
        for k in other[:1]:
            found[names[0]] = found.pop(k)
            if f"test_{k}" in found:
                found[f"test_{names[0]}"] = found.pop(f"test_{k}")
    for k in ("y", "label", "labels"):
        if "target" not in found and k in found:
            found["target"] = found.pop(k)
            if f"test_{k}" in found:
                found["test_target"] = found.pop(f"test_{k}")
    missing = [n for n in (*names, "target") if n not in found]
    if missing:
        raise DataError(
            f"{args.data or 'the data set of digits'} lacks {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, columns))}, the model takes "
            f"{', '.join(map(str, graph.inputs.values()))}"
        )
    for n in names:
        want = jnp.dtype(graph.inputs[n].dtype)
        for k in (n, f"test_{n}"):
            if k in found and found[k].dtype != want and found[k].dtype.kind in "fiub" and want.kind == "f":
                found[k] = found[k].astype(want)
    return found


def _claim_folder(out: str) -> None:
    try:
        os.makedirs(out, exist_ok=True)
        probe = os.path.join(out, ".writable")
        with open(probe, "w"):
            pass
        os.unlink(probe)
    except OSError as e:
        raise SettingError(f"cannot write the run folder {out!r}: {e.strerror or e}") from None


def _write_run(out: str, args: argparse.Namespace, state: Any, history: list[dict], score: _Score) -> None:
    trained = onnxio.read(args.model) if args.model else _default_model()
    params = {k: np.asarray(v) for k, v in state.params.items()}
    buffers = {k: np.asarray(v) for k, v in state.buffers.items()}
    onnxio.write(trained, params, os.path.join(out, "model.onnx"), buffers=buffers)
    columns = list(dict.fromkeys(k for r in history for k in r))
    with open(os.path.join(out, "history.csv"), "w", newline="") as f:
        writer = csv.DictWriter(f, columns)
        writer.writeheader()
        writer.writerows({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in r.items()} for r in history)
    told = {k: v for k, v in vars(args).items() if k not in ("run", "command")}
    told |= {"jax": jax.__version__, "device_kind": jax.devices()[0].device_kind}
    with open(os.path.join(out, "settings.json"), "w") as f:
        json.dump(told, f, indent=1)
    try:
        plot(history, os.path.join(out, "history.png"), score)
    except ImportError:
        print('no picture of the run: matplotlib is missing; pip install "aidgejax[examples]" brings it')


def plot(history: list[dict], path: str, score: _Score) -> None:
    """Loss, accuracy (where there is one) and learning rate against the step, one below the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [("loss", ["loss", "test_loss"])]
    panels += [("accuracy", ["accuracy", "test_accuracy"])] if score.counted else []
    panels += [("learning rate", ["learning_rate"])]
    figure, axes = pyplot.subplots(len(panels), 1, sharex=True, figsize=(7, 2.4 * len(panels)), constrained_layout=True)
    for axis, (title, columns) in zip(axes, panels, strict=True):
        for column in columns:
            steps, values = read_history(history, column)
            test = column.startswith("test_")
            look = {"lw": 2, "label": "test"} if test else {"lw": 0.8, "alpha": 0.6, "label": "training"}
            axis.plot(steps, values, **look)
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        if len(columns) > 1:
            axis.legend(loc="best")
    if min(read_history(history, "loss")[1]) > 0:
        axes[0].set_yscale("log")
    axes[-1].set_xlabel("step")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def run_compare(args: argparse.Namespace) -> int:
    graph = onnxio.read(args.model)
    batch = None
    if args.data:
        columns = load_npz(args.data).columns
        missing = [k for k in graph.inputs if k not in columns]
        if missing:
            raise DataError(
                f"{args.data} lacks {', '.join(map(repr, missing))}; it has {', '.join(map(repr, columns))}"
            )
        batch = {k: columns[k] for k in graph.inputs}
    report = compare(graph, batch=batch, steps=args.steps, tolerance=args.tolerance, seed=args.seed)
    print(report)
    return 0 if report.ok else 1


def run_inspect(args: argparse.Namespace) -> int:
    print(inspect(onnxio.read(args.model), gradient=args.gradient))
    return 0


def _count(least: int):
    def parse(text: str) -> int:
        try:
            n = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if n < least:
            raise argparse.ArgumentTypeError(f"{n} is below {least}")
        return n

    return parse


def _number(least: float):
    def parse(text: str) -> float:
        try:
            x = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not x > least:
            raise argparse.ArgumentTypeError(f"{text} is not above {least:g}")
        return x

    return parse
