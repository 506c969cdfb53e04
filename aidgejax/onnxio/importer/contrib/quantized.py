"""Quantized operators of com.microsoft: DequantizeLinear, the operator in floats, QuantizeLinear."""

from __future__ import annotations

from .attention import attention
from .layers import embed_layer_normalization
from .layouts import channels_behind, channels_first
from .registry import Unread, contrib

# ---- quantized ----------------------------------------------------------------------------------------


@contrib("QuantizeLinear")
def quantize_linear(op, x, scale, zero_point=None, *, axis=1, block_size=0):
    return op.QuantizeLinear(x, scale, zero_point, axis=axis, block_size=block_size)


@contrib("DequantizeLinear")
def dequantize_linear(op, x, scale, zero_point=None, *, axis=1, block_size=0):
    return op.DequantizeLinear(x, scale, zero_point, axis=axis, block_size=block_size)


def _qlinear_binary(kind):
    def write(op, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point=None):
        a, b = op.DequantizeLinear(a, a_scale, a_zero_point), op.DequantizeLinear(b, b_scale, b_zero_point)
        return op.QuantizeLinear(getattr(op, kind)(a, b), y_scale, y_zero_point)

    contrib(f"QLinear{kind}")(write)


def _qlinear_unary(kind):
    def write(op, x, x_scale, x_zero_point, y_scale, y_zero_point=None, **numbers):
        y = getattr(op, kind)(op.DequantizeLinear(x, x_scale, x_zero_point), **numbers)
        return op.QuantizeLinear(y, y_scale, y_zero_point)

    contrib(f"QLinear{kind}")(write)


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


# ---- one operator between scales ---------------------------------------------------------------------


@contrib("QGemm")
def qgemm(
    op, a, a_scale, a_zero, b, b_scale, b_zero, c=None, y_scale=None, y_zero=None, *, alpha=1.0, transA=0, transB=0
):
    left = op.DequantizeLinear(a, a_scale, a_zero)
    right = op.DequantizeLinear(b, b_scale, b_zero, axis=0 if transB else 1)
    # The bias is on the grid of the products, before alpha.
    bias = None if c is None else op.DequantizeLinear(c, op.Mul(a_scale, b_scale), axis=-1)
    y = op.Gemm(left, right, bias, alpha=alpha, beta=alpha, transA=transA, transB=transB)
    return y if y_scale is None else op.QuantizeLinear(y, y_scale, y_zero)


def _pooled(op, kind, x, x_scale, x_zero, y_scale, y_zero, channels_last, **how):
    v = op.DequantizeLinear(x, x_scale, x_zero)
    y = getattr(op, kind)(channels_first(op, v) if channels_last else v, **how)
    return op.QuantizeLinear(channels_behind(op, y) if channels_last else y, y_scale, y_zero)


@contrib("QLinearGlobalAveragePool")
def qlinear_global_average_pool(op, x, x_scale, x_zero, y_scale, y_zero, *, channels_last=0):
    return _pooled(op, "GlobalAveragePool", x, x_scale, x_zero, y_scale, y_zero, channels_last)


@contrib("QLinearAveragePool")
def qlinear_average_pool(op, x, x_scale, x_zero, y_scale, y_zero=None, *, channels_last=0, **how):
    return _pooled(op, "AveragePool", x, x_scale, x_zero, y_scale, y_zero, channels_last, **how)


@contrib("QLinearConv")
def qlinear_conv(op, x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, b=None, *, channels_last=0, **how):
    x = channels_first(op, x) if channels_last else x
    y = op.QLinearConv(x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, b, **how)
    return channels_behind(op, y) if channels_last else y


@contrib("QLinearReduceMean")
def qlinear_reduce_mean(op, x, x_scale, x_zero, y_scale, y_zero=None, *, axes, keepdims):
    y = op.ReduceMean(op.DequantizeLinear(x, x_scale, x_zero), tuple(axes), keepdims=keepdims)
    return op.QuantizeLinear(y, y_scale, y_zero)


@contrib("QLinearSoftmax")
def qlinear_softmax(op, x, x_scale, x_zero, y_scale, y_zero, *, opset, axis=-1):
    v = op.DequantizeLinear(x, x_scale, x_zero)
    if opset < 13:  # over all axes from this one on
        y = op.Reshape(op.Softmax(op.Flatten(v, axis=axis), axis=-1), op.Shape(v))
    else:
        y = op.Softmax(v, axis=axis)
    return op.QuantizeLinear(y, y_scale, y_zero)


@contrib("QLinearWhere")
def qlinear_where(op, condition, x, x_scale, x_zero, y, y_scale, y_zero, z_scale, z_zero):
    x, y = op.DequantizeLinear(x, x_scale, x_zero), op.DequantizeLinear(y, y_scale, y_zero)
    return op.QuantizeLinear(op.Where(condition, x, y), z_scale, z_zero)


@contrib("QAttention", shaped=True)
def qattention(op, x, w, bias, x_scale, w_scale, mask=None, x_zero=None, w_zero=None, past=None, **how):
    x = op.DequantizeLinear(x, x_scale, x_zero)
    w = op.DequantizeLinear(w, w_scale, w_zero, axis=-1)
    return attention(op, x, w, bias, mask, past, **how)


@contrib("QEmbedLayerNormalization")
def qembed_layer_normalization(
    op, input_ids, segment_ids, words, positions, segments, gamma, beta, mask, *grid, epsilon=1e-12
):
    """grid: the scales of the five tables, then their zero points."""
    tables = (words, positions, segments, gamma, beta)
    pairs = zip(tables, grid[:5], grid[5:], strict=True)
    floats = [None if t is None else op.DequantizeLinear(t, scale, zero) for t, scale, zero in pairs]
    normal, index, _ = embed_layer_normalization(op, input_ids, segment_ids, *floats, mask, epsilon=epsilon)
    return normal, index


@contrib("DynamicQuantizeLSTM")
def dynamic_quantize_lstm(op, x, w, r, b, lens, h, c, p, w_scale, w_zero, r_scale, r_zero, **how):
    """The matrices and scales as packed_weights.py leaves them; what is quantized at run time stays in floats."""
    del how["unpacked"]
    wide = [
        op.DequantizeLinear(q, scale, zero, axis=2, block_size=q.shape[2])
        for q, scale, zero in ((w, w_scale, w_zero), (r, r_scale, r_zero))
    ]
    return op.LSTM(x, *wide, b, lens, h, c, p, outputs=3, **how)


# ---- blocks with a scale each ------------------------------------------------------------------------


@contrib("MatMulNBits", shaped=True)
def matmul_n_bits(op, a, b, scales, zero=None, g_idx=None, bias=None, *, K, N, block_size, unpacked, **how):
    """b: integers [K, N]; scales, zero: [blocks, N]; g_idx: where each row stands, see packed_weights.py."""
    known = {"bits", "accuracy_level", "weight_prepacked"}
    if how.keys() - known:
        raise Unread(f"its attributes {', '.join(sorted(how.keys() - known))} are not known")
    whole = zero is None or not zero.is_float
    w = op.DequantizeLinear(b, scales, zero if whole else None, axis=0, block_size=block_size)
    if not whole:  # zero: what is taken off
        w = op.Sub(w, op.Gather(zero, tuple(k // block_size for k in range(K)), axis=0))
    if g_idx is not None and g_idx.dtype == "int64":
        w = op.Gather(w, g_idx, axis=0)
    y = op.MatMul(a, w if scales.dtype == a.dtype else op.CastLike(w, a))
    return y if bias is None else op.Add(y, bias)


@contrib("GatherBlockQuantized")
def gather_block_quantized(
    op, data, indices, scales, zero=None, *, unpacked, bits=4, block_size=128, gather_axis=0, quantize_axis=1
):
    table = op.DequantizeLinear(data, scales, zero, axis=quantize_axis, block_size=block_size)
    return op.Gather(table, indices, axis=gather_axis)
