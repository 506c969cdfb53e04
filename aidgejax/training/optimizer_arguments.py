"""What optimizers are given, checked: their settings, and trees that must have the structure of the parameters."""

from __future__ import annotations

import math
import numbers
from typing import Any

import jax

from ..errors import GraphError, SettingError


def aligned(tree: Any, other: Any, what: str, params: Any) -> list[Any]:
    """The leaves of `other`, in the order of the parameters."""
    try:
        return tree.flatten_up_to(other)
    except (ValueError, TypeError) as e:
        raise GraphError(
            f"the {what} do not have the structure of the parameters: expected {_outline(params)}, "
            f"got {_outline(other)}"
        ) from e


def _outline(tree: Any) -> str:
    if isinstance(tree, dict):
        shown = ", ".join(map(repr, list(tree)[:8])) + (", ..." if len(tree) > 8 else "")
        return f"a dict of {shown}" if tree else "an empty dict"
    if isinstance(tree, list | tuple):
        return f"a {type(tree).__name__} of {len(tree)}"
    return type(tree).__name__


def named(path: Any) -> str:
    """A parameter by its path in a tree, as messages say it."""
    return repr(path[0].key) if len(path) == 1 and hasattr(path[0], "key") else jax.tree_util.keystr(path) or "(alone)"


def setting(
    rule: str, name: str, value: Any, least: Any, most: Any, *, above: bool = False, below: bool = False
) -> Any:
    """The number as a float, checked; an array as it is.  above, below: the bound itself is refused."""
    if isinstance(value, jax.Array):
        return value
    fits = (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and least <= value <= most
        and not (above and value == least)
        and not (below and value == most)
    )
    if not fits:
        low = "" if least == -math.inf else f"{'above' if above else 'at least'} {least}"
        high = "" if most == math.inf else f"{'below' if below else 'at most'} {most}"
        raise SettingError(
            f"{rule}: {name} is {value!r}; expected a finite number {' and '.join(filter(None, (low, high)))}".rstrip()
        )
    return float(value)


def choice(rule: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
    """SettingError unless the value is one of these."""
    if value not in choices:
        raise SettingError(f"{rule}: {name} is {value!r}; expected one of {', '.join(map(repr, choices))}")
