"""aidge_core.random.Generator: the one source of random numbers, for fillers and for Dropout."""

from __future__ import annotations

import itertools
import secrets
from typing import Any

import jax

from .errors import FillerError


class Generator:
    """Generator.set_seed(n) makes every draw after it reproducible.  Without, each process draws its own."""

    _seed = secrets.randbits(32)
    _count = itertools.count()

    @classmethod
    def set_seed(cls, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise FillerError(f"a seed is an integer, got {seed!r}")
        cls._seed, cls._count = seed % 2**32, itertools.count()

    @classmethod
    def seed(cls) -> int:
        return cls._seed

    @classmethod
    def draw(cls) -> int:
        """The number of the next draw."""
        return next(cls._count) % 2**32

    @classmethod
    def key(cls) -> Any:
        """A fresh JAX key."""
        return jax.random.fold_in(jax.random.key(cls._seed), cls.draw())


def set_seed(seed: int) -> None:
    Generator.set_seed(seed)
