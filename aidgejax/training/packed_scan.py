"""jax.lax.scan, whose scalars and random keys go from step to step as one vector, but on a CPU.

Optimizers count their updates once for each parameter, and a step has its own counters, key and figures.  On a GPU each
scalar that a loop carries or records is a kernel of its own, a third of all kernels of a small network's step; as one
vector they are one kernel.  On a CPU a scalar costs nothing to carry, and reading it from a vector is code of its own
for each place, where XLA:CPU compiles equal code once: twelve transformer blocks took twice as long to compile with
SGD, three times with Adam.  The numbers are the same to the bit: what has 32 bits, or is true or false, is seen as an
integer of 32 bits and taken apart again, not computed with.
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
        after, record = f(state.unpacked(packed), x)
        figures[:] = [_Packing(record)]
        return state.packed(after), figures[0].packed(record)

    last, records = jax.lax.scan(step, state.packed(carry), xs)
    return state.unpacked(last), figures[0].unpacked(records)


class _Packing:
    """Which leaves of a tree are joined: scalars of 32 bits, bools and random keys, and how many words each takes."""

    def __init__(self, tree: Any) -> None:
        leaves: list[Any]
        self._tree: Any
        leaves, self._tree = jax.tree.flatten(tree)
        sizes = {place: _words(leaf) for place, leaf in enumerate(leaves)}
        self._places = {place: size for place, size in sizes.items() if size}
        self._kinds = {place: leaves[place].dtype for place in self._places}
        if len(self._places) < 2:
            self._places = {}

    def packed(self, tree: Any) -> tuple[Any, list[Any]]:
        """(what is joined i32[n], None for nothing; the other leaves)"""
        leaves = self._tree.flatten_up_to(tree)
        words = [_as_words(leaves[k]) for k in self._places]
        return jnp.concatenate(words) if words else None, [x for k, x in enumerate(leaves) if k not in self._places]

    def unpacked(self, packed: tuple[Any, list[Any]]) -> Any:
        """The tree again; words [..., n] become leaves [...]."""
        words, others = packed
        found, at = {}, 0
        for k, size in self._places.items():
            found[k] = _from_words(words[..., at : at + size], self._kinds[k])
            at += size
        rest = iter(others)
        return self._tree.unflatten([found[k] if k in found else next(rest) for k in range(self._tree.num_leaves)])


def _words(x: Any) -> int:
    """How many integers of 32 bits a leaf is made of; 0 for one that stays as it is: an array, a number of other bits,
    one that takes the dtype of what it meets."""
    if not isinstance(x, jax.Array) or x.ndim:
        return 0
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return int(jax.eval_shape(jax.random.key_data, x).size)
    whole = x.dtype == bool or x.dtype.itemsize == 4
    return int(whole and not jnp.issubdtype(x.dtype, jax.dtypes.extended) and not jax.typeof(x).weak_type)


def _as_words(x: Any) -> Any:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.lax.bitcast_convert_type(jax.random.key_data(x), jnp.int32).reshape(-1)
    return (x.astype(jnp.int32) if x.dtype == bool else jax.lax.bitcast_convert_type(x, jnp.int32)).reshape(1)


def _from_words(words: Any, dtype: Any) -> Any:
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        bits = jax.lax.bitcast_convert_type(words, jnp.uint32)
        return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(jnp.empty(0, dtype)))
    return (
        words[..., 0] != 0 if jnp.issubdtype(dtype, jnp.bool_) else jax.lax.bitcast_convert_type(words[..., 0], dtype)
    )


def scan_in_python(f: Callable, carry: Any, xs: Any) -> tuple[Any, Any]:
    """jax.lax.scan, one step after the other in Python."""
    figures = []
    for k in range(jax.tree.leaves(xs)[0].shape[0]):
        carry, record = f(carry, jax.tree.map(lambda a: a[k], xs))  # noqa: B023
        figures.append(record)
    return carry, jax.tree.map(lambda *r: None if r[0] is None else jnp.stack(r), *figures)
