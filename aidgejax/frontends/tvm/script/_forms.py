"""The words of TVMScript that are no expressions; the reader knows them by these objects."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any


def dataflow() -> Any:
    """`with R.dataflow():` is a dataflow block."""
    return nullcontext()


def output(*names: Any) -> None:
    """What a dataflow block hands out; its last line."""


def func_attr(attrs: dict[str, Any]) -> None:
    """Attributes of the function."""
