"""Numbers that a script hands over: tensors, arrays, lists; checked, with the name of what they are for."""

from __future__ import annotations

import math
import numbers
from typing import Any

import jax
import numpy as np

from .....dtypes import Arrays
from ...._shared.tensor_cell import moved_to
from ...exceptions import ArgumentError, TileError
from ._module import is_tensor


def array_of(value: Any) -> np.ndarray:
    """float32, a copy."""
    if is_tensor(value):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    return np.array(value, np.float32)


def sizes(what: str, least: int = 1, **given: Any) -> None:
    """ArgumentError that names `what` unless each of these is an integer of at least `least`, or a tuple of such."""
    for name, value in given.items():
        for v in value if isinstance(value, tuple | list) else (value,):
            if isinstance(v, bool) or not isinstance(v, numbers.Integral) or v < least:
                raise ArgumentError(f"{what} got {name}={value!r}: expected integers of at least {least}")


def finite_array(what: str, value: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """f32[*shape], of that many numbers.  TileError that names `what` where they are not numbers, or too many."""
    try:
        found = array_of(value)
    except (TypeError, ValueError, RuntimeError) as e:
        raise TileError(f"{what} is a {type(value).__name__}: expected numbers ({e})") from None
    if shape is None:
        return found
    fits = found.size == math.prod(shape) and found.shape[:1] == shape[:1]
    if not fits:
        raise TileError(f"{what} has shape {list(found.shape)}: expected {list(shape)}")
    return found.reshape(shape)


def beside_weights(params: Arrays, x: Any) -> Any:
    """The array where a layer's weights lie: they decide where it computes, and not where its data was made."""
    homes = next((a.devices() for a in params.values() if isinstance(a, jax.Array)), set())
    return moved_to(next(iter(homes)) if len(homes) == 1 else None, x)
