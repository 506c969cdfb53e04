"""The flag that users set as singa.autograd.training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class _Mode:
    training = False


_mode = _Mode()


def is_training() -> bool:
    """Do operations keep what a backward needs, and dropout and batch normalization train?"""
    return _mode.training


def set_training(on: bool) -> None:
    _mode.training = bool(on)


@contextmanager
def training_set_to(on: bool) -> Iterator[None]:
    """For a while; afterwards as before."""
    before = _mode.training
    _mode.training = bool(on)
    try:
        yield
    finally:
        _mode.training = before
