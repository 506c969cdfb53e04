"""Writes what a model answers to data."""

from __future__ import annotations

import argparse
import io
from functools import partial
from typing import Any

import numpy as np

from ...files import write_atomically
from ...tools.reading import read_for_data
from ...tools.train import predicted
from ...training.columns import columns_for, load_columns
from ..arguments import count
from ..model_arguments import add_model_arguments, read_model

HELP = "write a model's outputs for data"
EXAMPLES = ("predict m.onnx d.npz --out predictions.npz",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="M.onnx", help="an ONNX file")
    add("data", metavar="DATA", help=".npz, .npy, .csv or a folder of images; its test part where it has one")
    add("--out", metavar="P.npz", default="predictions.npz", help="one array for each output")
    add("--layout", choices=("NCHW", "NHWC"), default="NCHW", help="of the images in the data")
    add("--batch-size", type=count(1), default=256)
    add_model_arguments(parser, roles=False)


def run(args: argparse.Namespace) -> None:
    graph, notes = read_model(args.model, args)
    training, test = load_columns(args.data)
    rows = columns_for(graph, test or training, layout=args.layout)
    graph, more = read_for_data(partial(read_model, args.model, args), graph, rows, args.batch_size)
    found: dict[str, Any] = predicted(graph, rows, args.batch_size)
    held = io.BytesIO()
    np.savez(held, **found)
    write_atomically(held.getvalue(), args.out)
    for note in (*notes, *more, *rows.notes):
        print(note)
    print(f"{len(rows)} rows: {', '.join(f'{k} {v.dtype}{list(v.shape)}' for k, v in found.items())} in {args.out}")
