"""jax.lax.scan, whose scalars go from step to step as one vector of each dtype, but on a CPU.

Optimizers count their updates once for each parameter, and a step has its own counters and figures.  On a GPU each
scalar that a loop carries or records is a kernel of its own, a third of all kernels of a small network's step; as one
vector they are one kernel.  On a CPU a scalar costs nothing to carry, and reading it from a vector is code of its own
for each place, where XLA:CPU compiles equal code once: twelve transformer blocks took twice as long to compile with
SGD, three times with Adam.  The numbers are the same to the bit: scalars are joined and taken apart, not computed with.
For programs that are not JAX's, the same walk in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def scan_steps(f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> tuple[Any, Any]:
    """As jax.lax.scan(f, carry, xs), packed where the program is lowered for anything but a CPU; f is traced once."""
    f = jax.jit(f)
    plain = lambda carry, xs: jax.lax.scan(f, carry, xs)
    return jax.lax.platform_dependent(carry, xs, cpu=plain, default=lambda carry, xs: packed_scan(f, carry, xs))


def packed_scan(f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> tuple[Any, Any]:
    """As jax.lax.scan(f, carry, xs), scalars packed."""
    state = _Packing(carry)
    figures: list[_Packing] = []

    def step(packed: Any, x: Any) -> tuple[Any, Any]:
        after, record = f(state.apart(packed), x)
        figures[:] = [_Packing(record)]
        return state.packed(after), figures[0].packed(record)

    last, records = jax.lax.scan(step, state.packed(carry), xs)
    return state.apart(last), figures[0].apart(records)


class _Packing:
    """Which leaves of a tree are scalars, by dtype."""

    def __init__(self, tree: Any) -> None:
        leaves: list[Any]
        self._tree: Any
        leaves, self._tree = jax.tree.flatten(tree)
        self._places: dict[str, list[int]] = {}
        for place, leaf in enumerate(leaves):
            if _is_plain_scalar(leaf):
                self._places.setdefault(str(leaf.dtype), []).append(place)
        self._places = {dtype: places for dtype, places in self._places.items() if len(places) > 1}

    def packed(self, tree: Any) -> tuple[dict[str, Any], list[Any]]:
        """({dtype: its scalars [n]}, the other leaves)"""
        leaves = self._tree.flatten_up_to(tree)
        vectors = {dtype: jnp.stack([leaves[k] for k in places]) for dtype, places in self._places.items()}
        inside = {k for places in self._places.values() for k in places}
        return vectors, [leaf for k, leaf in enumerate(leaves) if k not in inside]

    def apart(self, packed: tuple[dict[str, Any], list[Any]]) -> Any:
        """The tree again; scalars [..., n] become [...]."""
        vectors, others = packed
        found = {k: vectors[d][..., n] for d, places in self._places.items() for n, k in enumerate(places)}
        rest = iter(others)
        return self._tree.unflatten([found[k] if k in found else next(rest) for k in range(self._tree.num_leaves)])


def _is_plain_scalar(x: Any) -> bool:
    """A number with a dtype of its own: no PRNG key, and none that takes the dtype of what it meets."""
    if not isinstance(x, jax.Array) or x.ndim or jnp.issubdtype(x.dtype, jax.dtypes.extended):
        return False
    return not jax.typeof(x).weak_type


def scan_in_python(f: Callable, carry: Any, xs: Any) -> tuple[Any, Any]:
    """jax.lax.scan, one step after the other in Python."""
    figures = []
    for k in range(jax.tree.leaves(xs)[0].shape[0]):
        carry, record = f(carry, jax.tree.map(lambda a: a[k], xs))  # noqa: B023
        figures.append(record)
    return carry, jax.tree.map(lambda *r: None if r[0] is None else jnp.stack(r), *figures)
