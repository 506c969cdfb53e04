"""Quantization for hardware: what is trained is what is deployed.

    scheme = quant.bits(4)                                   # or Scheme(weights=Grid(...), activations=Grid(...), ...)
    q = quant.calibrate(quant.convert(graph, scheme), data)
    rule = quant.with_steps(optim.adam(), q)                 # trains the steps too; then `fit`, as ever

Pure functions on graphs.  What a graph remembers of its quantizers is in its nodes, and survives ONNX (notes.py).
"""

from .calibrate import calibrate, is_calibrated
from .convert import Layer, convert, layers, step_names
from .notes import restored
from .optimizer import with_steps
from .scheme import Grid, Scheme, bits

__all__ = [
    "bits",
    "calibrate",
    "convert",
    "Grid",
    "is_calibrated",
    "Layer",
    "layers",
    "restored",
    "Scheme",
    "step_names",
    "with_steps",
]
