"""The settings of an optimizer on the command line."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from ..errors import SettingError
from ..training import optim
from ..training.optimizers import rule_of


def add_settings(parser: argparse._ActionsContainer) -> None:
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
    rule = rule_of(name)
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
