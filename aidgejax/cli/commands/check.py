"""Which nodes of a model a target does not take.

python -m aidgejax check step.onnx --target webnn
"""

from __future__ import annotations

import argparse

from ...onnxio.step.targets import TARGETS, outside

HELP = "list the nodes of an ONNX model that a runtime does not take"
EXAMPLES = ("check step.onnx --target webnn",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="M.onnx", help="an ONNX file")
    parser.add_argument("--target", choices=list(TARGETS), required=True, help="whose operators are taken")


def run(args: argparse.Namespace) -> int:
    found = outside(args.model, args.target)
    for node, operator, reason in found:
        print(f"{node} ({operator}): {reason}")
    print(f"{args.model}: {len(found) or 'no'} node{'' if len(found) == 1 else 's'} outside {args.target}")
    return 1 if found else 0
