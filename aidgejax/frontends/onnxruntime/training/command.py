"""The command line: `run` with the arguments that `add_arguments` declares.

python -m aidgejax artifacts model.onnx --loss CrossEntropyLoss --optimizer AdamW --requires-grad fc.weight
"""

from __future__ import annotations

import argparse
import os

from ....errors import SettingError
from ....onnxio import read
from ....onnxio.exporter.coverage import table
from ._errors import LossArguments
from .artifacts import RUNTIMES, LossType, OptimType, generate_artifacts

HELP = "write training artifacts of an ONNX model, which any ONNX runtime can train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; `run` takes what is parsed."""
    add = parser.add_argument
    add("model", nargs="?", help="the forward model, an ONNX file")
    add("--operators", action="store_true", help="print which operators have a gradient that can be written, and stop")
    add("--loss", choices=[loss.name for loss in LossType], help="default: the model's first output is the loss")
    add("--optimizer", choices=[o.name for o in OptimType], help="default: no optimizer model is written")
    add("--requires-grad", nargs="+", metavar="NAME", help="initializers to train; default: all weights")
    add(
        "--frozen",
        nargs="+",
        metavar="NAME",
        help="initializers that become inputs and are not trained; default, with all weights trained: the running "
        "statistics of BatchNormalization",
    )
    add("--out", default=".", metavar="DIR", help="where to write them; it is made if need be")
    add("--prefix", default="", help="what the files' names begin with")
    add("--output", nargs="+", metavar="NAME", help="tensors to output beside the loss")
    add("--loss-input", nargs="+", metavar="NAME", help="outputs that the loss takes; default: all")
    add("--nominal", action="store_true", help="write a checkpoint of names and types as well")
    add("--ort-format", action="store_true", help="write ONNX Runtime's own format as well")
    add(
        "--runtime",
        choices=RUNTIMES,
        default=RUNTIMES[0],
        help="whose operators the artifacts hold: ONNX's own, or those of ONNX Runtime's training build",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.operators:
        print(table())
        return 0
    if args.model is None:
        raise SettingError("artifacts needs a model: python -m aidgejax artifacts model.onnx --loss MSELoss")
    trainable, frozen = args.requires_grad, args.frozen
    if trainable is None:
        graph = read(args.model)
        frozen = list(graph.buffers) if frozen is None else frozen
        trainable = [p for p in graph.params if p not in frozen]
    made = _folder(args.out)
    try:
        generate_artifacts(
            args.model,
            trainable,
            frozen,
            LossType[args.loss] if args.loss else None,
            OptimType[args.optimizer] if args.optimizer else None,
            args.out,
            args.prefix,
            args.ort_format,
            additional_output_names=args.output,
            nominal_checkpoint=args.nominal,
            loss_input_names=args.loss_input,
            runtime=args.runtime,
        )
    except LossArguments as e:
        raise SettingError(str(e).replace("loss_input_names=[...]", "--loss-input NAME")) from None
    finally:
        if made and not os.listdir(args.out):
            os.rmdir(args.out)
    models = ["training_model", "eval_model", *(["optimizer_model"] if args.optimizer else [])]
    kinds = [".onnx", *([".ort", ".required_operators.config"] if args.ort_format else [])]
    names = [m + kind for m in models for kind in kinds] + ["checkpoint", *(["nominal_checkpoint"] * args.nominal)]
    for name in names:
        path = os.path.join(args.out, args.prefix + name)
        print(f"{path}  {os.path.getsize(path)} bytes")
    return 0


def _folder(path: str) -> bool:
    """Make the folder; was there none?"""
    try:
        before = os.path.isdir(path)
        os.makedirs(path, exist_ok=True)
    except OSError as e:
        raise SettingError(f"cannot make the folder {path!r} (--out): {e.strerror}") from None
    return not before
