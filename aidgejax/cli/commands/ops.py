"""The formula sheet.

python -m aidgejax ops Conv "*Pool*"
"""

from __future__ import annotations

import argparse

from ...tools.inspect import formula_sheet

HELP = "the formula sheet: every operator"
EXAMPLES = ("ops", "ops Conv '*Pool*'")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="names or patterns (default: all)")


def run(args: argparse.Namespace) -> None:
    print(formula_sheet(args.names))
