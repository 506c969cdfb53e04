"""tvm.relax.pipeline: the passes before a module is built."""

from __future__ import annotations

from typing import Any

from ..errors import RelaxValueError
from .transform import LegalizeOps, Pass, Sequential

PIPELINES = ("zero", "default", "default_build", "static_shape_tuning")


def get_pipeline(name: str = "zero", **kwargs: Any) -> Pass:
    """The passes of this name: every one checks that the module can run; XLA does the rest when it is compiled."""
    if name not in PIPELINES:
        raise RelaxValueError(f"there is no pipeline {name!r}; there are {', '.join(PIPELINES)}")
    return Sequential([LegalizeOps()])


def get_default_pipeline(target: Any = None) -> Pass:
    """The passes for a target, which are the same for all."""
    return get_pipeline("default")
