"""Attention by blocks of keys: memory grows with the number of positions, not with its square.

The softmax over all keys is kept as a running maximum and a running sum (Milakov and Gimelshein 2018; Rabe and Staats
2021); the gradient computes each block of weights again from the logarithm of that sum (Dao et al. 2022, appendix B).
Shapes: q f[b, k, g, l, d], the g heads of queries that share one of k heads of keys; keys f[b, k, s, d], values
f[b, k, s, e]; a mask f or bool broadcasting to [b, k, g, l, s].  Sums are float32 (or float64).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

BLOCK = 256  # keys at a time
FROM_SCORES = 1 << 20  # for each head: below, all scores at once are faster


class Setting(NamedTuple):
    root: float  # what queries and keys are each multiplied by
    is_causal: bool
    softcap: float = 0.0  # 0: none


def is_large(rows: Any, columns: Any) -> bool:
    return isinstance(rows, int) and isinstance(columns, int) and rows * columns >= FROM_SCORES


def attend(q: Any, k: Any, v: Any, mask: Any, setting: Setting) -> tuple[Any, Any]:
    """(y f[b, k, g, l, e], the logarithm of each row's sum f[b, k, g, l]); a row that may look at nothing is 0."""
    kind = jnp.promote_types(q.dtype, jnp.float32)
    rows = q.shape[:4]

    def step(carry: Any, at: Any) -> tuple[Any, None]:
        top, total, y = carry
        scores, values = _visible(_scores(q, k, setting, at, kind), k, mask, setting, at), _block(v, at)
        new = jnp.maximum(top, jnp.max(scores, axis=-1))
        safe = jnp.where(jnp.isneginf(new), 0, new)
        p, fade = jnp.exp(scores - safe[..., None]), jnp.exp(top - safe)
        y = y * fade[..., None] + jnp.einsum("bkgls,bkse->bkgle", p, values, preferred_element_type=kind)
        return (new, total * fade + jnp.sum(p, axis=-1), y), None

    start = (jnp.full(rows, -jnp.inf, kind), jnp.zeros(rows, kind), jnp.zeros((*rows, v.shape[-1]), kind))
    (top, total, y), _ = lax.scan(step, start, _starts(k))
    seen = total > 0
    y = jnp.where(seen[..., None], y / jnp.where(seen, total, 1)[..., None], 0)
    return y, jnp.where(seen, jnp.where(jnp.isneginf(top), 0, top) + jnp.log(jnp.where(seen, total, 1)), jnp.inf)


def attend_backward(dy: Any, q: Any, k: Any, v: Any, mask: Any, setting: Setting, want_mask: bool) -> tuple:
    """(dq, dk, dv, d_mask or None), in the shapes of q, k, v; d_mask f[b, k, g, l, s]."""
    kind = jnp.promote_types(q.dtype, jnp.float32)
    y, log_sum = attend(q, k, v, mask, setting)
    dy = dy.astype(kind)
    own = jnp.sum(dy * y, axis=-1)

    def step(dq: Any, at: Any) -> tuple[Any, Any]:
        keys, values = _block(k, at).astype(kind), _block(v, at).astype(kind)
        scores = _scores(q, k, setting, at, kind)
        p = jnp.exp(_visible(scores, k, mask, setting, at) - log_sum[..., None])
        dv = jnp.einsum("bkgls,bkgle->bkse", p, dy)
        d = p * (jnp.einsum("bkgle,bkse->bkgls", dy, values) - own[..., None])
        inner = d * (1 - jnp.square(scores / setting.softcap)) if setting.softcap else d
        dq = dq + jnp.einsum("bkgls,bksd->bkgld", inner, keys)
        dk = jnp.einsum("bkgls,bkgld->bksd", inner, q.astype(kind))
        return dq, (dk, dv, d if want_mask else None)

    dq, (dk, dv, d_mask) = lax.scan(step, jnp.zeros(q.shape, kind), _starts(k))
    scale, columns = setting.root**2, k.shape[2]
    whole = lambda t: jnp.moveaxis(t, 0, 2).reshape(*t.shape[1:3], -1, t.shape[-1])[:, :, :columns]
    if d_mask is not None:
        d_mask = jnp.moveaxis(d_mask, 0, -2)
        d_mask = d_mask.reshape(*d_mask.shape[:-2], -1)[..., :columns]
    return dq * scale, whole(dk) * scale, whole(dv), d_mask


def _starts(k: Any) -> Any:
    return jnp.arange(0, k.shape[2], BLOCK)


def _block(x: Any, at: Any) -> Any:
    """The keys or values from `at` on; beyond the last one they are 0."""
    return lax.dynamic_slice_in_dim(_padded(x, 2), at, BLOCK, axis=2)


def _padded(x: Any, axis: int) -> Any:
    short = -x.shape[axis] % BLOCK
    return jnp.pad(x, [(0, short if n == axis else 0) for n in range(x.ndim)]) if short else x


def _scores(q: Any, k: Any, setting: Setting, at: Any, kind: Any) -> Any:
    """A block of scores, before anything hides a key."""
    scores = jnp.einsum(
        "bkgld,bksd->bkgls", q * setting.root, _block(k, at) * setting.root, preferred_element_type=kind
    )  # fmt: skip
    return setting.softcap * jnp.tanh(scores / setting.softcap) if setting.softcap else scores


def _visible(scores: Any, k: Any, mask: Any, setting: Setting, at: Any) -> Any:
    """The scores with the mask, and everything that hides a key as -inf."""
    columns = at + jnp.arange(BLOCK)
    visible = columns < k.shape[2]
    if setting.is_causal:
        visible = visible & (columns <= jnp.arange(scores.shape[3])[:, None])
    if mask is not None:
        part = mask
        if mask.shape[-1] != 1:
            part = lax.dynamic_slice_in_dim(_padded(mask, mask.ndim - 1), at, BLOCK, axis=mask.ndim - 1)
        if mask.dtype == jnp.bool_:
            visible = visible & part
        else:
            scores = scores + part.astype(scores.dtype)
    return jnp.where(visible, scores, -jnp.inf)


def grouped(x: Any, heads: int) -> Any:
    """f[b, h, l, d] -> f[b, heads, h / heads, l, d]"""
    return jnp.reshape(x, (x.shape[0], heads, x.shape[1] // heads, *x.shape[2:]))


def grouped_mask(mask: Any, heads: int, kv: int) -> Any:
    """A mask of up to four axes, broadcasting to [b, heads, l, s], as one broadcasting to [b, kv, heads / kv, l, s]."""
    if mask is None:
        return None
    mask = jnp.reshape(mask, (1,) * (4 - mask.ndim) + mask.shape)
    return grouped(mask, kv) if mask.shape[1] == heads else mask[:, :, None]
