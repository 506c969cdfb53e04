"""Double precision: a model whose parameters have 64 bits is trained and evaluated in 64 bits, as its file says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np

from ..dtypes import x64_for
from ..execution.program_like import ProgramLike
from ..graph import Graph, Value
from ..passes.precision import is_double

P = ParamSpec("P")
T = TypeVar("T")
Q = TypeVar("Q", bound=ProgramLike)


def in_its_width(graph: Graph) -> AbstractContextManager[None]:
    """In which JAX computes the graph in the width of its parameters."""
    return x64_for(["float64"] if is_double(graph) else [])


def as_wide(value: Value, array: np.ndarray) -> np.ndarray:
    """An array of floats as float64, for an input that has it."""
    return array.astype(np.float64, copy=False) if value.dtype == "float64" and array.dtype.kind == "f" else array


def of_its_width(function: Callable[Concatenate[Q, P], T]) -> Callable[Concatenate[Q, P], T]:
    """f(program, ...), called in the width of the program's parameters."""

    @wraps(function)
    def call(program: Q, *args: P.args, **kwargs: P.kwargs) -> T:
        graph = getattr(program, "graph", None)
        if not isinstance(graph, Graph):
            return function(program, *args, **kwargs)
        with in_its_width(graph):
            return function(program, *args, **kwargs)

    return call
