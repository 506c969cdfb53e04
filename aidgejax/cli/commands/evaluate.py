"""Scores a model on data."""

from __future__ import annotations

import argparse
from functools import partial
from types import SimpleNamespace

from ...execution.program import make_program
from ...passes.loss import LOSSES
from ...tools.reading import read_for_data
from ...tools.task import fit_task
from ...tools.train import confusion_of, scored
from ...training.class_names import class_names
from ...training.columns import columns_for, load_columns
from ...training.fit import fitting
from ..arguments import count
from ..model_arguments import add_model_arguments, read_model

HELP = "score a model on data"
EXAMPLES = (
    "evaluate run/model.onnx d.npz",
    "evaluate m.onnx table.csv --confusion",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="M.onnx", help="an ONNX file")
    add("data", metavar="DATA", help=".npz, .npy, .csv or a folder of images; its test part where it has one")
    add("--loss", choices=sorted(LOSSES), help="default: the one that fits the targets")
    add("--output", metavar="NAME", nargs="+", help="which outputs are compared, where there are several")
    add("--layout", choices=("NCHW", "NHWC"), default="NCHW", help="of the images in the data")
    add("--batch-size", type=count(1), default=256)
    add("--confusion", action="store_true", help="how often each class (row) was taken for which (column)")
    add_model_arguments(parser, roles=False)


def run(args: argparse.Namespace) -> None:
    graph, notes = read_model(args.model, args)
    training, test = load_columns(args.data)
    rows = columns_for(graph, test or training, layout=args.layout)
    graph, more = read_for_data(partial(read_model, args.model, args), graph, rows, args.batch_size)
    task = fit_task(graph, rows.columns, args.loss, output=args.output)
    ready = fitting(task.graph, rows.with_columns(task.columns))
    program = make_program(task.graph, wrt=[], training=False)
    state = SimpleNamespace(params=program.graph.params, buffers=program.graph.buffers)
    found = scored(program, task, state, ready, args.batch_size)
    print(
        *notes,
        *more,
        *rows.notes,
        f"loss: {task.summary}",
        f"{len(ready)} rows of the {'test part of ' if test else ''}data",
        sep="\n",
    )
    print(", ".join(f"{k} {v:.4g}" for k, v in sorted(found.items())))
    if args.confusion:
        counts = confusion_of(graph, task, rows, args.batch_size)
        names = class_names(graph) if len(class_names(graph)) == len(counts) else [""] * len(counts)
        for row, name in zip(counts, names, strict=True):
            print(" ".join(f"{n:6d}" for n in row), name, sep="  " if name else "")
