"""Writes what a model answers to data."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ...errors import DataError, SettingError
from ...files import write_atomically
from ...tools.reading import read_for_data
from ...tools.train import predicted
from ...training.columns import columns_for, load_columns
from ..arguments import count
from ..model_arguments import add_model_arguments, read_model

HELP = "write a model's outputs for data"
EXAMPLES = ("predict m.onnx d.npz --out predictions.npz", "predict m.onnx d.csv --out predictions.csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="M.onnx", help="an ONNX file")
    add("data", metavar="DATA", help=".npz, .npy, .csv or a folder of images; its test part where it has one")
    add(
        "--out",
        metavar="P.npz",
        default="predictions.npz",
        help="an .npz of one array for each output, or a .csv of one row for each row of the data",
    )
    add("--layout", choices=("NCHW", "NHWC"), default="NCHW", help="of the images in the data")
    add("--batch-size", type=count(1), default=256)
    add_model_arguments(parser, roles=False)


def run(args: argparse.Namespace) -> None:
    if not args.out.lower().endswith((".npz", ".csv")):
        raise SettingError(f"--out {args.out!r}: predictions are written as .npz or as .csv")
    graph, notes = read_model(args.model, args)
    training, test = load_columns(args.data)
    rows = columns_for(graph, test or training, layout=args.layout)
    graph, more = read_for_data(partial(read_model, args.model, args), graph, rows, args.batch_size)
    found: dict[str, Any] = predicted(graph, rows, args.batch_size)
    write_atomically(_as_table(found) if args.out.lower().endswith(".csv") else _as_npz(found), args.out)
    for note in (*notes, *more, *rows.notes):
        print(note)
    print(f"{len(rows)} rows: {', '.join(f'{k} {v.dtype}{list(v.shape)}' for k, v in found.items())} in {args.out}")


def _as_npz(found: Mapping[str, np.ndarray]) -> bytes:
    held = io.BytesIO()
    np.savez(held, **found)  # type: ignore[arg-type]  # names are free, and savez has one of its own
    return held.getvalue()


def _as_table(found: Mapping[str, np.ndarray]) -> bytes:
    """One column for each output, or for each element of its rows: logits_0, logits_1, ..."""
    names, columns = [], []
    for name, a in found.items():
        rows = a.reshape(len(a), -1)
        if a.ndim > 2:
            raise DataError(
                f"output {name!r} has rows of shape {list(a.shape[1:])}: a table cannot hold it, an .npz can"
            )
        names += [name] if rows.shape[1] == 1 else [f"{name}_{k}" for k in range(rows.shape[1])]
        columns += list(rows.T)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue().encode()
