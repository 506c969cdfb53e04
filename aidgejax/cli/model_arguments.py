"""Arguments that say how a model is read: its batch, its ends, and what of it is trained."""

from __future__ import annotations

import argparse
from typing import Any

from ..graph import Graph
from ..tools.train import read_for_training


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--batch", metavar="NAME", help="a name for a batch that the file fixes (done by itself where it is 1)")
    add("--inputs", nargs="+", metavar="TENSOR", help="cut the model off here; default: the file's")
    add("--outputs", nargs="+", metavar="TENSOR", help="cut the model off here; default: the file's")
    add("--parameters", nargs="+", metavar="NAME", help="what is trained: exactly these names or patterns")
    add("--constants", nargs="+", metavar="NAME", help="names or patterns of what is left alone")


def read_model(path: Any, args: argparse.Namespace) -> tuple[Graph, tuple[str, ...]]:
    """(the graph, lines to print)."""
    ends = {k: v for k in ("inputs", "outputs") if (v := getattr(args, k, None))}
    roles = {k: getattr(args, k) or None for k in ("parameters", "constants")}
    return read_for_training(path, batch=args.batch, **roles, **ends)
