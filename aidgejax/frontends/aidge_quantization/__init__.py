"""aidge_quantization: quantizers for training, and how ranges are clipped, with Aidge 0.10.1's names.

    lsq.setup_quantizers(model, 4)
    model.set_backend("cpu")
    opt.set_parameters(aidge_core.producers(model))    # the steps are among them

What turns a trained graph into integers, and quantization after training, stands in aidgejax.quant, which takes the
graph that aidge_onnx.export_onnx writes.
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
from .quantizers import (
    append_cast,
    append_round_clip,
    get_scaling_factor,
    multiply_scaling_factor,
    remove_round,
    set_clip_range,
    set_scaling_factor,
)

__all__ = [
    "CGPACT", "CGPACTOp", "Clipping", "DoReFa", "DoReFaMode", "DoReFaOp", "FixedQ", "FixedQOp", "LSQ", "LSQOp",
    "ScaleAdjust", "ScaleAdjustOp", "TanhClamp", "TanhClampOp", "append_cast", "append_round_clip",
    "compute_kl_clipping", "compute_me_clipping", "fixedq", "get_git_hash", "get_project_version",
    "get_scaling_factor", "lsq", "multiply_scaling_factor", "remove_round", "sat", "set_clip_range",
    "set_scaling_factor", "show_version",
]  # fmt: skip

_DEPLOY = (
    "write the graph with aidge_onnx.export_onnx, and quantize it with aidgejax.quant (convert, calibrate, to_integer, "
    "verify, write) or `python -m aidgejax quantize`"
)
ABSENT = dict.fromkeys(
    (
        *("quantize_network", "auto_assign_node_precision", "check_precision_tag", "clear_all_node_precision"),
        *("check_architecture", "quantizability_report", "prepare_network", "pop_softmax", "clear_biases"),
        *("insert_scaling_nodes", "cross_layer_equalization", "normalize_parameters", "compute_ranges"),
        *("adjust_ranges", "compute_histograms", "normalize_activations", "compute_sign_map"),
        *("quantize_normalized_network", "insert_input_rescaling", "insert_compensation_nodes"),
        *("perform_single_shift_approximation", "fold_producer_quantizers", "perform_dequantization"),
        *("cast_quantized_network", "set_to_qdq", "from_qdq", "set_to_qop", "from_qop", "prepend_cast"),
        *("cast_quantizer_ios", "replace_scaling_with_bitshift", "set_scaling_factor_dtype"),
    ),
    _DEPLOY,
)
ABSENT |= {
    "determine_backend": "node.get_operator().backend() names it",
    "is_cuda_available": "jax.devices() lists them",
}


def __getattr__(name: str) -> object:
    raise absent_name(__name__, name, ABSENT)
