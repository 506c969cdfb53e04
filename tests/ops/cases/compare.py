import numpy as np

from .._case import Case, b, f, i

special = np.array([[0.0, np.nan], [np.inf, -np.inf]], np.float32)
integers = (i(3, 4, lo=-2, hi=2), i(4, lo=-2, hi=2))

CASES = [
    Case("Greater", (f(3, 4), f(4)), why="broadcasts"),
    Case("Greater", integers, why="integers, equal ones among them"),
    Case("GreaterOrEqual", (f(3, 4), 0.5), why="a number beside a tensor"),
    Case("GreaterOrEqual", integers, why="integers, equal ones among them"),
    Case("Less", (f(3, 4), f(4)), why="broadcasts"),
    Case("Less", integers, why="integers, equal ones among them"),
    Case("LessOrEqual", (f(2, 1, 4), f(3, 1)), why="both sides broadcast"),
    Case("LessOrEqual", integers, why="integers, equal ones among them"),
    Case("Equal", (special, special), why="NaN equals nothing, not even NaN", batch=(0, 1)),
    Case("Equal", integers, why="integers, equal ones among them"),
    Case("Equal", (b(3, 4), b(4)), why="bool"),
    Case("And", (b(3, 4), b(4))),
    Case("Or", (b(2, 1, 4), b(3, 1)), why="both sides broadcast"),
    Case("Xor", (b(3, 4), b(4))),
    Case("Not", (b(3, 4),)),
    Case("IsNaN", (special,)),
    Case("IsInf", (special,)),
    Case("IsInf", (special,), why="positive alone", detect_negative=0),
    Case("IsInf", (special,), why="negative alone", detect_positive=0),
    Case("IsInf", (special,), why="neither", detect_negative=0, detect_positive=0),
]
