"""Attention by cuDNN's fused kernels, where they were asked for: make_program(graph, attention="cudnn").

JAX reaches them only through names that are its own affair, and only this file uses them; the gradient's kernel is
called with what the forward's returned, so JAX differentiates nothing.  Where the names are gone or have other
parameters, and for inputs that the kernels do not take, the attention is ours as without the setting.  The choice
between cuDNN and ours is made when a program is lowered: the machine that traces needs no GPU, and a CPU runs ours.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any

import jax.numpy as jnp

from ._platforms import by_platform

KINDS = ("own", "cudnn")
LARGEST_HEAD = 128  # that every GPU with these kernels takes; its size is a multiple of 8
_asked: ContextVar[str] = ContextVar("attention", default="own")

INPUTS = "query key value bias q_seqlen kv_seqlen q_offsets kv_offsets page_table_k page_table_v"
SETTING = "scale seed dropout_rate variadic_args mask_type layout sliding_window_length"
FORWARD = f"{INPUTS} {SETTING} is_training".split()
BACKWARD = f"{INPUTS} activation fwd_output grad_output {SETTING}".split()


@contextmanager
def kind_of_attention(kind: str) -> Iterator[None]:
    """What is traced inside takes this kind: one of KINDS."""
    before = _asked.set(kind)
    try:
        yield
    finally:
        _asked.reset(before)


@cache
def _kernels() -> Any:
    """JAX's module of them; None where it is not as it was when this file was written (JAX 0.10.2)."""
    try:
        module = import_module("jax._src.cudnn.fused_attention_stablehlo")
        found = [
            list(inspect.signature(getattr(module, f"_dot_product_attention_{way}_abstract")).parameters)
            for way in ("fwd", "bwd")
        ]
        for way in ("fwd", "bwd"):
            _primitive(module, way)
        settled = module.AttentionLayout.BTNH.value, module.MaskType.CAUSAL, module.MaskType.NO_MASK
    except (ImportError, AttributeError, ValueError, TypeError):
        return None
    return module if found == [FORWARD, BACKWARD] and settled else None


def is_asked_for(q: Any, k: Any, v: Any, mask: Any) -> bool:
    """Whether cuDNN was asked for and takes these: 16 bits, f[b, h, l, d] with one d for all, no mask that is given."""
    if _asked.get() != "cudnn" or mask is not None or _kernels() is None:
        return False
    size = q.shape[-1]
    return (
        q.ndim == k.ndim == v.ndim == 4
        and q.dtype in (jnp.bfloat16, jnp.float16)
        and q.dtype == k.dtype == v.dtype
        and size == k.shape[-1] == v.shape[-1]
        and size <= LARGEST_HEAD
        and size % 8 == 0
        and q.shape[1] % k.shape[1] == 0
    )


def attention(q: Any, k: Any, v: Any, scale: float, is_causal: bool, own: Callable[..., Any]) -> Any:
    """softmax(q k^T scale) v by cuDNN where the program is lowered for CUDA, own(q, k, v) elsewhere."""
    return by_platform(q, k, v, cuda=lambda q, k, v: _forward(q, k, v, scale, is_causal)[0], default=own)


def attention_backward(
    dy: Any, q: Any, k: Any, v: Any, scale: float, is_causal: bool, own: Callable[..., Any]
) -> tuple[Any, Any, Any]:
    """(dq, dk, dv) in the same way; what the forward's kernel keeps is computed again."""

    def by_cudnn(dy: Any, q: Any, k: Any, v: Any) -> Any:
        y, statistics = _forward(q, k, v, scale, is_causal)
        module, none = _kernels(), jnp.zeros(0, q.dtype)
        rest = (*(none,) * 7, statistics, _heads_within(y), _heads_within(dy.astype(q.dtype)))
        given = (*map(_heads_within, (q, k, v)), *rest)
        found = _primitive(module, "bwd").bind(*given, **_setting(module, scale, is_causal))
        return tuple(map(_heads_within, found[:3]))

    return by_platform(dy, q, k, v, cuda=by_cudnn, default=own)


def _forward(q: Any, k: Any, v: Any, scale: float, is_causal: bool) -> Any:
    """(y, the statistics that the gradient's kernel wants)"""
    module, none = _kernels(), jnp.zeros(0, q.dtype)
    given = (*map(_heads_within, (q, k, v)), *(none,) * 7)
    y, *rest = _primitive(module, "fwd").bind(*given, **_setting(module, scale, is_causal), is_training=True)
    return _heads_within(y), *rest


def _heads_within(x: Any) -> Any:
    """f[b, h, l, d] <-> f[b, l, h, d], as projections write it and read it: their own transpositions cancel this one,
    where the kernels' other layout makes each a copy."""
    return jnp.swapaxes(x, 1, 2)


def _primitive(module: Any, way: str) -> Any:
    return getattr(module, f"_dot_product_attention_{way}_p_wrapper")


def _setting(module: Any, scale: float, is_causal: bool) -> dict[str, Any]:
    return {
        "scale": float(scale),
        "seed": 0,
        "dropout_rate": 0.0,
        "variadic_args": (False, False),
        "mask_type": module.MaskType.CAUSAL if is_causal else module.MaskType.NO_MASK,
        "layout": module.AttentionLayout.BTNH.value,
        "sliding_window_length": None,
    }
