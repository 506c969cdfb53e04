"""Quantizes an ONNX model for hardware: calibrated, trained, and compared before it is written."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import numpy as np
from tqdm import tqdm

from ... import onnxio, quant
from ...errors import SettingError
from ...execution.run import run as execute
from ...files import write_atomically
from ...graph import Graph
from ...interpreter.shape_inference import infer_shapes
from ...passes.loss import LOSSES
from ...tools.task import compared
from ...training.data import Dataset
from ...training.fit import fitting
from ..arguments import count, number
from ..data import load

HELP = "quantize an ONNX model: integers that give the same results wherever they run"
EXAMPLES = (
    "quantize m.onnx --data d.npz --out m_int8.onnx",
    "quantize m.onnx --data d.npz --bits 4 --target c --out m_c",
    "quantize m.onnx --data d.npz --epochs 0 --out m_int8.onnx",
)
TARGETS = {"any": "qdq", "onnxruntime": "qdq", "qoperator": "qoperator", "qonnx": "qonnx", "aidge": "aidge", "c": "c"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="M.onnx", help="a model in floating point, or a quantized one to be trained on")
    add(
        "--data",
        metavar="DATA",
        help=".npz, .npy, .csv or a folder of images: the model's inputs by name, or x, and target or y (without: "
        "trained to give what the model gives); test_... for a test set, else a fifth of every class is held out; "
        "default: 1797 UCI digits",
    )
    add("--layout", choices=("NCHW", "NHWC"), default="NCHW", help="of the images in the data")
    add("--out", metavar="Q.onnx", required=True, help="the file to write (target c: a folder)")
    add("--bits", type=int, default=8, metavar="N", help="of weights and activations: 2 to 8")
    add("--weights", type=int, metavar="N", help="bits of weights (default: --bits)")
    add("--activations", type=int, metavar="N", help="bits of activations (default: --bits; 16 is possible)")
    add("--ends", type=int, default=8, metavar="N", help="bits of the first and the last layer")
    add("--per", choices=("channel", "tensor"), help="a weight's steps (default: channel; target aidge: tensor)")
    add("--exclude", nargs="*", default=[], metavar="LAYER", help="stays in floating point: name, pattern or query")
    add("--target", choices=tuple(TARGETS), default="any", help="what is written")
    add("--steps", choices=("power_of_two", "learned", "fixed", "fixed_point"), default="power_of_two",
        help="powers of two make equality proved; others are counted")  # fmt: skip
    add("--method", choices=("lsq", "lsq+", "pact", "dorefa", "sat"), default="lsq", help="whose rule trains")
    add("--calibration", choices=("max", "percentile", "mse", "kl", "sigma"), default="mse")
    add("--epochs", type=count(0), default=20, help="0: calibrate alone")
    add("--batch-size", type=count(1), default=32)
    add("--lr", type=number(0), help="highest learning rate (default: from the bits)")
    add("--loss", choices=sorted(LOSSES), help="default: cross_entropy for integer targets, else mse")
    add("--distill", choices=("whole", "blocks"),
        help="train without labels, to give what the model in floating point gives: at its output, or at every "
        "quantized tensor, all blocks at once (default: whole, where the data have no target)")  # fmt: skip
    add("--packed", action="store_true", help="weights of at most 4 bits two to a byte")
    add("--seed", type=count(0), default=0)
    add("--unverified", action="store_true", help="write without comparing, also where a runtime is missing")


def run(args: argparse.Namespace) -> int:
    if args.target == "onnxruntime" and not quant.has_onnxruntime() and not args.unverified:
        raise SettingError(
            'target onnxruntime cannot be checked: onnxruntime is not installed; pip install "aidgejax[examples]" '
            "brings it, --unverified writes without"
        )
    if args.distill is not None and args.loss is not None:
        raise SettingError(f"--distill {args.distill} trains without labels: --loss {args.loss} says nothing of it")
    graph = infer_shapes(onnxio.read(args.model))
    if args.distill == "blocks" and quant.arrived_quantized(graph):
        raise SettingError(
            f"--distill blocks learns from the tensors of a model in floating point: {args.model} arrived quantized"
        )
    if len(graph.outputs) != 1:
        raise SettingError(f"model {graph.name!r} has {len(graph.outputs)} outputs: `quantize` needs one")
    graph, training, test = load(args.data, graph, args.layout)
    columns, test_columns = training.columns, test.columns
    names = [*graph.inputs, *(["target"] if "target" in columns else [])]
    data, test = (Dataset({k: c[k] for k in names}) for c in (columns, test_columns))
    score = _Score(graph, test, args.loss, columns.get("target"))
    q, name = _quantized(graph, data, args)
    before = score(graph)
    if args.epochs:
        print(f"calibrated: {score.word} {score(q):.3f}")
        q = _trained(q, graph, data, score.loss, args)
    after = score(q)
    feeds = {k: test.columns[k] for k in graph.inputs}
    integers = quant.to_integer(q)
    form = TARGETS[args.target]
    grade = "proved" if args.steps in ("power_of_two", "fixed_point") or form == "qoperator" else "counted"
    reasons = quant.unproved(integers)
    if grade == "proved" and reasons and form != "qoperator":
        print(f"equality is counted, not proved: {reasons[0]}")
        grade = "counted"
    report = quant.write(
        integers, args.out, form, graph=q, data=feeds, grade=grade, packed=args.packed, unverified=args.unverified
    )
    page = f"{os.path.splitext(args.out)[0]}.html"
    text = "written without a comparison (--unverified)" if report is None else str(report)
    write_atomically(quant.describe(q, feeds).page(f"{graph.name} {name}", text).encode(), page)
    print(f"{text}\nreport: {page}")
    missing = [] if quant.has_onnxruntime() else ["onnxruntime"]
    line = [f"{score.word} {before:.3f} -> {after:.3f}", name, _compared(report, graph), _size(args.out)]
    print("   ".join([*line, *(f"{m}: not installed, not checked" for m in missing)]))
    return 0


def _quantized(graph: Graph, data: Dataset, args: argparse.Namespace) -> tuple[Graph, str]:
    """(the graph on its grids, what they are called), calibrated or as the file says."""
    if quant.arrived_quantized(graph):
        q = quant.from_qdq(graph, learned=args.steps not in ("fixed", "fixed_point"))
        names = [layer.name for layer in quant.layers(q)]
        widths = {(int(n.inputs[4]) - int(n.inputs[3])).bit_length() for n in q.nodes if n.op == "FakeQuantize"}
        args.steps = "learned" if quant.step_names(q) else "fixed"
        kept = "--bits, --weights, --activations, --ends, --per, --exclude, --method and --calibration"
        print(f"{graph.name} arrived quantized: {len(names)} layers go on from its scales, steps {args.steps}")
        print(f"{kept} say nothing of it")
        return q, f"int{'/'.join(map(str, sorted(widths)))}"
    per = args.per or ("tensor" if args.target == "aidge" else "channel")
    scheme = quant.Scheme(
        quant.Grid(args.weights or args.bits, per=per), quant.Grid(args.activations or args.bits),
        ends=args.ends, step=args.steps, method=args.method,
    )  # fmt: skip
    q = quant.convert(graph, scheme, exclude=args.exclude)
    q = quant.calibrate(q, {k: data.columns[k] for k in graph.inputs}, args.calibration)
    names = [layer.name for layer in quant.layers(q)]
    some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    print(f"{graph.name}: {len(names)} layers quantized ({some}), steps {args.steps}, rounding to even")
    return q, scheme.name


def _trained(q: Graph, graph: Graph, data: Dataset, loss: str | None, args: argparse.Namespace) -> Graph:
    """After `--epochs`, on labels, or without them on what the model in floating point gives."""
    without = loss is None or args.distill is not None
    if without:
        print("loss: the distance to what the model in floating point gives")
    else:
        on, note = compared(q, str(loss))
        print(f"loss: {loss} on {on}{note}")
    with tqdm(total=args.epochs, unit="epoch", desc="training", disable=None, file=sys.stderr) as bar:
        how: dict[str, Any] = {"epochs": args.epochs, "batch_size": args.batch_size, "seed": args.seed}
        how["on_epoch"] = lambda record: bar.update()
        if args.lr is not None:
            how["rate"] = args.lr
        if without:
            feeds = {k: data.columns[k] for k in graph.inputs}
            return quant.distill(q, feeds, graph, blocks=args.distill == "blocks", **how)
        return quant.finetune(q, data, loss=str(loss), **how)[0]


def _compared(report: quant.Report | None, graph: Graph) -> str:
    if report is None:
        return "not compared"
    outputs = [r for r in report.rows if r.tensor == graph.outputs[0]]
    values, differing = (outputs[0].values, max(r.differing for r in outputs)) if outputs else (0, 0)
    return f"{differing} of {values} values differ"


class _Score:
    """How good a graph is on the test rows: against labels, or without them against the model in floating point."""

    def __init__(self, graph: Graph, test: Dataset, loss: str | None, target: Any) -> None:
        self.test, self.loss = fitting(graph, test), loss
        if target is None:
            if loss is not None:
                raise SettingError(f"--loss {loss} needs a column 'target', which the data lack")
            print("the data have no 'target': trained to give what the model gives in floating point, without labels")
            self.wanted = self._outputs(graph)
            self.classes = self.wanted.ndim == 2 and self.wanted.shape[1] > 1
            self.wanted = self.wanted.argmax(1) if self.classes else self.wanted
            self.word = "agreement" if self.classes else "squared error"
            return
        integer = target.dtype.kind in "iu" and target.ndim == 1
        self.loss = loss or ("cross_entropy" if integer else "mse")
        self.classes = self.loss in ("cross_entropy", "nll")
        self.word = "accuracy" if self.classes else "squared error"
        self.wanted = np.asarray(test.columns["target"])

    def _outputs(self, graph: Graph) -> np.ndarray:
        return np.concatenate([execute(graph, batch)[0] for batch in quant.each_batch(graph, self.test, rows=1024)])

    def __call__(self, graph: Graph) -> float:
        found = self._outputs(graph)
        wanted = self.wanted[: len(found)]  # a model of fixed batch size leaves a last part out
        if self.classes:
            return float(np.mean(found.argmax(1) == wanted))
        return float(np.mean((found - wanted) ** 2))


def _size(path: str) -> str:
    if os.path.isdir(path):
        total = sum(os.path.getsize(os.path.join(path, f)) for f in os.listdir(path))
    else:
        total = os.path.getsize(path)
    return f"{total / 1000:.0f} kB"
