"""Values known before a program is compiled: what decides a shape is computed from constants and shapes, in int64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ..graph import Graph
from ..ops import Operator, lookup, shape_inference_only
from ..ops.control_flow import is_control_flow

FOLD_LIMIT = 1 << 20  # elements; metadata larger than this is a mistake, not a shape


def is_concrete(x: Any) -> bool:
    return not isinstance(x, jax.core.Tracer | jax.ShapeDtypeStruct)


def fold(operator: Operator, args: list, keywords: dict[str, Any]) -> tuple:
    """Execute a node while tracing; the results are NumPy arrays, with int64 kept."""
    shaped = [a if is_concrete(a) else jax.ShapeDtypeStruct(np.shape(a), a.dtype) for a in args]
    same = cache_key(operator, args, keywords, {k: str(s) for k, s in enumerate(shaped) if not is_concrete(s)})
    return memoized(same and ("folded", *same), lambda: _folded(operator, args, shaped, keywords))


def _folded(operator: Operator, args: list, shaped: list, keywords: dict[str, Any]) -> tuple:
    if not operator.shape_only:
        with jax.enable_x64(True), shape_inference_only():
            # In 64 bits: where everything is computed at once, eval_shape would compute too
            sizes = jax.tree.leaves(jax.eval_shape(lambda: operator.forward(*args, **keywords)))
        if sum(s.size for s in sizes) > FOLD_LIMIT:
            raise GraphError(
                f"it would compute {sum(s.size for s in sizes)} elements while the graph is lowered; "
                f"a shape has fewer than {FOLD_LIMIT}"
            )
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        if not operator.shape_only:  # a NumPy int64 that meets what was compiled for 32 bits would be cut down to it
            named = (*operator.inputs, *[None] * len(args))
            args = [
                jnp.asarray(a) if isinstance(a, np.ndarray) and name not in operator.static else a
                for name, a in zip(named, args, strict=False)
            ]
        result = operator.forward(*(shaped if operator.shape_only else args), **keywords)
    results = result if isinstance(result, tuple) else (result,)
    return tuple(None if r is None else np.asarray(r) for r in results)


# The shapes that come out of a forward depend on its settings, on small values, and on the shapes of the rest.
# Networks repeat themselves, and are asked about when they are read, differentiated, lowered and written.
SMALL = 64


CACHE_LIMIT = 1 << 14


_SHAPE_CACHE: dict[Any, Any] = {}


def memoized(same: Any, answer: Callable[[], Any]) -> Any:
    if same is None:
        return answer()
    if same not in _SHAPE_CACHE:
        if len(_SHAPE_CACHE) >= CACHE_LIMIT:
            _SHAPE_CACHE.clear()
        _SHAPE_CACHE[same] = answer()
    return _SHAPE_CACHE[same]


def cache_key(operator: Operator, args: list, keywords: dict[str, Any], structs: dict[int, str]) -> Any:
    """A hashable key that is equal where the result is; None where there is none."""
    parts = [structs[k] if k in structs else key_of(a) for k, a in enumerate(args)]
    parts += [key_of(v) for v in keywords.values()]
    return None if None in parts else (operator.forward, *keywords, *parts)


def key_of(value: Any) -> str | None:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list):
        parts = [key_of(v) for v in value]
        return None if None in parts else f"({','.join(map(str, parts))})"
    plain = isinstance(value, np.ndarray | np.generic | jax.Array) and isinstance(value.dtype, np.dtype)
    if plain and is_concrete(value) and value.dtype != object and np.size(value) <= SMALL:
        array = np.asarray(value)
        return f"{array.dtype}{array.shape}{array.tobytes().hex()}"
    return None


def compile_time_values(graph: Graph) -> frozenset[str]:
    """The tensors whose values must be compile-time constants."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if is_control_flow(node):
            continue
        operator = lookup(node.op)
        for n, i in enumerate(node.inputs):
            named = operator.inputs[n] if n < len(operator.inputs) else None
            if isinstance(i, str) and named in operator.static:
                found.add(i)
        if found.intersection(node.output_names) and not operator.shape_only:
            found.update(node.input_names)
    return frozenset(found)
