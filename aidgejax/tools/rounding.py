"""How far two arrays are from each other, and how far rounding to 16 bits alone takes them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..dtypes import bits, is_float
from ..execution.numpy_program import NumpyProgram
from ..execution.program import Arrays, Program
from ..graph import Graph


def size_of(b: Any) -> float:
    b = np.asarray(b)
    numbers = b.astype(np.float64) if _is_number(b) else np.ones(1)
    finite = np.abs(numbers[np.isfinite(numbers)])
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def difference_of(a: Any, b: Any, size: float) -> float:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return float("inf")
    if not _is_number(b) or not b.size:
        return float(np.any(a != b))
    a, b = a.astype(np.float64), b.astype(np.float64)
    both = (a == b) | (np.isnan(a) & np.isnan(b))
    gap = np.where(both, 0.0, np.abs(a - b))
    return float(np.nan_to_num(gap, nan=np.inf).max() / size)


def nonfinite(a: Any, b: Any) -> bool:
    if not is_float(np.asarray(b).dtype):
        return False
    return not any(np.isfinite(np.asarray(x).astype(np.float64)).all() for x in (a, b))


def _is_number(b: np.ndarray) -> bool:
    return b.dtype.kind in "fiu" or is_float(b.dtype)


def steps_before(graph: Graph, tensors: Arrays) -> dict[str, float]:
    """{tensor: the largest step of what it is computed from}: numbers that were rounded stay so in float32."""
    found = {name: step_of(a) for name, a in tensors.items()}
    for n in graph.nodes:
        before = max((found.get(i, 0.0) for i in n.input_names), default=0.0)
        for o in n.output_names:
            found[o] = max(found.get(o, 0.0), before)
    return found


def step_of(b: Any) -> float:
    dtype = np.asarray(b).dtype
    return float(jnp.finfo(dtype).eps) if is_float(dtype) and bits(dtype) <= 16 else 0.0


def noise_of(a: Any, exact: Any, size: float) -> float:
    """How far an array is from the same in float64; 0 where that is not known."""
    found = 0.0 if a is exact else difference_of(a, exact, size)
    return found if np.isfinite(found) else 0.0


def by_rules_in_float64(program: Program, found: Arrays, exact: Arrays, cotangents: Arrays) -> tuple[Arrays, Arrays]:
    """Gradients where every number that is held in 16 bits is off by up to a step of them, and where none is."""
    rng, numpy = np.random.default_rng(0), NumpyProgram(program)
    off = {k: a * (1 + s * rng.uniform(-1, 1, a.shape)) if (s := step_of(found[k])) else a for k, a in exact.items()}
    d = {k: a.astype(np.float64) for k, a in cotangents.items()}
    return numpy.backward_from_gradient_graph(off, d), numpy.backward_from_gradient_graph(exact, d)
