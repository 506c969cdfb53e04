"""The common norm of gradients, and clipping to it: what an optimizer and the graph of one share."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def global_norm(tree: Any) -> Any:
    """The Euclidean norm of all arrays taken as one vector, f[]; summed in float32 or wider."""
    return jnp.sqrt(sum((jnp.sum(jnp.square(_wide(x))) for x in jax.tree.leaves(tree)), start=jnp.float32(0)))


def scaled_to_norm(grads: Any, max_norm: Any) -> Any:
    """grads * min(1, max_norm / (norm + 1e-6)), and norm is that of all gradients together.

    NaN in one gradient makes all of them NaN.  Source: torch.nn.utils.clip_grad_norm_, ONNX Runtime's ClipGradNorm.
    """
    factor = jnp.minimum(1, max_norm / (global_norm(grads) + 1e-6))
    return jax.tree.map(lambda g: (_wide(g) * factor).astype(g.dtype), grads)


def _wide(x: Any) -> Any:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
