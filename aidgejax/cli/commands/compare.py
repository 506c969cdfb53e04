"""The JAX backend against the NumPy backend, or a step file against the model that it was written of.

python -m aidgejax compare model.onnx
python -m aidgejax compare model.onnx --step step.onnx
"""

from __future__ import annotations

import argparse

from ...tools.compare import compare
from ...tools.compare_step import batches_of, compare_step
from ...training.columns import columns_for, load_columns
from ...training.optimizers import rules
from ..arguments import count, number
from ..model_arguments import add_model_arguments, read_as_asked

HELP = "the JAX backend against the NumPy backend, node by node; or a training step's file against its model"
EXAMPLES = (
    "compare m.onnx",
    "compare m.onnx --data d.npz --steps 3",
    "compare m.onnx --step step.onnx",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="M.onnx", help="an ONNX file")
    add("--data", metavar="DATA", help="a batch: the model's inputs by name, or x, y (default: random)")
    add("--steps", type=count(0), default=10, help="training steps to compare")
    add("--optimizer", default="sgd", choices=sorted(rules()), help="of these steps, with its usual settings")
    add("--tolerance", type=number(0), default=1e-4, help="relative to a tensor's largest element")
    add("--seed", type=count(0), default=0)
    add("--step", metavar="STEP.onnx", help="a file that `step` wrote of the model: does it train as the model does?")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    graph = read_as_asked(args.model, args, free=bool(args.step))
    columns = columns_for(graph, load_columns(args.data)[0]).columns if args.data else None
    if args.step:
        batches = None if columns is None else batches_of(args.step, columns, args.steps)
        how = {"steps": args.steps, "tolerance": args.tolerance, "seed": args.seed}
        step = compare_step(args.step, graph, batches=batches, **how)
        print(step)
        return 0 if step.ok else 1
    batch = None if columns is None else {k: columns[k] for k in graph.inputs}
    report = compare(
        graph, batch=batch, steps=args.steps, tolerance=args.tolerance, seed=args.seed, optimizer=args.optimizer
    )
    print(report)
    return 0 if report.ok else 1
