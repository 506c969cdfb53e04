"""Operators: one file per family, each with its forward, its gradient rule and its ONNX name side by side.

To add one: (1) here, in the family where a reader would look for it; (2) its definition in aidgejax/reference, from the
specification and not from (1); (3) a row per situation in tests/ops/cases.  A test fails while one is missing.
"""

from . import (
    activation,
    analog,
    compare,
    conv,
    cut,
    elementwise,
    index,
    loss,
    loss_elementwise,
    matmul,
    movement,
    norm,
    norm_local,
    periphery,
    pool,
    quantize,
    random,
    reduce,
    resize,
    shapes,
    spiking,
    unary,
    unfold,
)
from ._operator import OPERATORS, Operator, check_known, lookup, operator

__all__ = [
    "OPERATORS",
    "Operator",
    "activation",
    "analog",
    "check_known",
    "compare",
    "conv",
    "cut",
    "elementwise",
    "index",
    "lookup",
    "loss",
    "loss_elementwise",
    "matmul",
    "movement",
    "norm",
    "norm_local",
    "operator",
    "periphery",
    "pool",
    "quantize",
    "random",
    "reduce",
    "resize",
    "shapes",
    "spiking",
    "unary",
    "unfold",
]
