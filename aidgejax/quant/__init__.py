"""Quantization for hardware: what is trained is what is deployed.

    scheme = quant.bits(4)                                   # or Scheme(weights=Grid(...), activations=Grid(...), ...)
    q = quant.calibrate(quant.convert(graph, scheme), data)
    rule = quant.with_steps(optim.adam(), q)                 # trains the steps too; then `fit`, as ever
    integers = quant.to_integer(q)                           # integer weights, 32-bit biases
    print(quant.verify(q, integers, data))                   # NumPy, JAX, onnxruntime, layer by layer
    quant.write(integers, "net.onnx", graph=q, data=data)    # verified first

Pure functions on graphs.  What a graph remembers of its quantizers is in its nodes, and survives ONNX (notes.py).
"""

from .batches import each_batch
from .c_code import c_program
from .calibrate import calibrate, is_calibrated
from .convert import Layer, convert, layers, step_names
from .describe import Description, describe
from .distill import distill
from .equalize import equalize
from .forms import FORMS, in_form
from .from_qdq import arrived_quantized, from_qdq
from .integer_graph import integer_graph
from .notes import restored
from .optimizer import with_steps
from .posttraining import correct_bias, round_learned
from .proof import largest_sums, unproved
from .runtimes import has_onnxruntime
from .scheme import Grid, Scheme, bits
from .search import Candidate, SearchResult, search
from .sensitivity import Sensitivity, sensitivity
from .targets import Target, misfits, targets
from .to_integer import to_integer
from .train import finetune
from .verify import Report, verify
from .write import write

__all__ = [
    "targets",
    "integer_graph",
    "misfits",
    "Target",
    "equalize",
    "round_learned",
    "distill",
    "correct_bias",
    "sensitivity",
    "Sensitivity",
    "search",
    "SearchResult",
    "Candidate",
    "bits",
    "c_program",
    "calibrate",
    "convert",
    "describe",
    "each_batch",
    "Description",
    "finetune",
    "FORMS",
    "Grid",
    "arrived_quantized",
    "from_qdq",
    "has_onnxruntime",
    "in_form",
    "is_calibrated",
    "Layer",
    "layers",
    "largest_sums",
    "Report",
    "restored",
    "Scheme",
    "step_names",
    "to_integer",
    "unproved",
    "verify",
    "with_steps",
    "write",
]
