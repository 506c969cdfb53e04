"""Operators whose computation is Python's: OperatorImpl, and the classes registered for an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .absent import AbsentMethods
from .backends import available
from .errors import OrderError, TensorTypeError

REGISTERED: dict[str, dict[Any, Callable[[Any], OperatorImpl]]] = {}  # {operator type: {backend: class}}


_LATE: dict[str, Callable[..., Any]] = {}


def late(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: a method of operators that only a module above knows how to compute, such as running one alone."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _LATE[name] = function
        return function

    return register


def call_late(name: str, *args: Any) -> Any:
    return _LATE[name](*args)


class OperatorImpl(AbsentMethods):
    """To be subclassed: forward() reads op.get_input(i) and writes op.set_output(i, ...), or into the array behind
    op.get_output(i); backward() adds into op.get_input(i).grad what op.get_output(i).grad gives.

    A graph that holds such an operator runs node by node, and not as one compiled program.
    """

    def __init__(self, op: Any, backend: str = "cpu") -> None:
        self._operator, self._backend = op, backend

    def get_operator(self) -> Any:
        return self._operator

    def backend(self) -> str:
        return self._backend

    def forward(self) -> None:
        raise OrderError(f"{type(self).__name__} defines no forward()")

    def backward(self) -> None:
        raise OrderError(
            f"{type(self).__name__}, the implementation of a {self._operator.type()}, defines no backward()"
        )


def register(kind: str, key: Any, implementation: Callable[[Any], OperatorImpl]) -> None:
    """Operators of this type whose backend is set to `key` from now on compute with implementation(operator).

    For GenericOperator the key is [backend, type].
    """
    if not callable(implementation):
        raise TensorTypeError(f"register_{kind}Op: expected a class of OperatorImpl, got {implementation!r}")
    key = tuple(key) if isinstance(key, list | tuple) else key
    REGISTERED.setdefault(kind, {})[key] = implementation


def registered(kind: str) -> list[Any]:
    """The backends of an operator type: those of this front end, and those that were registered."""
    own = [] if kind == "GenericOperator" else list(available())
    return [*own, *(k for k in REGISTERED.get(kind, {}) if k not in own)]


def implementation_for(op: Any, kind: str, backend: str) -> OperatorImpl | None:
    """What was registered for this operator on this backend, or None."""
    found = REGISTERED.get(kind, {}).get(backend)
    if found is None:
        found = REGISTERED.get("GenericOperator", {}).get((backend, kind))
    return None if found is None else found(op)
