import numpy as np

from .._case import Case, f

CASES = [
    Case("Identity", (f(3, 4),)),
    Case("Shape", (f(3, 4, 5),), start=1, batch=()),
    Case("Reshape", (f(2, 3, 4), (0, -1)), why="0 keeps, -1 is the rest"),
    Case("Reshape", (f(2, 3, 4), np.array([4, 6])), why="the target is a constant tensor", batch=()),
    Case("ReshapeLike", (f(2, 6), f(2, 2, 3)), wrt=(0,), batch=(0, 1)),
    Case("Expand", (f(3, 1), (2, 1, 4)), batch=()),
    Case("ExpandLike", (f(3, 1), f(2, 3, 4)), wrt=(0,), batch=(1,)),
    Case("ZerosLike", (f(3, 4),), wrt=()),
    Case("CastLike", (f(3, 4), f(1)), wrt=(0,)),
]
