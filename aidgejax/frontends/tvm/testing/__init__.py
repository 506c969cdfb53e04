"""tvm.testing, as far as tests of relax use it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from ..errors import RelaxValueError
from ..runtime import Device
from ..target import Target
from .utils import assert_allclose, check_numerical_grads

__all__ = [
    "assert_allclose", "check_numerical_grads", "device_enabled", "enabled_targets", "main", "parameter", "parameters",
    "parametrize_targets",
]  # fmt: skip


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
