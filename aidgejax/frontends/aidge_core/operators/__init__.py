"""Aidge's operators, each in a line or two of the core's; one module per family, found by being there.

Formulas and gradients stand in aidgejax/ops.
"""

import importlib
import pkgutil

from .definition import CLASSES, FLT_MAX, NO_SEED, SAME_RANK, TYPES, checked_channels, define, ints, make_operator

FAMILIES = tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "definition"))
for _family in FAMILIES:
    importlib.import_module(f"{__name__}.{_family}")

__all__ = [
    "CLASSES", "FAMILIES", "FLT_MAX", "NO_SEED", "SAME_RANK", "TYPES", "checked_channels", "define", "ints",
    "make_operator",
]  # fmt: skip
