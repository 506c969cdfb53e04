"""Integers with their scales, between operators of floats."""

from .registry import contrib


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
