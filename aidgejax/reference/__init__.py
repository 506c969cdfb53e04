"""The NumPy backend: slow, plain, float64-capable, and sharing no code with the JAX one.

It executes any Graph, gradient operators included, and for the core families has a backward of its own.
Definitions are written from the ONNX specification, one file per family.
"""

from .execute import compute, execute, gradients

__all__ = ["compute", "execute", "gradients"]
