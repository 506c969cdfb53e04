"""How the NumPy backend learns an operator: `define` its meaning, and where it has one, its plain `backward`."""

from __future__ import annotations

from collections.abc import Callable

DEFINITIONS: dict[str, Callable] = {}
BACKWARDS: dict[str, Callable] = {}


def define(name: str):
    """The decorated function takes inputs by position (None where absent), attributes by keyword, and returns
    an array, or a tuple with every output the operator can have."""

    def register(function: Callable) -> Callable:
        DEFINITIONS[name] = function
        return function

    return register


def backward(name: str):
    """The decorated function takes inputs, outputs and cotangents by position, attributes by keyword, and returns a
    gradient (or None) per input; broadcasting is undone by the caller, a cotangent that nobody gave is zero."""

    def register(function: Callable) -> Callable:
        BACKWARDS[name] = function
        return function

    return register
