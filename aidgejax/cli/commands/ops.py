"""The formula sheet."""

from __future__ import annotations

import argparse

from ...tools.inspect import formula_sheet

HELP = "the formula sheet: every operator"
EXAMPLES = ("ops",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(args: argparse.Namespace) -> None:
    print(formula_sheet())
