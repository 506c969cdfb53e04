"""Prints a model with its counts."""

from __future__ import annotations

import argparse

from ... import onnxio
from ...tools.inspect import inspect

HELP = "print a model, its parameter and FLOP counts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="M.onnx")
    parser.add_argument("--gradient", action="store_true", help="the backward graph too")


def run(args: argparse.Namespace) -> None:
    print(inspect(onnxio.read(args.model), gradient=args.gradient))
