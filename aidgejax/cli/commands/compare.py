"""The JAX backend against the NumPy backend."""

from __future__ import annotations

import argparse

from ...tools.compare import compare
from ...training.columns import columns_for, load_columns
from ...training.optimizers import rules
from ..arguments import count, number
from ..model_arguments import add_model_arguments, read_as_asked

HELP = "the JAX backend against the NumPy backend, node by node"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="M.onnx")
    add("--data", metavar="DATA", help="a batch: the model's inputs by name, or x, y (default: random)")
    add("--steps", type=count(0), default=10, help="training steps to compare")
    add("--optimizer", default="sgd", choices=sorted(rules()), help="of these steps, with its default settings")
    add("--tolerance", type=number(0), default=1e-4, help="relative to a tensor's largest element")
    add("--seed", type=count(0), default=0)
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    graph = read_as_asked(args.model, args)
    batch = None
    if args.data:
        columns = columns_for(graph, load_columns(args.data)[0]).columns
        batch = {k: columns[k] for k in graph.inputs}
    report = compare(
        graph, batch=batch, steps=args.steps, tolerance=args.tolerance, seed=args.seed, optimizer=args.optimizer
    )
    print(report)
    return 0 if report.ok else 1
