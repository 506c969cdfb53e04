"""Structures: a tensor's name or array, or a nested tuple of them, as the values of Relax are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Structure = Any  # str | tuple[Structure, ...]


def flat(structure: Structure) -> list[Any]:
    """The leaves of a structure, from left to right."""
    if isinstance(structure, tuple | list):
        return [leaf for s in structure for leaf in flat(s)]
    return [structure]


def mapped(f: Callable[[Any], Any], structure: Structure) -> Structure:
    """The same structure with f of every leaf."""
    return tuple(mapped(f, s) for s in structure) if isinstance(structure, tuple | list) else f(structure)


def refill(structure: Structure, leaves: Iterable[Any]) -> Structure:
    """The same structure with these leaves."""
    given = iter(leaves)
    return mapped(lambda _: next(given), structure)
