"""Operators of com.microsoft, which exporters and onnxruntime's optimizer write, spelled in standard ones when read.

    @contrib("QuickGelu")
    def quick_gelu(op, x, *, alpha=1.702):
        return op.Mul(x, op.Sigmoid(op.Mul(x, alpha)))

A function gets the node's inputs by position and its attributes by keyword, and returns its outputs.  `shaped`
functions ask for the shape of an input.  What each means is onnxruntime's, against which the tests check it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from ...errors import AidgeJaxError, ModelFileError
from ...graph import Graph, Node, Value
from ...passes.rewrite import replace_nodes, with_shapes

MINE = "com.microsoft"
CONTRIB: dict[str, Callable] = {}
SHAPED: set[str] = set()
# Written by onnxruntime's tools in the default domain, where ONNX does not have them.
UNDER_ANY_NAME = ("SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "SkipLayerNormalization")


def contrib(*names: str, shaped: bool = False):
    def register(function: Callable) -> Callable:
        for name in names:
            CONTRIB[name] = function
            if shaped:
                SHAPED.add(name)
        return function

    return register


def is_contrib(domain: str, op_type: str) -> bool:
    return op_type in CONTRIB and (domain == MINE or domain == "" and op_type in UNDER_ANY_NAME)


def in_standard_operators(graph: Graph) -> Graph:
    """The graph with the nodes of com.microsoft that are known here spelled in operators of ONNX."""
    while found := next((n for n in graph.nodes if is_contrib(n.domain, n.op)), None):
        if found.op in SHAPED:
            graph = replace_nodes(_with_shapes_before(graph, found), partial(_spelling_of, found))
        else:
            graph = replace_nodes(graph, _spelling_without_shapes)
    return graph


def _spelling_of(one: Node, node: Node) -> Callable | None:
    return _spelling(node) if node is one else None


def _spelling_without_shapes(node: Node) -> Callable | None:
    return None if node.op in SHAPED else _spelling(node)


def _spelling(node: Node) -> Callable | None:
    if not is_contrib(node.domain, node.op):
        return None
    function = CONTRIB[node.op]

    def spell(op, *inputs, **attributes):
        try:
            return function(op, *inputs, **attributes)
        except TypeError as e:
            raise ModelFileError(
                f"node {node.name!r} ({node.op} of {MINE}) cannot be read: {str(e).split('() ', 1)[-1]}"
            ) from None
        except _Unread as e:
            raise ModelFileError(f"node {node.name!r} ({node.op} of {MINE}) cannot be read: {e}") from None

    return spell


class _Unread(Exception):
    """What a function here cannot spell."""


def _with_shapes_before(graph: Graph, node: Node) -> Graph:
    """The same graph, knowing the shapes of what the node reads, as far as they can be found."""
    before = graph.copy()
    before.nodes = graph.nodes[: graph.nodes.index(node)]
    before.outputs = [i for i in node.input_names if i in graph.values]
    before.prune()
    for name, v in before.inputs.items():
        if v.shape is not None:
            named = tuple(("N" if k == 0 else f"size_{k}") if d is None else d for k, d in enumerate(v.shape))
            before.inputs[name] = Value(name, named, v.dtype)
    try:
        known = with_shapes(before)
    except AidgeJaxError:
        return graph
    twin = graph.copy()
    twin.values |= {o: known.values[o] for o in before.outputs}
    return twin


def _rank(x: Value, what: str) -> int:
    if x.rank is None:
        raise _Unread(f"how many axes its {what} has is not known; give the shapes of the model's inputs")
    return x.rank


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


# {activation in a fused operator: the names of its numbers, in order}
NUMBERS = {
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "HardSwish": (),
}


def _activated(op, x, activation, numbers):
    if not activation:
        return x
    if activation == "Clip":
        return op.Clip(x, *map(float, numbers))
    if activation not in NUMBERS:
        raise _Unread(f"its activation {activation!r} is none of Clip, {', '.join(NUMBERS)}")
    return getattr(op, activation)(x, **dict(zip(NUMBERS[activation], numbers, strict=False)))


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
        raise _Unread("transBatchA and transBatchB are not read")
    if transA or transB:
        y = op.Einsum(a, b, equation=f"...{'ji' if transA else 'ij'},...{'kj' if transB else 'jk'}->...ik")
    else:
        y = op.MatMul(a, b)
    return y if alpha == 1.0 else op.Mul(y, alpha)


@contrib("FusedGemm")
def fused_gemm(
    op, a, b, c=None, *, activation="", activation_alpha=None, activation_beta=None, activation_gamma=None, **how
):
    numbers = {"alpha": activation_alpha, "beta": activation_beta, "gamma": activation_gamma}
    given = [numbers[k] for k in NUMBERS.get(activation, ()) if numbers[k] is not None]
    return _activated(op, op.Gemm(a, b, c, **how), activation, given)


@contrib("FusedConv")
def fused_conv(op, x, w, b=None, z=None, *, activation="", activation_params=(), **how):
    y = op.Conv(x, w, b, **how)
    return _activated(op, y if z is None else op.Add(y, z), activation, activation_params)


# ---- attention ----------------------------------------------------------------------------------------


def _looked_at(op, mask, query, keys):
    """Which keys may be looked at, bool [b, 1, l or 1, s], of a mask in one of its forms: lengths [b], or not 0 where a
    key counts, [b, s] or [b, l, s]."""
    rank = _rank(mask, "mask")
    if rank == 1:
        if None in (mask.shape, query.shape) or mask.shape[0] != query.shape[0]:
            raise _Unread(f"its mask of shape {list(mask.shape or ())} is not one length for each row of the batch")
        total = op.Squeeze(op.Shape(keys, start=1, end=2), (0,))
        return op.Less(op.Range(0, total, 1), op.Cast(op.Unsqueeze(mask, (1, 2, 3)), to=7))
    if rank in (2, 3):
        return op.Cast(op.Unsqueeze(mask, (1, 2) if rank == 2 else (1,)), to=9)
    raise _Unread(f"its mask has {rank} axes; 1 to 3 are read")


def _joined(op, seen, bias):
    """One mask of a bool one and of what is added."""
    if seen is None or bias is None:
        return bias if seen is None else seen
    return op.Where(seen, bias, -math.inf)


@contrib("Attention", shaped=True)
def attention(
    op,
    x,
    weights,
    bias=None,
    mask=None,
    past=None,
    attention_bias=None,
    past_sequence_length=None,
    *,
    num_heads,
    unidirectional=0,
    qkv_hidden_sizes=None,
    mask_filter_value=-10000.0,
    scale=0.0,
    do_rotary=0,
    past_present_share_buffer=0,
    rotary_embedding_dim=0,
):
    if do_rotary or past_present_share_buffer:
        raise _Unread("do_rotary and past_present_share_buffer are not read")
    qkv = op.MatMul(x, weights)
    qkv = qkv if bias is None else op.Add(qkv, bias)
    if qkv_hidden_sizes:
        q, k, v = op.Split(qkv, tuple(qkv_hidden_sizes), axis=-1, outputs=3)
    else:
        q, k, v = op.Split(qkv, axis=-1, num_outputs=3, outputs=3)
    pasts = (None, None) if past is None else (op.Gather(past, 0, axis=0), op.Gather(past, 1, axis=0))
    if past is not None and mask is not None and mask.rank == 1:
        raise _Unread("a mask of lengths beside past keys is not read")
    seen = None if mask is None else _looked_at(op, mask, x, x)
    y, keys, values = op.Attention(
        q,
        k,
        v,
        _joined(op, seen, attention_bias),
        *pasts,
        outputs=3,
        q_num_heads=num_heads,
        kv_num_heads=num_heads,
        is_causal=unidirectional,
        scale=scale or None,
    )
    present = op.Concat(op.Unsqueeze(keys, (0,)), op.Unsqueeze(values, (0,)), axis=0)
    return y, present


def _flat(op, t, what):
    """[b, l, h] of keys or values that may come as [b, n, l, h / n]."""
    if _rank(t, what) == 4:
        return op.Reshape(op.Transpose(t, perm=(0, 2, 1, 3)), (0, 0, -1))
    return t


def _unpacked(op, packed, count):
    """[b, l, n, count, h] -> count times [b, l, n h]"""
    parts = op.Split(packed, axis=3, num_outputs=count, outputs=count)
    return [op.Reshape(p, (0, 0, -1)) for p in parts]


@contrib("MultiHeadAttention", shaped=True)
def multi_head_attention(
    op,
    query,
    key=None,
    value=None,
    bias=None,
    key_padding_mask=None,
    attention_bias=None,
    past_key=None,
    past_value=None,
    past_sequence_length=None,
    cache_indirection=None,
    *,
    num_heads,
    mask_filter_value=-10000.0,
    scale=0.0,
    unidirectional=0,
):
    if past_sequence_length is not None or cache_indirection is not None:
        raise _Unread("past_sequence_length and cache_indirection are not read")
    if key is None:
        query, key, value = _unpacked(op, query, 3)
        known = query
    elif value is None:
        known = query
        key, value = _unpacked(op, key, 2)
    else:
        known = query
        key, value = _flat(op, key, "key"), _flat(op, value, "value")
    if bias is not None:
        sizes = (known.shape or (None,))[-1]
        total = (bias.shape or (None,))[0]
        if not isinstance(total, int):
            raise _Unread("the size of its bias is not known")
        sizes = sizes if isinstance(sizes, int) else total // 3
        q, k, v = op.Split(bias, (sizes, sizes, total - 2 * sizes), axis=0, outputs=3)
        query, key, value = op.Add(query, q), op.Add(key, k), op.Add(value, v)
    seen = None if key_padding_mask is None else _looked_at(op, key_padding_mask, known, key)
    return op.Attention(
        query,
        key,
        value,
        _joined(op, seen, attention_bias),
        past_key,
        past_value,
        outputs=3,
        q_num_heads=num_heads,
        kv_num_heads=num_heads,
        is_causal=unidirectional,
        scale=scale or None,
    )


@contrib("RotaryEmbedding", shaped=True)
def rotary_embedding(
    op,
    x,
    position_ids,
    cos_cache,
    sin_cache,
    *,
    interleaved=0,
    is_packed_batching=0,
    num_heads=0,
    rotary_embedding_dim=0,
    scale=1.0,
):
    if is_packed_batching or scale != 1.0:
        raise _Unread("is_packed_batching and scale are not read")
    rank = _rank(x, "input")
    if rank == 3 and not num_heads:
        columns, width = (cos_cache.shape or (None,))[-1], x.shape[2]
        if not isinstance(columns, int) or not isinstance(width, int):
            raise _Unread("how many heads its input has is not known")
        num_heads = width // (2 * columns)
    if _rank(position_ids, "position_ids") == 1:  # where the first one stands
        length = op.Squeeze(op.Shape(x, start=rank - 2, end=rank - 1), (0,))
        position_ids = op.Add(op.Unsqueeze(position_ids, (0,)), op.Range(0, length, 1))
        sizes = op.Concat(op.Shape(x, start=0, end=1), op.Unsqueeze(length, (0,)), axis=0)
        position_ids = op.Expand(position_ids, sizes)
    return op.RotaryEmbedding(
        x,
        cos_cache,
        sin_cache,
        position_ids,
        interleaved=interleaved,
        num_heads=num_heads,
        rotary_embedding_dim=rotary_embedding_dim,
    )


# ---- quantized ----------------------------------------------------------------------------------------


@contrib("QuantizeLinear")
def quantize_linear(op, x, scale, zero_point=None, *, axis=1, block_size=0):
    return op.QuantizeLinear(x, scale, zero_point, axis=axis, block_size=block_size)


@contrib("DequantizeLinear")
def dequantize_linear(op, x, scale, zero_point=None, *, axis=1, block_size=0):
    return op.DequantizeLinear(x, scale, zero_point, axis=axis, block_size=block_size)


def _qlinear_binary(kind):
    def spell(op, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point=None):
        a, b = op.DequantizeLinear(a, a_scale, a_zero_point), op.DequantizeLinear(b, b_scale, b_zero_point)
        return op.QuantizeLinear(getattr(op, kind)(a, b), y_scale, y_zero_point)

    contrib(f"QLinear{kind}")(spell)


def _qlinear_unary(kind):
    def spell(op, x, x_scale, x_zero_point, y_scale, y_zero_point=None, **numbers):
        y = getattr(op, kind)(op.DequantizeLinear(x, x_scale, x_zero_point), **numbers)
        return op.QuantizeLinear(y, y_scale, y_zero_point)

    contrib(f"QLinear{kind}")(spell)


for _kind in ("Add", "Mul"):
    _qlinear_binary(_kind)
for _kind in ("Sigmoid", "LeakyRelu"):
    _qlinear_unary(_kind)


@contrib("QLinearConcat")
def qlinear_concat(op, y_scale, y_zero_point, *inputs, axis):
    parts = [op.DequantizeLinear(*inputs[k : k + 3]) for k in range(0, len(inputs), 3)]
    return op.QuantizeLinear(op.Concat(*parts, axis=axis), y_scale, y_zero_point)


@contrib("DynamicQuantizeMatMul")
def dynamic_quantize_matmul(op, a, b, b_scale, b_zero_point=None, bias=None):
    q, scale, zero_point = op.DynamicQuantizeLinear(a, outputs=3)
    return matmul_integer_to_float(op, q, b, scale, b_scale, zero_point, b_zero_point, bias)


@contrib("MatMulIntegerToFloat")
def matmul_integer_to_float(op, a, b, a_scale, b_scale, a_zero_point=None, b_zero_point=None, bias=None):
    y = op.MatMul(op.DequantizeLinear(a, a_scale, a_zero_point), op.DequantizeLinear(b, b_scale, b_zero_point, axis=-1))
    return y if bias is None else op.Add(y, bias)
