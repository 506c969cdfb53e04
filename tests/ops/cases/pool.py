import numpy as np

from .._case import Case, f


def steps(*shape):
    """Floats with many ties."""
    return np.random.default_rng(5).integers(0, 3, shape).astype(np.float32)


A_TIE = {"differences": "a kink: moving all tied elements moves the maximum once",
         "jax_agrees": "jax splits a tie of maximum into halves"}

NO_GLOBAL_LP = {"onnx_reference": "onnx's evaluator does not have GlobalLpPool"}

CASES = [
    Case("MaxPool", (f(2, 3, 4, 6),), why="tiles", kernel_shape=(2, 2), strides=(2, 2)),
    Case("MaxPool", (f(2, 3, 5, 7),), why="tiles, the end left out", kernel_shape=(2, 3), strides=(2, 3)),
    Case("MaxPool", (f(2, 3, 6, 7),), why="overlapping, asymmetric pads", kernel_shape=(3, 3), strides=(2, 1),
         pads=(1, 0, 0, 2)),
    Case("MaxPool", (f(2, 2, 6, 5),), why="stride 1 by default", kernel_shape=(2, 3),
         excused={"onnx_gradient": "onnx's indices are wrong where all strides are 1; see test_windows.py"}),
    Case("MaxPool", (f(2, 2, 6, 6),), why="ceil_mode", kernel_shape=(3, 3), strides=(2, 2), ceil_mode=1),
    Case("MaxPool", (f(2, 2, 5, 5),), why="ceil_mode, no window starts in the padding behind", kernel_shape=(2, 2),
         strides=(2, 3), pads=(1, 1, 1, 1), ceil_mode=1),
    Case("MaxPool", (f(2, 2, 7, 8),), why="dilated", kernel_shape=(2, 3), dilations=(3, 2), strides=(2, 1)),
    Case("MaxPool", (f(2, 2, 6, 7),), kernel_shape=(3, 2), strides=(2, 2), auto_pad="SAME_UPPER"),
    Case("MaxPool", (f(2, 2, 6, 7),), kernel_shape=(3, 2), strides=(2, 2), auto_pad="SAME_LOWER",
         excused={"onnx_reference": "onnx rounds 7 / 2 down for SAME_LOWER, up for SAME_UPPER"}),
    Case("MaxPool", (f(2, 2, 6, 7),), kernel_shape=(3, 2), strides=(2, 2), auto_pad="VALID"),
    Case("MaxPool", (f(2, 3, 9),), why="one spatial axis", kernel_shape=(3,), strides=(2,), pads=(1, 1)),
    Case("MaxPool", (f(2, 2, 4, 5, 4),), why="three spatial axes", kernel_shape=(2, 3, 2), strides=(2, 1, 2)),
    Case("MaxPool", (f(2, 3, 5, 6),), why="with indices", outputs=2, kernel_shape=(3, 2), strides=(2, 2),
         pads=(1, 0, 1, 1)),
    Case("MaxPool", (f(2, 3, 5, 6),), why="indices count columns first", outputs=2, kernel_shape=(2, 2),
         strides=(2, 2), storage_order=1),
    Case("MaxPool", (steps(2, 3, 6, 6),), why="ties: the first of a window wins", kernel_shape=(3, 3), strides=(2, 2),
         pads=(1, 1, 1, 1), outputs=2, excused=A_TIE),
    Case("MaxPool", (steps(2, 2, 4, 4),), why="ties in tiles", kernel_shape=(2, 2), strides=(2, 2), excused=A_TIE),
    Case("MaxPool", (np.arange(-16, 16).astype(np.int8).reshape(1, 2, 4, 4),), why="integers", kernel_shape=(2, 2),
         strides=(2, 2), pads=(1, 1, 1, 1), batch=()),
    Case("MaxPoolGrad", (f(2, 3, 2, 3), f(2, 3, 4, 6), f(2, 3, 2, 3)), why="an output that is nowhere",
         kernel_shape=(2, 2), strides=(2, 2), batch=(0, 1, 2),
         excused={"onnx_reference": "the spelled form looks for the maximum itself",
                  "onnx_round_trip": "the spelled form looks for the maximum itself"}),
    Case("AveragePool", (f(2, 3, 4, 6),), why="tiles", kernel_shape=(2, 2), strides=(2, 2)),
    Case("AveragePool", (f(2, 3, 6, 7),), why="padding does not count", kernel_shape=(3, 3), strides=(2, 1),
         pads=(1, 0, 1, 2)),
    Case("AveragePool", (f(2, 3, 6, 7),), why="padding counts", kernel_shape=(3, 3), strides=(2, 1), pads=(1, 0, 1, 2),
         count_include_pad=1),
    Case("AveragePool", (f(2, 2, 6, 6),), why="ceil_mode", kernel_shape=(3, 3), strides=(2, 2), ceil_mode=1),
    Case("AveragePool", (f(2, 2, 6, 6),), why="ceil_mode, padding counts, what lies behind it does not",
         kernel_shape=(3, 3), strides=(2, 2), pads=(0, 1, 0, 0), ceil_mode=1, count_include_pad=1),
    Case("AveragePool", (f(2, 2, 7, 8),), why="dilated", kernel_shape=(2, 3), dilations=(3, 2), strides=(2, 1)),
    Case("AveragePool", (f(2, 2, 6, 7),), kernel_shape=(3, 2), strides=(2, 2), auto_pad="SAME_UPPER"),
    Case("AveragePool", (f(2, 2, 6, 7),), kernel_shape=(3, 2), strides=(2, 2), auto_pad="SAME_LOWER"),
    Case("AveragePool", (f(2, 2, 6, 7),), kernel_shape=(3, 2), strides=(2, 2), auto_pad="VALID"),
    Case("AveragePool", (f(2, 3, 9),), why="one spatial axis", kernel_shape=(3,), strides=(2,), pads=(1, 1)),
    Case("AveragePool", (f(2, 2, 4, 5, 4),), why="three spatial axes", kernel_shape=(2, 3, 2), strides=(2, 1, 2)),
    Case("AveragePoolGrad", (f(2, 3, 3, 3), f(2, 3, 6, 5)), kernel_shape=(2, 2), strides=(2, 2), pads=(0, 0, 0, 1),
         batch=(0, 1)),
    Case("GlobalAveragePool", (f(2, 3, 4, 5),)),
    Case("GlobalAveragePool", (f(2, 3, 5),), why="one spatial axis"),
    Case("GlobalAveragePoolGrad", (f(2, 3, 1, 1), f(2, 3, 4, 5)), batch=(0, 1)),
    Case("MaxPool", (np.array([[[[-np.inf, 1, -np.inf, -np.inf]]]], np.float32),), why="nothing but -inf in a window",
         outputs=2, kernel_shape=(1, 2), strides=(1, 2), pads=(0, 1, 0, 1), batch=(), excused={
             "differences": "infinite", "jax_agrees": "jax sends gradients into the padding",
             "onnx_reference": "onnx counts the padding among the indices",
             "onnx_gradient": "onnx counts the padding among the indices"}),
    Case("GlobalMaxPool", (f(2, 3, 4, 5),)),
    Case("GlobalMaxPool", (f(2, 3, 5),), why="one spatial axis",
         excused={"onnx_reference": "onnx takes the maximum over two axes always"}),
    Case("GlobalMaxPool", (steps(2, 3, 3, 3),), why="ties: the first wins", excused=A_TIE),
    Case("GlobalMaxPoolGrad", (f(2, 3, 1, 1), f(2, 3, 4, 5)), batch=(0, 1)),
    Case("LpPool", (f(2, 3, 6, 5),), kernel_shape=(3, 2), strides=(2, 1), pads=(1, 0, 1, 1)),
    Case("LpPool", (f(2, 3, 6, 6),), kernel_shape=(2, 2), strides=(2, 2), p=1),
    Case("LpPool", (f(2, 3, 7),), kernel_shape=(3,), strides=(2,), ceil_mode=1, p=3),
    Case("LpPool", (f(2, 3, 7, 6),), kernel_shape=(2, 2), dilations=(2, 3)),
    Case("LpPool", (f(2, 3, 7, 6),), kernel_shape=(3, 2), strides=(2, 2), auto_pad="SAME_UPPER"),
    Case("LpPool", (np.zeros((1, 1, 4, 4), np.float32),), why="the norm of zeros has no slope", kernel_shape=(2, 2),
         strides=(2, 2), excused={"differences": "a kink", "jax_agrees": "jax says nan"}),
    Case("LpPoolGrad", (f(2, 3, 3, 3), f(2, 3, 6, 6), f(2, 3, 3, 3, lo=1)), kernel_shape=(2, 2), strides=(2, 2), p=3,
         batch=(0, 1, 2)),
    Case("GlobalLpPool", (f(2, 3, 4, 5),), excused=NO_GLOBAL_LP),
    Case("GlobalLpPool", (f(2, 3, 4, 5),), p=1, excused=NO_GLOBAL_LP),
    Case("GlobalLpPool", (f(2, 3, 5),), why="one spatial axis", p=3, excused=NO_GLOBAL_LP),
]
