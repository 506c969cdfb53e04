"""The devices that JAX finds here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax

from ..errors import BackendError


def available_platforms() -> list[str]:
    """The platforms on which JAX can run here, e.g. ["cpu", "cuda"]."""
    found: Iterable[str] = ("cpu", "cuda", "rocm", "tpu", "METAL")
    there = []
    for name in found:
        try:
            if jax.devices(name):
                there.append(name)
        except RuntimeError:
            continue
    return there


def device(name: str) -> Any:
    """The first JAX device of this platform ("cpu", "gpu", "cuda", "tpu"; "auto": JAX's own choice).

    Raises BackendError naming the platforms there are.
    """
    if name == "auto":
        return jax.devices()[0]
    try:
        return jax.devices(name)[0]
    except RuntimeError:
        raise BackendError(f"there is no device {name!r} here; there are {', '.join(available_platforms())}") from None
