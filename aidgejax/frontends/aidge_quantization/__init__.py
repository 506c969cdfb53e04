"""aidge_quantization: quantizers for training, and quantization after training, with Aidge 0.10.1's names.

    lsq.setup_quantizers(model, 4)
    model.set_backend("cpu")
    opt.set_parameters(aidge_core.producers(model))    # the steps are among them

    auto_assign_node_precision(model, dtype.int8, dtype.int8, dtype.int32)
    quantize_network(model, calibration, rescale_inputs=True)          # int8 tensors, int32 sums

Integer files are written by aidgejax.quant, which takes the graph that aidge_onnx.export_onnx writes.
Where it differs from Aidge on purpose: BatchNorms are folded before; biases stand on the scale of activation times
weight, whatever their widths; an operator that is not known raises; optimize_signs leaves factors alone; a rectifier
that others read too stays; a Dequantizer or Quantizer never stands at a pool's indices; weights of depthwise layers
are scaled by their own channel; integer Concat runs; set_to_qdq takes averages, Add and Concat; nodes of SAT have
names, and post_training_transform takes CGPACT.
"""

from .._shared.absent_names import absent_name
from ..aidge_core.version import get_git_hash, get_project_version, show_version
from . import fixedq, lsq, sat
from .clipping import Clipping, compute_kl_clipping, compute_me_clipping
from .factories import (
    CGPACT,
    LSQ,
    CGPACTOp,
    DoReFa,
    DoReFaMode,
    DoReFaOp,
    FixedQ,
    FixedQOp,
    LSQOp,
    ScaleAdjust,
    ScaleAdjustOp,
    TanhClamp,
    TanhClampOp,
)
from .ptq import cross_layer_equalization, quantize_network
from .ptq_ranges import (
    adjust_ranges,
    compute_histograms,
    compute_ranges,
    insert_scaling_nodes,
    normalize_activations,
    normalize_parameters,
)
from .qdq import from_qdq, set_to_qdq
from .quantizers import (
    append_cast,
    append_round_clip,
    cast_quantizer_ios,
    get_scaling_factor,
    multiply_scaling_factor,
    prepend_cast,
    remove_round,
    replace_scaling_with_bitshift,
    set_clip_range,
    set_scaling_factor,
    set_scaling_factor_dtype,
)
from .rounding import (
    cast_quantized_network,
    clear_biases,
    fold_producer_quantizers,
    insert_input_rescaling,
    perform_dequantization,
    perform_single_shift_approximation,
    quantize_normalized_network,
)
from .signs import compute_sign_map
from .tags import (
    auto_assign_node_precision,
    check_architecture,
    check_precision_tag,
    clear_all_node_precision,
    determine_backend,
    is_cuda_available,
    pop_softmax,
    prepare_network,
    quantizability_report,
)

__all__ = [
    "adjust_ranges", "auto_assign_node_precision", "cast_quantized_network", "check_architecture",
    "check_precision_tag", "clear_all_node_precision", "clear_biases", "compute_histograms", "compute_ranges",
    "compute_sign_map", "cross_layer_equalization", "determine_backend", "fold_producer_quantizers", "from_qdq",
    "insert_input_rescaling", "insert_scaling_nodes", "is_cuda_available", "normalize_activations",
    "normalize_parameters", "perform_dequantization", "perform_single_shift_approximation", "pop_softmax",
    "prepare_network", "quantizability_report", "quantize_network", "quantize_normalized_network", "set_to_qdq",
    "CGPACT", "CGPACTOp", "Clipping", "DoReFa", "DoReFaMode", "DoReFaOp", "FixedQ", "FixedQOp", "LSQ", "LSQOp",
    "ScaleAdjust", "ScaleAdjustOp", "TanhClamp", "TanhClampOp", "append_cast", "append_round_clip",
    "cast_quantizer_ios", "compute_kl_clipping", "compute_me_clipping", "fixedq", "get_git_hash",
    "get_project_version", "get_scaling_factor", "lsq", "multiply_scaling_factor", "prepend_cast", "remove_round",
    "replace_scaling_with_bitshift", "sat", "set_clip_range", "set_scaling_factor", "set_scaling_factor_dtype",
    "show_version",
]  # fmt: skip

_QOP = (
    "aidgejax.quant.write(..., form='qoperator') writes the file, aidge_core.fuse_to_metaops fuses the nodes of a "
    "QDQ graph"
)
ABSENT = {
    "insert_compensation_nodes": "perform_single_shift_approximation lets weights and biases take the rest of a factor",
    "set_to_qop": _QOP,
    "from_qop": "aidge_core.expand_metaops expands them",
}


def __getattr__(name: str) -> object:
    raise absent_name(__name__, name, ABSENT)
