import numpy as np

from .._case import Case, b, f, i

CASES = [
    Case(
        "Cast",
        (f(3, 4),),
        why="to float64",
        to=11,
        skip={"float32": "without x64 JAX has no float64, and float32 stands for it"},
    ),
    Case(
        "Cast",
        (f(3, 4),),
        why="to float32",
        to=1,
        skip={"differences": "a difference quotient of numbers rounded to float32"},
    ),
    Case("Cast", (f(3, 4, lo=-9, hi=9),), why="to int32, towards zero", to=6, wrt=()),
    Case("Cast", (i(3, 4, lo=-1, hi=2),), why="int to bool", to=9),
    Case("Cast", (b(3, 4),), why="bool to int64", to=7),
    Case("CastLike", (f(3, 4), f(1)), wrt=(0,)),
    Case("CastLike", (f(3, 4, lo=-9, hi=9), i(2)), why="float to int", wrt=()),
    Case("BitCast", (np.array([[1, -1], [0, 1 << 30]], np.int32),), why="int32 as float32", to=1),
    Case("BitCast", (i(3, 4, hi=200, dtype=np.uint8),), why="uint8 as int8", to=3),
]
