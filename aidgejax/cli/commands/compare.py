"""The JAX backend against the NumPy backend."""

from __future__ import annotations

import argparse

from ... import onnxio
from ...errors import DataError
from ...tools.compare import compare
from ...training.data import load_npz
from ..arguments import count, number
from ..optimizers import rules

HELP = "the JAX backend against the NumPy backend, node by node"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="M.onnx")
    add("--data", metavar="D.npz", help="a batch: arrays named as the model's inputs (default: random)")
    add("--steps", type=count(0), default=10, help="training steps to compare")
    add("--optimizer", default="sgd", choices=sorted(rules()), help="of these steps, with its default settings")
    add("--tolerance", type=number(0), default=1e-4, help="relative to a tensor's largest element")
    add("--seed", type=count(0), default=0)


def run(args: argparse.Namespace) -> int:
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
    report = compare(
        graph, batch=batch, steps=args.steps, tolerance=args.tolerance, seed=args.seed, optimizer=args.optimizer
    )
    print(report)
    return 0 if report.ok else 1
