import numpy as np

from .._case import Case, f, i, zeros

halves = np.array([[-2.5, -1.5, -0.5], [0.5, 1.5, 2.5], [-1.2, 0.49999997, 3.7]], np.float32)
bounded = np.array([[-3.0, -1.0, 0.25], [1.0, 2.0, -1.0]], np.float32)  # two of them exactly on -1, one on 1
scalar = lambda v: np.array(v, np.float32)
KINK = {"differences": "a kink: the central difference answers 1/2", "jax_agrees": "jax splits a tie into halves"}

CASES = [
    Case("Exp", (f(3, 4),)),
    Case("Log", (f(3, 4, lo=0.1, hi=9.0),)),
    Case("Sqrt", (f(3, 4, lo=0.1, hi=9.0),)),
    Case("Reciprocal", (f(3, 4, lo=0.3),), why="positive"),
    Case("Reciprocal", (f(3, 4, lo=-2.0, hi=-0.3),), why="negative"),
    Case("Erf", (f(3, 4),)),
    Case("Erf", (f(3, 4, lo=-9.0, hi=9.0),), why="saturated ends"),
    Case("Neg", (f(3, 4),)),
    Case("Neg", (i(3, 4),), why="integers"),
    Case("Abs", (f(3, 4),)),
    Case("Abs", (i(3, 4, lo=-5),), why="integers"),
    Case(
        "Abs",
        (np.array([[-2.0, 0.0, 3.0]], np.float32),),
        why="the slope at zero is zero",
        skip={"jax_agrees": "jax says 1"},
    ),
    Case(
        "Abs",
        (zeros(2, 2),),
        why="TVM's slope at zero",
        slope_at_zero=1.0,
        skip={"differences": "a kink: the central difference answers 0"},
    ),
    Case("Abs", (f(2, 3, 4, 4),), why="TVM's slope elsewhere", slope_at_zero=1.0),
    Case("Sign", (f(3, 4),), wrt=()),
    Case("Sign", (i(3, 4, lo=-2, hi=3),), why="integers"),
    Case("Floor", (halves,), wrt=()),
    Case("Ceil", (halves,), wrt=()),
    Case("Round", (halves,), why="halves to even", wrt=()),
    Case("Round", (halves,), why="halves away from zero", halves="away", wrt=()),
    Case("Clip", (f(3, 4), -1.0, 1.0), why="both bounds are numbers"),
    Case("Clip", (f(3, 4), scalar(-1.0), scalar(0.5)), why="both bounds are tensors"),
    Case("Clip", (f(3, 4), None, scalar(0.5)), why="no lower bound"),
    Case("Clip", (f(3, 4), scalar(-0.5)), why="no upper bound"),
    Case("Clip", (f(3, 4),), why="no bounds"),
    Case("Clip", (f(2, 3, 4, 4), scalar(-0.5), 0.5), why="images"),
    Case(
        "Clip",
        (f(3, 4), scalar(1.0), scalar(-1.0)),
        why="the lower bound above the upper one: all become the upper",
        wrt=(2,),
    ),
    Case("Clip", (bounded, scalar(-1.0), scalar(1.0)), why="on the bounds the gradient belongs to x", skip=KINK),
    Case("Clip", (i(3, 4), 1, 3), why="integers"),
    Case("Sin", (f(3, 4, lo=-9.0, hi=9.0),)),
    Case("Cos", (f(3, 4, lo=-9.0, hi=9.0),)),
    Case("Tan", (f(3, 4, lo=-1.4, hi=1.4),)),
    Case("Asin", (f(3, 4, lo=-0.95, hi=0.95),)),
    Case("Acos", (f(3, 4, lo=-0.95, hi=0.95),)),
    Case("Atan", (f(3, 4, lo=-9.0, hi=9.0),)),
    Case("Sinh", (f(3, 4),)),
    Case("Cosh", (f(3, 4),)),
    Case("Asinh", (f(3, 4, lo=-9.0, hi=9.0),)),
    Case("Acosh", (f(3, 4, lo=1.1, hi=9.0),)),
    Case("Atanh", (f(3, 4, lo=-0.95, hi=0.95),)),
]
