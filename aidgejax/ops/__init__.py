"""Operators: one file per family, each with its forward, its gradient rule and its ONNX name side by side.

To add one: (1) here, in the family where a reader would look for it, or in a new file, which is found by itself;
(2) its definition in aidgejax/reference, from the specification and not from (1); (3) a row per situation in
tests/ops/cases.  A test fails while one is missing.
"""

import importlib
import pkgutil

from ._registry import OPERATORS, Operator, check_known, lookup, operator, positive_axes, shape_inference_only
from ._rows import rows_are_split, rows_split_over
from ._windows import Windows, windows

FAMILIES = tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))
for _family in FAMILIES:
    importlib.import_module(f"{__name__}.{_family}")

__all__ = [
    "FAMILIES",
    "OPERATORS",
    "Operator",
    "Windows",
    "check_known",
    "lookup",
    "operator",
    "positive_axes",
    "rows_are_split",
    "rows_split_over",
    "shape_inference_only",
    "windows",
]
