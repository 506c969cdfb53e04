"""Training artifacts of a model.

python -m aidgejax artifacts model.onnx --loss CrossEntropyLoss --optimizer AdamW --requires-grad fc.weight
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from typing import Any

from ...errors import SettingError
from ...onnxio.artifacts.generate import RUNTIMES, write_artifacts
from ...onnxio.artifacts.losses import LOSSES
from ...onnxio.exporter.coverage import table
from ...training import optim
from ...training.optimizers import rules
from ..model_arguments import shapes_of
from ..optimizers import add_settings, optimizer

HELP = "write training artifacts of an ONNX model, which any ONNX runtime can train"
EXAMPLES = (
    "artifacts m.onnx --loss CrossEntropyLoss --optimizer AdamW --out artifacts",
    "artifacts --operators",
)
# ONNX Runtime's two optimizers differ from the same names elsewhere.
ORT_OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "AdamW": ("adamw", {"decay": "after", "epsilon": 1e-6, "weight_decay": 0.0}),
    "SGD": ("sgd", {}),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="M.onnx", nargs="?", help="the forward model, an ONNX file")
    add("--operators", action="store_true", help="print which operators have a gradient that can be written, and stop")
    add("--loss", choices=list(LOSSES), help="default: the model's first output is the loss")
    add(
        "--optimizer",
        choices=[*ORT_OPTIMIZERS, *sorted(rules())],
        help="AdamW and SGD as ONNX Runtime has them, the others as aidgejax does; default: no optimizer model is "
        "written",
    )
    add_settings(parser)
    add("--clip-norm", type=float, metavar="NORM", help="clip the gradients to this common norm")
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
    add("--output", nargs="+", default=[], metavar="NAME", help="tensors to output beside the loss")
    add("--loss-input", nargs="+", default=[], metavar="NAME", help="outputs that the loss takes; default: all")
    add("--batch", metavar="NAME", help="a name for a batch that the file fixes")
    add("--shapes", nargs="+", metavar="X=N,1,28,28", help="sizes of an input, or a size by name, such as H=28")
    add("--nominal", action="store_true", help="write a checkpoint of names and types as well")
    add("--ort-format", action="store_true", help="write ONNX Runtime's own format as well")
    add(
        "--runtime",
        choices=RUNTIMES,
        default=RUNTIMES[0],
        help="whose operators the artifacts hold: ONNX's own, or those of ONNX Runtime's training build",
    )


def run(args: argparse.Namespace) -> int:
    if args.operators:
        print(table())
        return 0
    if args.model is None:
        raise SettingError("artifacts needs a model: python -m aidgejax artifacts model.onnx --loss MSELoss")
    rule = _optimizer(args)
    made = _folder(args.out)
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", UserWarning)
            files = write_artifacts(
                args.model,
                args.out,
                loss=args.loss,
                optimizer=rule,
                trainable=args.requires_grad,
                frozen=args.frozen,
                outputs=args.output,
                loss_inputs=args.loss_input,
                prefix=args.prefix,
                nominal=args.nominal,
                ort_format=args.ort_format,
                runtime=args.runtime,
                shapes=shapes_of(args.shapes or ()),
                batch=args.batch,
            )
    except SettingError as e:
        raise SettingError(str(e).replace("loss_inputs=[...]", "--loss-input NAME")) from None
    finally:
        if made and not os.listdir(args.out):
            os.rmdir(args.out)
    for warning in noted:
        print(f"note: {warning.message}", file=sys.stderr)
    for path in files:
        print(f"{path}  {path.stat().st_size} bytes")
    return 0


def _optimizer(args: argparse.Namespace) -> Any:
    """What write_artifacts takes: an optimizer of ours, or a name and settings for ONNX Runtime's own nodes."""
    if args.optimizer is None:
        return None
    if args.clip_norm is not None and not args.clip_norm > 0:
        raise SettingError(f"--clip-norm is {args.clip_norm}; expected a number above 0")
    if args.runtime != RUNTIMES[0]:
        if args.optimizer not in ORT_OPTIMIZERS:
            raise SettingError(
                f"ONNX Runtime's training build has no optimizer {args.optimizer}: it has "
                f"{', '.join(ORT_OPTIMIZERS)}; leave out --runtime to write it in ONNX's own operators"
            )
        name, settings = ORT_OPTIMIZERS[args.optimizer]
        if args.momentum or args.setting or (args.weight_decay and name == "sgd"):
            raise SettingError(f"ONNX Runtime's {args.optimizer} takes no such setting with --runtime {args.runtime}")
        if args.weight_decay is not None and name == "adamw":
            settings = {**settings, "weight_decay": args.weight_decay}
        return name, {**settings, "max_norm": args.clip_norm}
    name, settings = ORT_OPTIMIZERS.get(args.optimizer, (args.optimizer, {}))
    rule = optimizer(name, args, **settings)
    return optim.clipped(rule, args.clip_norm) if args.clip_norm is not None else rule


def _folder(path: str) -> bool:
    """Make the folder; was there none?"""
    try:
        before = os.path.isdir(path)
        os.makedirs(path, exist_ok=True)
    except OSError as e:
        raise SettingError(f"cannot make the folder {path!r} (--out): {e.strerror}") from None
    return not before
