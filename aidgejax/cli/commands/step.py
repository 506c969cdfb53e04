"""A training step in one ONNX file.

python -m aidgejax step model.onnx --loss CrossEntropyLoss --optimizer sgd --momentum 0.9 --out step.onnx
"""

from __future__ import annotations

import argparse
import os

from ... import onnxio
from ...errors import SettingError
from ...interpreter.shape_inference import infer_shapes
from ...onnxio.step.targets import TARGETS
from ...onnxio.step.write import ORT_LOSSES
from ...passes.loss import LOSSES
from ...tools.task import compared
from ...training.optimizers import rules
from ..arguments import count, number
from ..model_arguments import read_with_free_batch, shapes_of
from ..optimizers import add_settings, optimizer
from ..schedules import SCHEDULES, schedule_named

HELP = "write forward, loss, gradient and optimizer of an ONNX model as one file, which any ONNX runtime can train"
EXAMPLES = ("step m.onnx --loss cross_entropy --optimizer sgd --momentum 0.9 --batch 32 --out step.onnx",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="M.onnx", help="the forward model, an ONNX file")
    add(
        "--loss",
        default="loss",
        help=f"a tensor of the model, or a loss to append: {', '.join((*LOSSES, *ORT_LOSSES))}",
    )
    add("--prediction", metavar="TENSOR", help="what an appended loss compares, of a model with several outputs")
    names = {name.lower(): name for name in rules()}
    add("--optimizer", choices=sorted(rules()), type=lambda text: names.get(text.lower(), text), default="sgd")
    add_settings(parser)
    add("--schedule", choices=sorted(SCHEDULES), help="compute the rate in the file; default: it is an input")
    add("--lr", type=number(0), help="of --schedule: the highest rate")
    add("--steps", type=count(1), help="of --schedule: the updates until its end")
    add("--warmup", type=count(0), help="of --schedule: updates of linear warm-up before it")
    add("--train", nargs="+", metavar="NAME", help="parameters to train; default: all")
    add("--frozen", nargs="+", default=[], metavar="NAME", help="parameters to leave alone")
    add("--clip-norm", type=number(0), metavar="NORM", help="clip the gradients to this common norm")
    add("--accumulate", type=count(1), default=1, help="batches per update")
    add(
        "--batch",
        metavar="B",
        help="a batch size, for which shapes are folded, or a name; default: as the model has it",
    )
    add("--shapes", nargs="+", metavar="X=N,1,28,28", help="sizes of an input, or a size by name, such as H=28")
    add("--target", choices=list(TARGETS), help="whose operators the file is to hold; default: all of ONNX's own")
    add("--opset", type=count(13), default=17)
    add("--output", nargs="+", default=[], metavar="NAME", help="tensors to output beside the loss")
    add("--out", metavar="STEP.onnx", default="step.onnx", help="the file; .npz and .bin of the state go beside it")


def _batch(text: str | None) -> tuple[int | None, str]:
    """(the number, the name of a symbolic batch)"""
    if text is None or not text.lstrip("-").isdigit():
        return None, text or "N"
    return count(1)(text), "N"


def run(args: argparse.Namespace) -> int:
    folder = os.path.dirname(os.path.abspath(args.out))
    if not os.path.isdir(folder):
        raise SettingError(f"--out {args.out!r}: there is no folder {folder!r}")
    rows, name = _batch(args.batch)
    graph = read_with_free_batch(args.model, name if args.batch else None, shapes=shapes_of(args.shapes or ()))
    if args.schedule and None in (args.lr, args.steps):
        raise SettingError("--schedule needs --lr, its highest rate, and --steps, the updates until its end")
    if not args.schedule and any(v is not None for v in (args.lr, args.steps, args.warmup)):
        raise SettingError("--lr, --steps and --warmup belong to --schedule; without it the rate is an input")
    prediction, note = args.prediction, ""
    loss = ORT_LOSSES.get(args.loss, args.loss)
    if prediction is None and loss in LOSSES and not graph.has(args.loss) and len(graph.outputs) == 1:
        graph = infer_shapes(graph)
        prediction, note = compared(graph, loss)
    step = onnxio.write_step(
        graph,
        None,
        args.out,
        optimizer=optimizer(args.optimizer, args),
        loss=args.loss,
        train=args.train,
        frozen=args.frozen,
        clip_norm=args.clip_norm,
        accumulate=args.accumulate,
        schedule=schedule_named(args.schedule, args.lr, args.steps, args.warmup) if args.schedule else None,
        batch=rows,
        target=args.target,
        opset=args.opset,
        outputs=args.output,
        prediction=prediction if note else args.prediction,
    )
    state = sum(a.nbytes for a in step.initial.values())
    print(f"{step.path}  {os.path.getsize(step.path)} bytes, {len(step.model.graph.node)} nodes")
    print(f"batch: {', '.join(step.batch)}; scalars: {', '.join(step.scalars) or 'none'}; loss: {step.loss}")
    if note:
        print(f"{loss} on {prediction}{note}")
    print(f"trained: {', '.join(step.parameters)}")
    print(f"state: {len(step.state)} tensors, {state} bytes; each comes back as <name>.next")
    return 0
