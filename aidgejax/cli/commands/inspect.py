"""Prints a model with its counts."""

from __future__ import annotations

import argparse

from ...execution.devices import make_cpu_devices
from ...execution.program import make_program
from ...passes.precision import COMPUTE, precision
from ...passes.recompute import recompute
from ...tools.inspect import inspect
from ...tools.spread import spread
from ...tools.step_memory import StepMemory, step_memory
from ...tools.summary import summary
from ...training.optimizers import rules
from ...training.parallel import data_parallel, sharded
from ..arguments import count
from ..model_arguments import add_model_arguments, read_as_asked, read_model

HELP = "print a model, its parameter and FLOP counts"
EXAMPLES = (
    "inspect m.onnx --layers",
    "inspect m.onnx --training --batch-size 64",
    "inspect m.onnx --gradient",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="M.onnx", help="an ONNX file")
    parser.add_argument("--gradient", action="store_true", help="the backward graph too")
    parser.add_argument("--layers", action="store_true", help="a table by layer instead of the graph")
    parser.add_argument("--training", action="store_true", help="the bytes of a training step, before compiling it")
    parser.add_argument("--batch-size", type=count(1), default=32, help="of --training (default: 32)")
    parser.add_argument("--optimizer", choices=sorted(rules()), default="adam", help="of --training (default: adam)")
    parser.add_argument("--precision", choices=COMPUTE, default="float32", help="of --training (default: float32)")
    parser.add_argument(
        "--recompute",
        default="none",
        metavar="POLICY",
        help="of --training: none, blocks, products, or a number of bytes (default: none)",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--devices", type=count(1), metavar="N", help="compile a step for N devices: bytes on each, and what it sends"
    )
    parser.add_argument("--sharded", action="store_true", help="of --devices: parameters and optimizer state split too")


def run(args: argparse.Namespace) -> None:
    if args.devices:
        make_cpu_devices(args.devices)
        placement = sharded(mesh=args.devices) if args.sharded else data_parallel(args.devices)
        graph, _ = read_model(args.model, args)
        print(spread(graph, rules()[args.optimizer](), placement, batch_size=args.batch_size))
        return
    if args.training:
        print(_training(args))
        return
    graph = read_as_asked(args.model, args)
    print(summary(graph) if args.layers else inspect(graph, gradient=args.gradient))


def _training(args: argparse.Namespace) -> StepMemory:
    """The step without its loss, whose tensors are few."""
    graph, _ = read_model(args.model, args)
    sizes = {v.shape[0]: args.batch_size for v in graph.inputs.values() if v.shape and isinstance(v.shape[0], str)}
    policy = int(args.recompute) if args.recompute.isdigit() else args.recompute
    graph = recompute(precision(graph, args.precision), policy, sizes=sizes)
    return step_memory(make_program(graph, training=True), rules()[args.optimizer](), sizes=sizes)
