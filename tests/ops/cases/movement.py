import numpy as np

from .._case import Case, b, f, i

DERIVED = "walk.infer_shapes takes a cotangent's size such as 2*N for a symbol that has nothing to do with N"
CORE = {"symbolic_batch": DERIVED, "onnx_gradient": DERIVED}

CASES = [
    Case("Identity", (f(3, 4),)),
    Case("ZerosLike", (f(3, 4),), wrt=()),
    Case("Cast", (f(3, 4),), why="to float64", to=11,
         excused={"reference": "without x64 JAX has no float64, and float32 stands for it"}),
    Case("Cast", (f(3, 4),), why="to float32", to=1,
         excused={"differences": "a difference quotient of numbers rounded to float32"}),
    Case("Cast", (f(3, 4, lo=-9, hi=9),), why="to int32, towards zero", to=6, wrt=()),
    Case("Cast", (i(3, 4, lo=-1, hi=2),), why="int to bool", to=9),
    Case("Cast", (b(3, 4),), why="bool to int64", to=7),
    Case("CastLike", (f(3, 4), f(1)), wrt=(0,)),
    Case("CastLike", (f(3, 4, lo=-9, hi=9), i(2)), why="float to int", wrt=()),
    Case("Reshape", (f(2, 3, 4), (0, -1)), why="0 keeps, -1 is the rest"),
    Case("Reshape", (f(2, 3, 4), np.array([4, 6])), why="the target is a constant tensor", batch=()),
    Case("Reshape", (f(0, 3), (3, 0)), why="allowzero: 0 is a size", batch=(), allowzero=1,
         excused={"differences": "there are no elements: nothing a wrong rule could change"}),
    Case("ReshapeLike", (f(2, 6), f(2, 2, 3)), wrt=(0,), batch=(0, 1)),
    Case("Flatten", (f(2, 3, 4),)),
    Case("Flatten", (f(2, 3, 4),), axis=0, excused=CORE),
    Case("Flatten", (f(2, 3, 4),), axis=-1, excused=CORE),
    Case("Flatten", (f(2, 3, 4),), axis=3, excused=CORE),
    Case("Squeeze", (f(3, 1, 4, 1), (1, -1))),
    Case("Squeeze", (f(3, 1, 4, 1),), why="all axes of size 1"),
    Case("Squeeze", (f(3, 1, 4), np.array([1])), why="axes are a constant tensor"),
    Case("Unsqueeze", (f(3, 4), (1, -1))),
    Case("Unsqueeze", (f(3, 4), (3, 0)), why="axes of the result, in any order"),
    Case("Transpose", (f(3, 4, 2),), why="reversed"),
    Case("Transpose", (f(3, 4, 2),), perm=(2, 0, 1)),
    Case("DepthToSpace", (f(2, 8, 3, 2),), blocksize=2),
    Case("DepthToSpace", (f(2, 8, 3, 2),), blocksize=2, mode="CRD"),
    Case("SpaceToDepth", (f(2, 3, 4, 6),), blocksize=2),
    Case("Expand", (f(3, 1), (2, 1, 4)), batch=()),
    Case("Expand", (f(3, 1), (4,)), why="the input has more axes"),
    Case("ExpandLike", (f(3, 1), f(2, 3, 4)), wrt=(0,), batch=(1,)),
    Case("Tile", (f(2, 3), (2, 3)), excused=CORE),
    Case("Tile", (f(2, 1, 3), np.array([1, 2, 2])), why="repeats are a constant tensor"),
    Case("Trilu", (f(2, 3, 4),), why="upper"),
    Case("Trilu", (f(2, 3, 4), -1), why="lower, below the diagonal", upper=0),
    Case("Trilu", (f(4, 3), 1), batch=()),
]
