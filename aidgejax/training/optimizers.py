"""The table of optimizers: what training.optim defines, for aj.train, the command line, artifacts and compare."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from ..errors import SettingError
from . import optim

# What a name alone means where it is not the rule's own default: sgd without momentum trains few models well.
USUAL: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}}


@cache
def rules() -> dict[str, Callable[..., optim.Optimizer]]:
    """{name: function}: the public functions of training.optim that make an optimizer of settings with defaults."""
    found: dict[str, Callable[..., optim.Optimizer]] = {}
    for name, f in vars(optim).items():
        if name.startswith("_") or not inspect.isfunction(f) or f.__module__ != optim.__name__:
            continue
        if all(p.default is not p.empty for p in inspect.signature(f).parameters.values()):
            found[name] = f
    return found


def rule_of(name: str) -> Callable[..., optim.Optimizer]:
    """The function of this name.  Raises SettingError naming those that there are."""
    rule = rules().get(name.lower())
    if rule is None:
        raise SettingError(f"there is no optimizer {name!r}; expected one of {', '.join(sorted(rules()))}")
    return rule


def usual(optimizer: str | optim.Optimizer) -> optim.Optimizer:
    """The optimizer of this name as it is usually taken (sgd with momentum 0.9); an Optimizer as it is."""
    return rule_of(optimizer)(**USUAL.get(optimizer.lower(), {})) if isinstance(optimizer, str) else optimizer
