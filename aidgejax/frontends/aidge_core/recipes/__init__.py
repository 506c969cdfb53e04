"""Recipes: graph -> the same graph, changed in place.  Names are those of aidge_core 0.10.1."""

from .constants import (
    adapt_fc_params_format,
    adapt_to_backend,
    constant_folding,
    explicit_cast_move,
    explicit_transpose,
    skip_attr_backward,
    to_generic_op,
)
from .fusing import (
    conv_to_matMul,
    convert_reduce_mean_global_average_pooling,
    fuse_batchnorm,
    fuse_concatenation,
    fuse_consecutive_adds,
    fuse_consecutive_slices,
    fuse_consecutive_squeeze,
    fuse_consecutive_unsqueeze,
    fuse_convolution,
    fuse_reduce_unsqueeze,
    fuse_transpose,
    matmul_to_fc,
)
from .metaops import expand_metaop, expand_metaops, fuse_to_metaop, fuse_to_metaops
from .removing import nop_monotone_arg_max, remove_dropout, remove_flatten, remove_identity, remove_node, remove_nodes

__all__ = [
    "adapt_fc_params_format",
    "adapt_to_backend",
    "constant_folding",
    "conv_to_matMul",
    "convert_reduce_mean_global_average_pooling",
    "expand_metaop",
    "expand_metaops",
    "explicit_cast_move",
    "explicit_transpose",
    "fuse_batchnorm",
    "fuse_concatenation",
    "fuse_consecutive_adds",
    "fuse_consecutive_slices",
    "fuse_consecutive_squeeze",
    "fuse_consecutive_unsqueeze",
    "fuse_convolution",
    "fuse_reduce_unsqueeze",
    "fuse_to_metaop",
    "fuse_to_metaops",
    "fuse_transpose",
    "matmul_to_fc",
    "nop_monotone_arg_max",
    "remove_dropout",
    "remove_flatten",
    "remove_identity",
    "remove_node",
    "remove_nodes",
    "skip_attr_backward",
    "to_generic_op",
]
