"""What a function of functions was given: so that optimizers and schedules, which hold closures, pickle and compare.

Two that the same function made of the same settings are equal, and a program compiled for one serves the other.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A public function of a module, and its arguments."""

    module: str
    name: str
    args: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]

    def made(self) -> Any:
        """What the function makes of the arguments, once more."""
        return getattr(importlib.import_module(self.module), self.name)(*self.args, **dict(self.keywords))

    def __hash__(self) -> int:
        try:
            return hash((self.module, self.name, self.args, self.keywords))
        except TypeError:  # an array among the settings
            return id(self)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Recipe) or (self.module, self.name) != (other.module, other.name):
            return False
        try:
            hash((self.args, self.keywords, other.args, other.keywords))
        except TypeError:
            return False
        return (self.args, self.keywords) == (other.args, other.keywords)


class Made:
    """A function with its recipe."""

    def __init__(self, function: Callable[..., Any], recipe: Recipe) -> None:
        self.function, self.recipe = function, recipe

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "function":
            raise AttributeError(name)
        return getattr(self.function, name)

    def __reduce__(self) -> Any:
        return self.recipe.made, ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Made) and self.recipe == other.recipe

    def __hash__(self) -> int:
        return hash(self.recipe)


def same_recipe(a: Any, b: Any) -> bool:
    return a is b or (a.recipe is not None and a.recipe == b.recipe)


def reproducible(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose result remembers its recipe: a dataclass in its field `recipe`, a function by Made."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        made: Any = function(*args, **kwargs)
        recipe = Recipe(function.__module__, function.__name__, args, tuple(sorted(kwargs.items())))
        if dataclasses.is_dataclass(made) and not isinstance(made, type):
            return cast(R, dataclasses.replace(made, recipe=recipe))
        return cast(R, Made(made, recipe))  # called as the function that it holds

    return call
