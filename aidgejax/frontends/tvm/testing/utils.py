"""tvm.testing.utils: comparing arrays, and gradients with differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["assert_allclose", "check_numerical_grads"]


def assert_allclose(actual: Any, desired: Any, rtol: float = 1e-7, atol: float = 1e-7, verbose: bool = True) -> None:
    """numpy.testing.assert_allclose of arrays or Tensors that must have one shape."""
    actual, desired = np.asanyarray(actual), np.asanyarray(desired)
    np.testing.assert_allclose(actual.shape, desired.shape)
    np.testing.assert_allclose(actual, desired, rtol=rtol, atol=atol, verbose=verbose)


def check_numerical_grads(
    function: Callable[..., Any],
    input_values: Any,
    grad_values: Any,
    function_value: Any = None,
    delta: float = 1e-3,
    atol: float = 1e-2,
    rtol: float = 0.1,
) -> None:
    """Compare gradients of a scalar function with central differences.

    function: of as many arrays as input_values.  grad_values: a gradient per input.  Raises AssertionError where an
    element is off by more than atol + rtol times the difference, as a share of their root mean square.
    """
    inputs = [np.array(v) for v in input_values]
    for k, (x, gradient) in enumerate(zip(inputs, grad_values, strict=True)):
        differences = np.zeros(x.shape)
        for at in np.ndindex(x.shape):
            value = x[at]
            sides = []
            for step in (delta, -delta):
                x[at] = value + step
                sides.append(float(np.asarray(function(*inputs))))
            x[at] = value
            differences[at] = (sides[0] - sides[1]) / (2 * delta)
        gradient = np.asarray(gradient)
        scale = np.sqrt(np.mean(np.square(differences))) if x.size else 0.0
        np.testing.assert_allclose(
            gradient, differences, rtol=rtol, atol=atol * max(float(scale), 1.0), err_msg=f"gradient of input {k}"
        )
