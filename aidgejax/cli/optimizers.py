"""The optimizers of training.optim on the command line: whatever is a function there, under its name."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from ..errors import SettingError
from ..training import optim


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


def add_settings(parser: argparse.ArgumentParser) -> None:
    """--momentum, --weight-decay, and --setting NAME=VALUE for what else the optimizers take."""
    parser.add_argument("--momentum", type=float, help="of sgd (default: 0)")
    parser.add_argument("--weight-decay", type=float, help="default: the optimizer's own")
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another setting of the optimizer: beta1=0.95, nesterov=true, decay=after; may be repeated",
    )


def optimizer(name: str, args: argparse.Namespace, **defaults: Any) -> optim.Optimizer:
    """The optimizer `name`, with the settings that were given; `defaults` where they were not.

    Raises SettingError for an unknown optimizer, a setting that it does not take, or a value that it refuses.
    """
    rule = rules().get(name.lower())
    if rule is None:
        raise SettingError(f"there is no optimizer {name!r}; expected one of {', '.join(sorted(rules()))}")
    takes = inspect.signature(rule).parameters
    settings = dict(defaults)
    for option in ("momentum", "weight_decay"):
        if getattr(args, option, None) is not None:
            settings[option] = getattr(args, option)
    for text in args.setting:
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"--setting {text!r}: expected NAME=VALUE")
        settings[key.strip().replace("-", "_")] = _value(value.strip())
    unknown = [k for k in settings if k not in takes]
    if unknown:
        raise SettingError(f"{name} takes no {', '.join(map(repr, unknown))}; it takes {', '.join(takes)}")
    return rule(**settings)


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return float(text)
    except ValueError:
        return text
