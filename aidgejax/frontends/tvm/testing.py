"""tvm.testing, as far as tests of relax use it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import RelaxValueError
from .relax.vm import Target
from .runtime import Device

__all__ = [
    "assert_allclose", "check_numerical_grads", "device_enabled", "enabled_targets", "main", "parameter", "parameters",
    "parametrize_targets",
]  # fmt: skip


def assert_allclose(actual: Any, desired: Any, rtol: float = 1e-7, atol: float = 1e-7, verbose: bool = True) -> None:
    """numpy.testing.assert_allclose of arrays or Tensors that must have one shape."""
    actual, desired = np.asanyarray(actual), np.asanyarray(desired)
    np.testing.assert_allclose(actual.shape, desired.shape)
    np.testing.assert_allclose(actual, desired, rtol=rtol, atol=atol, verbose=verbose)


def device_enabled(target: Any) -> bool:
    """Is there a device for a target ("llvm", "cuda") on this machine?"""
    try:
        Device(Target(target).platform).jax  # noqa: B018  raises where the device is not there
    except (RelaxValueError, RuntimeError):
        return False
    return True


def enabled_targets() -> list[tuple[str, Device]]:
    """(target, device) of those that are there."""
    return [(t, Device(Target(t).platform)) for t in ("llvm", "cuda") if device_enabled(t)]


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


def _pytest() -> Any:
    try:
        import pytest
    except ImportError:
        raise RelaxValueError("tvm.testing's decorators need pytest: pip install pytest") from None
    return pytest


def parametrize_targets(*targets: Any) -> Any:
    """Decorates a test of (target, dev), or of target, to run for each target; by default for all that are there."""

    def decorate(function: Callable[..., Any], names: tuple[Any, ...]) -> Any:
        there = [t for t in names if device_enabled(t)]
        if "dev" not in inspect.signature(function).parameters:
            return _pytest().mark.parametrize("target", there)(function)
        cases = [(t, Device(Target(t).platform)) for t in there]
        return _pytest().mark.parametrize(("target", "dev"), cases)(function)

    if len(targets) == 1 and callable(targets[0]):
        return decorate(targets[0], tuple(t for t, _ in enabled_targets()))
    return lambda function: decorate(function, targets)


def parameter(*values: Any, ids: Any = None, by_dict: dict[str, Any] | None = None) -> Any:
    """A fixture that runs each test that asks for it with every value."""
    values = tuple((by_dict or {}).values()) or values

    def fixture(request: Any) -> Any:
        return request.param

    return _pytest().fixture(params=values, ids=ids or (list(by_dict) if by_dict else None))(fixture)


def parameters(*value_sets: Any, ids: Any = None) -> tuple[Any, ...]:
    """Several fixtures that take their values together."""
    return tuple(parameter(*column, ids=ids) for column in zip(*value_sets, strict=True))


def main() -> None:
    """Run the tests of the file that calls it."""
    file = sys._getframe(1).f_globals["__file__"]
    sys.exit(_pytest().main([file, *sys.argv[1:]]))
