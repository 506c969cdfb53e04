"""The arrays of a pytree under names, and its structure as JSON: what a checkpoint holds; and their copies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..dtypes import DTYPES
from ..errors import CheckpointError
from .pieces import is_split
from .placed_arrays import put


@dataclass(frozen=True)
class Leaf:
    """One array of the tree.  kind: "array", "python" (a number), or "key" with the name of its PRNG in impl."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: str = "array"
    impl: str | None = None

    def __str__(self) -> str:
        what = {"array": "", "python": " (a Python number)", "key": f" (a PRNG key, {self.impl})"}[self.kind]
        return f"{self.dtype}{list(self.shape)}{what}"


def take_apart(tree: Any) -> tuple[list[Leaf], list[Any], Any]:
    """Leaves, their bytes as arrays in C order, and the structure in JSON: a leaf is its number.

    An array that several processes hold together stays what it is.
    """
    paths, _ = _flatten(tree)
    leaves: list[Leaf] = []
    arrays: list[Any] = []
    for path, x in paths:
        leaf = _leaf(_name(path), x)
        if is_split(x):
            leaves.append(leaf)
            arrays.append(x)
            continue
        try:
            data = np.asarray(jax.device_get(jax.random.key_data(x) if leaf.kind == "key" else x))
        except (RuntimeError, ValueError) as e:
            raise CheckpointError(f"cannot save {leaf.name}: {e}") from e
        leaves.append(leaf)
        arrays.append(np.ascontiguousarray(data, DTYPES[leaf.dtype]).reshape(leaf.shape))
    return leaves, arrays, _outline(tree, iter(range(len(leaves))))


def _flatten(tree: Any) -> tuple[list, Any]:
    try:
        return jax.tree_util.tree_flatten_with_path(tree)
    except (ValueError, TypeError) as e:
        raise CheckpointError(
            f"jax cannot walk this tree: {str(e).rstrip('.')}. The keys of a dict must be of one type"
        ) from e


def _leaf(name: str, x: Any) -> Leaf:
    if type(x) in (bool, int, float):  # not np.float64, which is a float too
        if type(x) is int and not -(2**63) <= x < 2**63:
            raise CheckpointError(f"cannot save {name}: {x} does not fit 64 bits")
        return Leaf(name, {bool: "bool", int: "int64", float: "float64"}[type(x)], (), "python")
    dtype, shape = getattr(x, "dtype", None), getattr(x, "shape", ())
    if dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        impls: list[str] = []

        def look(key: Any) -> Any:  # by tracing, so that a ShapeDtypeStruct will do
            impls.append(str(jax.random.key_impl(key)))
            return jax.random.key_data(key)

        data = jax.eval_shape(look, x)
        return Leaf(name, data.dtype.name, data.shape, "key", impls[0])
    if dtype is None or np.dtype(dtype).name not in DTYPES:
        raise CheckpointError(
            f"cannot save {name}: expected an array, a PRNG key or a number, got "
            f"{type(x).__name__}{f' of dtype {dtype}' if dtype is not None else ''}; "
            f"text and other settings belong into meta"
        )
    return Leaf(name, np.dtype(dtype).name, tuple(shape))


def _outline(node: Any, numbers: Iterator[int]) -> Any:
    """The structure in JSON: null, the number of a leaf, or [kind, [[key, node], ...]]."""
    if node is None:
        return None
    if jax.tree_util.all_leaves([node]):
        return next(numbers)
    children = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)[0]
    plain = node.__class__.__name__ if type(node) in (dict, list, tuple) else "fields"
    keys = [_key(path[0]) for path, _ in children]
    for key in keys:
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise CheckpointError(f"cannot save a tree with the key {key!r}: expected text or a whole number")
    return [plain, [[key, _outline(child, numbers)] for key, (_, child) in zip(keys, children, strict=True)]]


def rebuild(node: Any, leaves: list[Any]) -> Any:
    if node is None:
        return None
    if isinstance(node, int):
        return leaves[node]
    kind, children = node
    built = [(key, rebuild(child, leaves)) for key, child in children]
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](x for _, x in built)
    return dict(built)


def numbers_of(node: Any) -> Iterator[int]:
    """The leaves of a structure that was read; anything but a structure raises ValueError."""
    if isinstance(node, int) and not isinstance(node, bool):
        yield node
    elif node is not None:
        kind, children = node
        if kind not in ("dict", "list", "tuple", "fields") or not isinstance(children, list):
            raise ValueError(f"{kind!r} is no kind of container")
        keys = [key for key, _ in children]
        if any(not isinstance(k, str | int) for k in keys) or len(set(keys)) < len(keys):
            raise ValueError(f"keys {keys[:5]}")
        for _, child in children:
            yield from numbers_of(child)


def described(like: Any) -> tuple[list[Leaf], Any]:
    paths, tree = _flatten(like)
    return [_leaf(_name(path), x) for path, x in paths], tree


def check_fit(path: str, found: list[Leaf], expected: list[Leaf]) -> None:
    have, want = {x.name: x for x in found}, {x.name: x for x in expected}
    wrong = [f"it lacks {name} ({want[name]})" for name in want if name not in have]
    wrong += [f"it has {name} ({have[name]}), which was not expected" for name in have if name not in want]
    wrong += [
        f"{name} is {have[name]}, expected {want[name]}" for name in want if name in have and have[name] != want[name]
    ]
    if wrong:
        more = f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise CheckpointError(f"checkpoint {path!r} does not fit: {'; '.join(wrong[:8])}{more}. Nothing was loaded")


def placed(array: Any, like: Any) -> Any:
    """The array where `like` lies: on its devices, or in NumPy."""
    if not isinstance(like, jax.Array):
        return array
    return put(array, like.sharding)


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path).lstrip(".") or "(the tree itself)"


def _key(entry: Any) -> Any:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return getattr(entry, attribute)
    return str(entry)


def plain_number(x: Any) -> Any:
    if isinstance(x, np.generic):
        return x.item()
    raise TypeError(f"got a {type(x).__name__}")


def copied(state: Any) -> Any:
    """The same arrays again, each where it lies; by the runtime, so that nothing is compiled for it."""

    where = next((x.sharding for x in jax.tree.leaves(state) if isinstance(x, jax.Array)), None)

    def again(x: Any) -> Any:
        there = x.sharding if isinstance(x, jax.Array) else where
        return put(x, there) if there is not None else jnp.array(x)

    return jax.tree.map(again, state)
