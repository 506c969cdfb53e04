import numpy as np

from .._case import Case, f, i

CASES = [
    Case("Shape", (f(3, 4, 5),), start=1, batch=()),
    Case("Shape", (f(3, 4, 5),), start=-2, end=-1, batch=()),
    Case("Size", (f(3, 4),), batch=()),
    Case("ConstantOfShape", ((2, 3),), why="zeros"),
    Case("ConstantOfShape", (np.array([2, 3]),), why="int64", value=np.array([7])),
    Case("Range", (1, 8, 3)),
    Case("Range", (np.float32(5), np.float32(1), np.float32(-1.5)), why="downwards, in float32"),
    Case("EyeLike", (f(3, 4),), k=1, batch=()),
    Case("EyeLike", (i(3, 2),), k=-1, dtype=1, batch=()),
]
