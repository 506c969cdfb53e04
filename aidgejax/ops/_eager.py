"""Eager counterpart of Builder: op.X(...) computes instead of adding a node, so a forward can be its own export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._registry import lookup

FEW = 64  # elements; what is computed from fewer numbers that are known, sizes mostly, is computed while tracing


class EagerBuilder:
    """`op.Mul(a, b)` is a product of arrays, not a node.  What follows from shapes alone stays known: NumPy."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operator = lookup(name)
        forward = operator.forward

        def compute(*inputs: Any, outputs: int = 1, **attrs: Any) -> Any:
            args = [np.asarray(i, np.int64) if isinstance(i, tuple) else i for i in inputs]
            if not all(a is None or isinstance(a, np.ndarray | np.generic | int) and np.size(a) < FEW for a in args):
                return forward(*args, **attrs)
            with jax.ensure_compile_time_eval(), jax.enable_x64(True):
                if not operator.shape_only:  # see constant_folding.fold
                    args = [
                        jnp.asarray(a) if isinstance(a, np.ndarray) and k not in operator.static else a
                        for k, a in zip((*operator.inputs, *[None] * len(args)), args, strict=False)
                    ]
                return jax.tree.map(np.asarray, forward(*args, **attrs))

        return compute
