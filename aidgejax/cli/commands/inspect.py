"""Prints a model with its counts."""

from __future__ import annotations

import argparse

from ... import onnxio
from ...tools.inspect import inspect
from ...tools.summary import summary

HELP = "print a model, its parameter and FLOP counts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="M.onnx")
    parser.add_argument("--gradient", action="store_true", help="the backward graph too")
    parser.add_argument("--layers", action="store_true", help="a table by layer instead of the graph")


def run(args: argparse.Namespace) -> None:
    if args.layers:
        print(summary(onnxio.read(args.model)))
        return
    print(inspect(onnxio.read(args.model), gradient=args.gradient))
