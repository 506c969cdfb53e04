"""Equal nodes of a graph, traced and lowered once: a deep network has few kinds of convolution or normalization.

XLA inlines the calls before it does anything else, so that the compiled program is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import jit

from ..ops import Operator
from .constant_folding import cache_key

FEWEST_EQUATIONS = 4  # of a shorter forward, a call costs as much as tracing it again


class EqualNodes:
    """The forwards of one walk through a graph, by operator, attributes and types.

    For one walk only: what a forward computes may depend on where it is called, such as the width of numbers.
    """

    def __init__(self) -> None:
        self._calls: dict[Any, Callable[..., Any] | None] = {}

    def forward(self, operator: Operator, args: list, keywords: dict[str, Any]) -> Any:
        """operator.forward(*args, **keywords), traced only for the first of equal nodes."""
        traced = {k: a for k, a in enumerate(args) if isinstance(a, jax.core.Tracer)}
        plain = operator.random or operator.shape_only or not traced
        key = None if plain else cache_key(operator, args, keywords, {k: _type(a) for k, a in traced.items()})
        if key is None:
            return operator.forward(*args, **keywords)
        if key not in self._calls:
            call = _called(operator, [None if k in traced else a for k, a in enumerate(args)], [*traced], keywords)
            self._calls[key] = call if _is_long(call.trace(*traced.values()).jaxpr) else None
        found = self._calls[key]
        return operator.forward(*args, **keywords) if found is None else found(*traced.values())


def _called(operator: Operator, others: list, places: list[int], keywords: dict[str, Any]) -> Any:
    def call(*arrays: Any) -> Any:
        args = list(others)
        for k, a in zip(places, arrays, strict=True):
            args[k] = a
        return operator.forward(*args, **keywords)

    call.__name__ = operator.name
    return jit(call)  # bound at import: who watches jax.jit is to see whole programs, not their nodes


def _is_long(jaxpr: Any) -> bool:
    settings = (v for e in jaxpr.eqns for v in e.params.values())
    inner = any(hasattr(x, "eqns") for v in settings for x in (v if isinstance(v, tuple) else (v,)))
    return inner or len(jaxpr.eqns) >= FEWEST_EQUATIONS


def _type(x: Any) -> str:
    return f"{jax.typeof(x)}{getattr(x, 'weak_type', False)}"
