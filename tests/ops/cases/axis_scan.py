import numpy as np

from .._case import Case, f, i

CHOICE = np.array([True, False, True])
SINGULAR = np.array([[[1, 2, 3], [2, 4, 6], [0.5, -1, 2]]], np.float32)
WITH_ZEROS = np.array([[1.5, 0, -2, 3], [0.5, 2, 0, 0]], np.float32)

CASES = [
    Case("ReverseSequence", (f(4, 3, 2), np.array([4, 1, 2])), batch=(), why="time first"),
    Case("ReverseSequence", (f(3, 4), np.array([4, 1, 2])), batch=(0, 1), batch_axis=0, time_axis=1, why="batch first"),
    Case("TensorScatter", (f(2, 3, 4, 2), f(2, 3, 2, 2), np.array([1, 2])), batch=(0, 1, 2), why="a cache of heads"),
    Case("TensorScatter", (f(2, 4, 2), f(2, 3, 2), np.array([3, 0])), batch=(0, 1, 2), axis=1, mode="circular"),
    Case("TensorScatter", (f(2, 2, 4), f(2, 2, 3)), batch=(0, 1), axis=-1, why="from the beginning"),
    Case("Compress", (f(3, 4), CHOICE), axis=-1, why="columns, fewer than there are"),
    Case("Compress", (f(2, 3), np.array([False, True, True, False, True])), batch=(), why="of the flattened tensor"),
    Case("CenterCropPad", (f(2, 5, 4), (2, 2, 7)), batch=(), why="cut, and put into zeros"),
    Case("CenterCropPad", (f(2, 5, 4), (7, 1)), axes=(-1, 1), why="some axes"),
    Case("CumProd", (f(3, 4), 1)),
    Case("CumProd", (f(3, 4), -1), exclusive=1),
    Case("CumProd", (WITH_ZEROS, 1), reverse=1, why="zeros"),
    Case("CumProd", (f(3, 4), 0), exclusive=1, reverse=1, batch=()),
    Case("CumProd", (i(3, 4, dtype=np.int32), 1), why="integers"),
    Case("CumProdGrad", (f(2, 4), WITH_ZEROS, 1), exclusive=1, batch=(0, 1)),
    Case("Det", (f(2, 3, 3),), why="several"),
    Case("Det", (f(2, 2),), batch=(), why="one"),
    Case("Det", (f(3, 1, 1),), why="numbers"),
    Case(
        "Det",
        (SINGULAR,),
        batch=(),
        why="a singular matrix has a gradient",
        skip={"plain_backward": "NumPy's inverts the matrix"},
    ),
    Case("AffineGrid", (f(2, 2, 3), (2, 1, 3, 2)), batch=()),
    Case("AffineGrid", (f(1, 3, 4), (1, 1, 2, 3, 2)), align_corners=1, batch=()),
    Case("AffineGridGrad", (f(2, 3, 2, 2),)),
    Case("Shrink", (f(3, 4),), bias=0.3, lambd=0.9),
    Case("Shrink", (np.array([-3, -1, 0, 1, 2], np.int32),), lambd=1.0, bias=1.0, why="integers"),
    Case("SwiGLU", (f(3, 4), f(3, 4)), batch=(0, 1)),
    Case("SwiGLU", (f(3, 4), f(3, 4)), batch=(0, 1), alpha=1.7),
]
