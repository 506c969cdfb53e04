import numpy as np

from .._case import Case, f, i, zeros

TIED = np.array([[1, 3, 3, 2], [2, 2, 2, 2], [5, 4, 5, 4]], np.float32)
KINK = {"differences": "a kink: the difference quotient answers with the mean of all slopes"}
NOTHING = dict(wrt=(), batch=(0,))
INF = float("inf")


def with_zeros(*places):
    x = np.random.default_rng(3).uniform(0.5, 2, (4, 3)).astype(np.float32)
    for at in places:
        x[at] = 0
    return x


CASES = [
    Case("SumLike", (f(3, 4), f(4)), why="a leading axis", wrt=(0,)),
    Case("SumLike", (f(2, 3, 4), f(3, 1)), why="a leading axis and one of size 1", wrt=(0,)),
    Case("SumLike", (f(3, 4), f(3, 4)), why="nothing to sum", wrt=(0,), batch=(0, 1)),
    Case("SpreadLike", (f(2, 4), f(2, 3, 4), (1,)), wrt=(0,), batch=(0, 1), keepdims=0),
    Case("SpreadLike", (f(1, 3, 1), f(2, 3, 4), (0, -1)), wrt=(0,), batch=(1,)),
    Case("ReduceMean", (i(3, 4, lo=-9, hi=9),), why="integers", keepdims=0),
    Case("ReduceMean", (f(2, 3, 4), np.array([0, 2])), why="over the batch and a constant tensor of axes"),
    Case("ReduceL1", (i(3, 4, lo=-9, hi=9, dtype=np.int32), (1,)), why="integers"),
    Case(
        "ReduceL2",
        (zeros(2, 3), (1,)),
        why="the norm of nothing has slope zero",
        skip={"jax_agrees": "jax divides 0 by 0"},
        insensitive="the slope is zero",
    ),
    Case("ReduceLogSumExp", (f(2, 3, lo=800, hi=900), (1,)), why="large: no overflow"),
    Case(
        "ReduceLogSumExp",
        (np.array([[-INF, 1, 2], [-INF, -INF, 3]], np.float32), (1,)),
        why="some -inf",
    ),
    Case(
        "ReduceLogSumExp",
        (np.full((2, 3), -INF, np.float32), (1,)),
        why="all -inf: slope zero",
        skip={
            "differences": "a difference of infinities",
            "onnx_reference": "onnx.reference says -inf + inf",
            "jax_agrees": "jax says -inf + inf",
        },
    ),
    Case("ReduceProd", (with_zeros((1, 0), (2, 0), (3, 2)), (0,)), why="two zeros, none, one"),
    Case("ReduceProd", (with_zeros((1, 1)),), why="one zero among all", keepdims=0),
    Case("ReduceMax", (TIED, (1,)), why="a tie is split", skip=KINK),
    Case(
        "ReduceMax",
        (TIED, (1,)),
        why="a tie goes to the first",
        ties="first",
        skip={**KINK, "jax_agrees": "jax splits a tie"},
    ),
    Case("ReduceMin", (TIED,), why="a tie of all axes is split", keepdims=0),
    Case("ReduceMin", (TIED, (0, 1)), why="a tie goes to the first", keepdims=0, ties="first"),
    Case("ReduceMax", (f(2, 3, 4), (0, 2)), why="the first, where there is no tie", ties="first", keepdims=0),
    Case("ReduceMax", (i(3, 4, dtype=np.int32), (1,)), why="integers"),
    Case("ReduceMax", (i(2, 0, dtype=np.int32), (1,)), why="no integers", **NOTHING),
    Case("ReduceMin", (i(2, 0, dtype=np.uint8), (1,)), why="no integers", **NOTHING),
    Case("ReduceMin", (i(3, 4, dtype=np.int32), (1,)), why="integers"),
]

for op in ["Sum", "Mean", "SumSquare", "L1", "L2", "LogSum", "LogSumExp", "Prod", "Max", "Min"]:
    lo = 0.5 if op == "LogSum" else -2.0
    nothing = {"onnx_reference": "numpy warns of a mean of nothing"} if op == "Mean" else {}
    scalar = {"onnx_reference": "onnx.reference fails on a scalar"} if op == "LogSumExp" else {}
    CASES += [
        Case(f"Reduce{op}", (f(2, 3, 4, lo=lo),), why="all axes"),
        Case(f"Reduce{op}", (f(2, 3, 4, lo=lo), (0, -1)), why="two axes dropped", keepdims=0),
        Case(f"Reduce{op}", (f(2, 3, 4, lo=lo), (1,)), why="one axis"),
        Case(f"Reduce{op}", (f(2, 3, lo=lo), ()), why="no axes are all axes"),
        Case(f"Reduce{op}", (f(2, 3, lo=lo),), why="no axes, each element alone", noop_with_empty_axes=1),
        Case(f"Reduce{op}", (f(lo=lo),), why="a scalar", batch=(), skip=scalar),
        Case(f"Reduce{op}", (f(2, 0, 3), (1,)), why="over nothing", skip=nothing, **NOTHING),
    ]
