"""The form of a computation for each platform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax import lax

from ._registry import only_shapes_wanted


def by_platform(*arrays: Any, default: Callable[..., Any], **forms: Callable[..., Any]) -> Any:
    """What the form of the platform computes that the program is lowered for (cpu, cuda, rocm, tpu; else the default).

    All forms are traced; where nothing but shapes is asked for, the default alone: all answer with the same.
    """
    if only_shapes_wanted():
        return default(*arrays)
    return lax.platform_dependent(*arrays, default=default, **forms)
