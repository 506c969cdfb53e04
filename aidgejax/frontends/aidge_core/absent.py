"""Names that aidge_core 0.10.1 has and this front end has not: what to use instead, or why they are out of scope."""

from __future__ import annotations

from .._shared.absent_names import AbsentMembers, is_import_from
from .errors import AidgeError, MissingAttribute

OPERATORS = (
    "BitErrorRate ComplexToInnerPair ConnectedComponentLabeling CryptoHash Cusum DFT DropBlock "
    "FixedNBitFlip HannWindow InnerPairToComplex Lapicque NBitFlip NonMaxSuppression "
    "RLeaky RSynaptic RandomNormalLike SConv2DLSTM SDLayerNorm SDShiftGELU SDShiftSiLU SDShiftmax SLSTM STFT "
    "SVMRegressor Select SpikGRU Synaptic WeightInterleaving"
).split()

FAULTS = "fault injection is out of scope; write the faults into the Producers' tensors"
MEMORY = "XLA plans the memory; jax's compiled(...).memory_analysis() says what it takes"
TILING = "XLA cuts operators into tiles itself"
LAYOUT = "tensors are channels first here, and their axes are in that order"
EXPORT = "write ONNX with aidge_onnx.export_onnx"
ATTENTION = "attention is read from ONNX files as one operator (aidge_onnx.load_onnx)"
ANNOTATE = "set attributes with node.get_operator().attr, annotations with node.annotations()"
PARALLEL = "several devices are used by a mesh of JAX's, not by cutting the graph"

NAMES: dict[str, str] = {
    **dict.fromkeys(
        (
            *("inject_ber_to_layer", "inject_ber_weights", "inject_bitflip", "inject_bitflips_to_layers"),
            *("inject_bitflips_to_operators", "inject_faults", "inject_fixed_bitflip", "inject_noise_to_weights"),
        ),
        FAULTS,
    ),
    **dict.fromkeys(
        (
            "compute_default_mem_info",
            "generate_optimized_memory_info",
            "log_meminfo",
            "log_meminfo_text",
            "MemoryManager",
        ),
        MEMORY,
    ),
    **dict.fromkeys(("get_conv_horizontal_tiling", "matMul_blocking", "matMul_tiling"), TILING),
    **dict.fromkeys(
        (*("format_as", "absorb_transpose_softmax"),),
        LAYOUT,
    ),
    **dict.fromkeys(("serialize_to_cpp", "export_utils", "generate_file", "simplify_graph"), EXPORT),
    **dict.fromkeys(("fuse_qkv", "fuse_transpose_gemm", "defer_resize_past_sum"), ATTENTION),
    **dict.fromkeys(("mandatory_annotations", "mandatory_attrs", "preferred_annotations", "preferred_attrs"), ANNOTATE),
    **dict.fromkeys(
        (
            *("fibnlr", "fibnlr_Parameters", "fibnlr_compute", "fibnlr_compute_NNPR", "fibnlr_find_groups"),
            *("fibnlr_find_node_by_group", "fibnlr_prepare", "fibnlr_prune"),
        ),
        "this pruning is out of scope; aidgejax.passes and NumPy change Producers",
    ),
    **dict.fromkeys(("split_multi_devices", "get_underlying_type"), PARALLEL),
    **dict.fromkeys(("constant_shape_folding", "fold_constantOfShape"), "shapes are folded when a graph is compiled"),
    **dict.fromkeys(("set_number_of_steps", "spikegen_rate"), "draw spike trains with NumPy, [steps, batch, features]"),
    "apply_weight_interleaving": "low-bit weights are packed by aidgejax.quant",
    "check_graph_validity": "a graph is checked when it runs; forward_dims checks its shapes",
    "crypto_hash_function": "use hashlib",
    "stft_to_dft": "Fourier transforms are read from ONNX files (aidge_onnx.load_onnx)",
    "is_packed": "data types below 8 bits are names only",
    "DynamicAnalysis": "use StaticAnalysis after forward_dims",
    "GraphRegex": "use SinglePassGraphMatching",
}


PLANNING = "XLA plans the memory of a compiled graph; no node counts what it consumes"
SPECS = "an implementation here says nothing of formats; set_backend takes what is registered for the backend"
METHODS = {
    **dict.fromkeys(
        (
            *("get_nb_consumed_data", "get_nb_produced_data", "get_nb_required_data", "get_nb_required_protected"),
            *("get_required_memory", "reset_consummer_producer", "update_consummer_producer", "prod_conso"),
            *("get_prod_conso", "NoBackend"),
        ),
        PLANNING,
    ),
    **dict.fromkeys(
        (
            *("get_adaptation", "get_available_impl_specs", "get_best_adaptation", "get_best_match"),
            *("get_matching_specs", "get_required_spec", "prop", "force_dynamic_dims"),
        ),
        SPECS,
    ),
    **dict.fromkeys(
        (
            *("generate_memory", "generate_memory_auto_concat", "generate_memory_multiple_mems"),
            "generate_memory_multiple_mems_autoconcat",
        ),
        MEMORY,
    ),
    "tag_conditional_nodes": "graphs have no conditional nodes here",
    "from_data_ptr": "make the Tensor of a NumPy array, such as numpy.ctypeslib.as_array(pointer, shape)",
    "impl": "np.asarray(tensor) is a view of the data",
}


class AbsentMethods(AbsentMembers):
    """A base of classes: methods of Aidge's that are not here say what to use instead."""

    absent_members = METHODS
    absent_error = MissingAttribute


class MissingImport(AidgeError, ImportError):
    """`from aidge_core import name` of a name that is not here."""


def absent(name: str) -> AidgeError:
    """The error for this name: an ImportError where it is imported, an AttributeError where it is read."""
    if name.removesuffix("Op") in OPERATORS:
        message = (
            f"aidge_core.{name} is an operator of Aidge's that aidgejax does not have; build it "
            f"from others, or leave the part that uses it to Aidge. Absent are: {', '.join(OPERATORS)}"
        )
    elif name in NAMES:
        message = f"aidge_core.{name} is not in aidgejax: {NAMES[name]}"
    else:
        message = f"module 'aidge_core' has no attribute {name!r}"
    return (MissingImport if is_import_from(3) else MissingAttribute)(message)
