"""The backends of this front end: "cpu", "jax" and "numpy" always, "cuda" (or "tpu") where there is such a device."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax

from ...execution.devices import available_platforms, no_gpu
from .errors import MissingBackend


@cache
def available() -> tuple[str, ...]:
    """Names that set_backend takes here."""
    others = [p for p in available_platforms() if p != "cpu"]
    return ("cpu", "jax", "numpy", *others, *(["gpu"] if {"cuda", "rocm"} & set(others) else []))


@cache
def place_of(name: str, device: int = 0) -> Any:
    """The JAX device behind a name; None for "jax" (JAX's own choice) and "numpy".

    Raises MissingBackend naming the backends there are.
    """
    if not isinstance(name, str) or name not in available():
        why = f"; {no_gpu()}" if name in ("cuda", "gpu") else ""
        raise MissingBackend(
            f"backend {name!r} is not available here; available backends: {', '.join(available())}{why}"
        )
    if name in ("jax", "numpy") or (name == "cpu" and jax.default_backend() == "cpu" and device == 0):
        return None
    devices = jax.devices(name)
    if not 0 <= device < len(devices):
        raise MissingBackend(
            f"backend {name!r} has no device {device}; it has {len(devices)} (0 to {len(devices) - 1})"
        )
    return devices[device]
