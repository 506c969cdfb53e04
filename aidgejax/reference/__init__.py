"""The NumPy backend: slow, plain, float64-capable, and sharing no code with the JAX one.

It executes any Graph, gradient operators included, and for the core families has a backward of its own.
Definitions are written from the ONNX specification, one file per family; a new file is found by itself.
"""

import importlib
import pkgutil

from ._definition import BACKWARDS, DEFINITIONS
from .execute import compute, execute, gradients

for _family in sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")):
    importlib.import_module(f"{__name__}.{_family}")

__all__ = ["BACKWARDS", "DEFINITIONS", "compute", "execute", "gradients"]
