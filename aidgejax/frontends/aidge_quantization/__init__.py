"""aidge_quantization: quantizers for training, and quantization after training, with Aidge 0.10.1's names.

    lsq.setup_quantizers(model, 4)
    model.set_backend("cpu")
    opt.set_parameters(aidge_core.producers(model))    # the steps are among them

    auto_assign_node_precision(model, dtype.int8, dtype.int8, dtype.int32)
    quantize_network(model, calibration, rescale_inputs=True)

Integer files are written by aidgejax.quant, which takes the graph that aidge_onnx.export_onnx writes.
Where it differs from Aidge on purpose: BatchNorms are folded before; biases stand on the scale of activation times
weight; an operator that is not known raises; optimize_signs leaves factors alone; nodes of SAT have names.
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
from .ptq import (
    cross_layer_equalization,
    fold_producer_quantizers,
    insert_input_rescaling,
    perform_single_shift_approximation,
    quantize_network,
    quantize_normalized_network,
)
from .ptq_ranges import (
    adjust_ranges,
    compute_histograms,
    compute_ranges,
    insert_scaling_nodes,
    normalize_activations,
    normalize_parameters,
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
from .tags import (
    auto_assign_node_precision,
    check_architecture,
    check_precision_tag,
    clear_all_node_precision,
    pop_softmax,
    prepare_network,
)

__all__ = [
    "adjust_ranges", "auto_assign_node_precision", "check_architecture", "check_precision_tag",
    "clear_all_node_precision", "compute_histograms", "compute_ranges", "cross_layer_equalization",
    "fold_producer_quantizers", "insert_input_rescaling", "insert_scaling_nodes", "normalize_activations",
    "normalize_parameters", "perform_single_shift_approximation", "pop_softmax", "prepare_network",
    "quantize_network", "quantize_normalized_network",
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
        *("quantizability_report", "clear_biases", "compute_sign_map", "insert_compensation_nodes"),
        *(
            "perform_dequantization",
            "cast_quantized_network",
            "set_to_qdq",
            "from_qdq",
            "set_to_qop",
            "from_qop",
            "prepend_cast",
        ),
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
