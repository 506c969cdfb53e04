"""relax.op: the operators, as calls that a BlockBuilder emits.

What each computes and its gradient stand in aidgejax/ops; here are TVM's names, arguments and conventions: the slope of
abs and relu at 0 is 1, a tie of maximum goes to the first argument, one of minimum to the second.
"""

from ..expr import add, astype, divide, multiply, negative, power, subtract
from . import grad, nn
from .elementwise import (
    abs,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atanh,
    ceil,
    clip,
    cos,
    cosh,
    equal,
    erf,
    exp,
    floor,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    not_equal,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
    where,
)
from .movement import (
    broadcast_to,
    collapse_sum_to,
    concat,
    expand_dims,
    flatten,
    full,
    full_like,
    gather_elements,
    one_hot,
    ones,
    ones_like,
    permute_dims,
    reshape,
    split,
    squeeze,
    stack,
    strided_slice,
    take,
    tile,
    tril,
    triu,
    zeros,
    zeros_like,
)
from .reduce import argmax, argmin, cumsum, einsum, linear, matmul, max, mean, min, prod, std, sum, variance

__all__ = [
    "abs", "acos", "acosh", "add", "argmax", "argmin", "asin", "asinh", "astype", "atan", "atanh", "broadcast_to",
    "ceil", "clip", "collapse_sum_to", "concat", "cos", "cosh", "cumsum", "divide", "einsum", "equal", "erf", "exp",
    "expand_dims", "flatten", "floor", "full", "full_like", "gather_elements", "grad", "greater", "greater_equal",
    "less", "less_equal", "linear", "log", "logical_and", "logical_not", "logical_or", "matmul", "max", "maximum",
    "mean", "min", "minimum", "multiply", "negative", "nn", "not_equal", "one_hot", "ones", "ones_like",
    "permute_dims", "power", "prod", "reshape", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "split", "sqrt",
    "square", "squeeze", "stack", "std", "strided_slice", "subtract", "sum", "take", "tan", "tanh", "tile", "tril",
    "triu", "variance", "where", "zeros", "zeros_like",
]  # fmt: skip
