"""Fusion barrier for XLA:CPU: materializes the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata

from ._platforms import by_platform


def materialize(f: Callable[..., Any], *arrays: Any) -> Any:
    """f(*arrays), computed once and put into memory.

    Left alone, XLA on CPU fuses an element-wise f into everything that reads its result and computes it again for every
    reader, in the order that suits the reader: LeNet's step then takes three times as long.  A call is not looked into.
    """

    def called(*arrays: Any) -> Any:
        return set_xla_metadata(jax.jit(f)(*arrays), inlineable="false")

    return by_platform(*arrays, cpu=called, default=f)
