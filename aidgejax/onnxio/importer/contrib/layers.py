"""Activations, normalizations and products of com.microsoft in standard operators."""

from __future__ import annotations

from ....graph import Value
from .registry import NUMBERS, Unread, activated, contrib, known_rank

# ---- activations --------------------------------------------------------------------------------------


@contrib("Gelu")
def gelu(op, x):
    return op.Gelu(x)


@contrib("FastGelu")
def fast_gelu(op, x, bias=None):
    return op.Gelu(x if bias is None else op.Add(x, bias), approximate="tanh")


@contrib("BiasGelu")
def bias_gelu(op, x, bias):
    return op.Gelu(op.Add(x, bias))


@contrib("QuickGelu")
def quick_gelu(op, x, *, alpha=1.702):
    return op.Mul(x, op.Sigmoid(op.Mul(x, alpha)))


@contrib("BiasSplitGelu")
def bias_split_gelu(op, x, bias):
    left, right = op.Split(op.Add(x, bias), axis=-1, num_outputs=2, outputs=2)
    return op.Mul(left, op.Gelu(right))


@contrib("BiasAdd")
def bias_add(op, x, bias, skip):
    return op.Add(op.Add(x, bias), skip)


# ---- normalization ------------------------------------------------------------------------------------


def _rms(op, x, scale, axis, epsilon):
    """(normalized and scaled, 1 / root mean square)"""
    inv = op.Reciprocal(op.Sqrt(op.Add(op.ReduceMean(op.Mul(x, x), (axis,), keepdims=1), epsilon)))
    return op.RMSNormalization(x, scale, axis=axis, epsilon=epsilon), inv


@contrib("SimplifiedLayerNormalization")
def simplified_layer_normalization(op, x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    return _rms(op, x, scale, axis, epsilon)


@contrib("SkipLayerNormalization")
def skip_layer_normalization(op, x, skip, gamma, beta=None, bias=None, *, epsilon=1e-12):
    total = op.Add(x, skip) if bias is None else op.Add(op.Add(x, skip), bias)
    y, mean, inv = op.LayerNormalization(total, gamma, beta, axis=-1, epsilon=epsilon, outputs=3)
    return y, mean, inv, total


@contrib("SkipSimplifiedLayerNormalization")
def skip_simplified_layer_normalization(op, x, skip, gamma, bias=None, *, epsilon=1e-12):
    total = op.Add(x, skip) if bias is None else op.Add(op.Add(x, skip), bias)
    y, inv = _rms(op, total, gamma, -1, epsilon)
    return y, None, inv, total


@contrib("EmbedLayerNormalization")
def embed_layer_normalization(
    op,
    input_ids,
    segment_ids,
    words,
    positions,
    segments,
    gamma,
    beta,
    mask=None,
    position_ids=None,
    *,
    epsilon=1e-12,
    mask_index_type=1,
):
    if position_ids is None:
        length = op.Squeeze(op.Shape(input_ids, start=1, end=2), (0,))
        position_ids = op.Range(0, length, 1)
    total = op.Add(op.Gather(words, input_ids, axis=0), op.Gather(positions, position_ids, axis=0))
    if segment_ids is not None:
        total = op.Add(total, op.Gather(segments, segment_ids, axis=0))
    if mask is None:
        index = op.Cast(op.ReduceSum(op.Mul(input_ids, 0), (1,), keepdims=0), to=6)
    else:
        index = op.ReduceSum(op.Cast(mask, to=6), (1,), keepdims=0)
    return op.LayerNormalization(total, gamma, beta, axis=-1, epsilon=epsilon), index, total


# ---- products -----------------------------------------------------------------------------------------


@contrib("FusedMatMul", "TransposeMatMul")
def fused_matmul(op, a, b, *, alpha=1.0, transA=0, transB=0, transBatchA=0, transBatchB=0):
    if transBatchA or transBatchB:
        raise Unread("transBatchA and transBatchB are not read")
    a, transA = _transposed(op, a, transA)
    b, transB = _transposed(op, b, transB)
    if transA or transB:
        y = op.Einsum(a, b, equation=f"...{'ji' if transA else 'ij'},...{'kj' if transB else 'jk'}->...ik")
    else:
        y = op.MatMul(a, b)
    return y if alpha == 1.0 else op.Mul(y, alpha)


def _transposed(op, x, swapped):
    """(the matrices with their axes swapped, whether that is still to be done): their rank must be known for it."""
    rank = len(x.shape) if swapped and isinstance(x, Value) and x.shape is not None else 0
    return (op.Transpose(x, perm=(*range(rank - 2), rank - 1, rank - 2)), 0) if rank > 1 else (x, swapped)


@contrib("FusedGemm")
def fused_gemm(
    op, a, b, c=None, *, activation="", activation_alpha=None, activation_beta=None, activation_gamma=None, **how
):
    numbers = {"alpha": activation_alpha, "beta": activation_beta, "gamma": activation_gamma}
    given = [numbers[k] for k in NUMBERS.get(activation, ()) if numbers[k] is not None]
    return activated(op, op.Gemm(a, b, c, **how), activation, given)


@contrib("FusedConv")
def fused_conv(op, x, w, b=None, z=None, *, activation="", activation_params=(), **how):
    y = op.Conv(x, w, b, **how)
    return activated(op, y if z is None else op.Add(y, z), activation, activation_params)


@contrib("GemmFastGelu")
def gemm_fast_gelu(op, x, w, bias=None):
    return fast_gelu(op, op.MatMul(x, w), bias)


@contrib("FusedMatMulActivation")
def fused_matmul_activation(
    op,
    a,
    b,
    *,
    activation,
    activation_alpha=None,
    activation_beta=None,
    activation_gamma=None,
    activation_axis=-1,
    **how,
):
    y = fused_matmul(op, a, b, **how)
    if activation == "Softmax":
        return op.Softmax(y, axis=activation_axis)
    numbers = {"alpha": activation_alpha, "beta": activation_beta, "gamma": activation_gamma}
    given = [numbers[k] for k in NUMBERS.get(activation, ()) if numbers[k] is not None]
    return activated(op, y, activation, given)


# ---- a bias and what follows it -----------------------------------------------------------------------


@contrib("BiasSoftmax", shaped=True)
def bias_softmax(op, x, bias, *, is_inner_broadcast, axis=1):
    """Over all axes from this one on."""
    rank = known_rank(x, "data")
    y = op.Add(x, bias)
    if axis % rank == rank - 1:
        return op.Softmax(y, axis=-1)
    return op.Reshape(op.Softmax(op.Flatten(y, axis=axis), axis=-1), op.Shape(y))


@contrib("BiasDropout")
def bias_dropout(op, x, bias, residual=None, ratio=None, training_mode=None, *, seed=None):
    y, mask = op.Dropout(op.Add(x, bias), ratio, training_mode, outputs=2)
    return y if residual is None else op.Add(y, residual), mask


# ---- older or wider forms of standard operators -------------------------------------------------------


@contrib("Trilu")
def trilu(op, x, k=None, *, upper=1):
    return op.Trilu(x, k, upper=upper)


@contrib("Pad")
def pad(op, x, pads, value=None, *, mode="constant"):
    return op.Pad(x, pads, value, mode=mode)


@contrib("Range")
def range_(op, start, limit, delta=None):
    return op.Range(start, limit, 1 if delta is None else delta)


@contrib("ExpandDims")
def expand_dims(op, x, axis):
    return op.Unsqueeze(x, op.Reshape(axis, (1,)))


@contrib("GatherND")
def gather_nd(op, x, indices):
    return op.GatherND(x, indices)


@contrib("GridSample")
def grid_sample(op, x, grid, *, mode="bilinear", padding_mode="zeros", align_corners=0):
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    return op.GridSample(x, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners)


@contrib("CDist")
def cdist(op, a, b, *, metric="sqeuclidean"):
    """Distances of every row of a to every row of b."""
    difference = op.Sub(op.Unsqueeze(a, (1,)), op.Unsqueeze(b, (0,)))
    square = op.ReduceSum(op.Mul(difference, difference), (2,), keepdims=0)
    return op.Sqrt(square) if metric == "euclidean" else square
