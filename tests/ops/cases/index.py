import numpy as np

from .._case import Case, f, i

TWICE = np.array([[0, -1], [1, 1]])
PAIRS = np.array([[0, 1], [2, -1], [0, 1]])
ONCE = np.array([[1, 2], [0, 0], [2, 1]])  # along axis 0, each element at most once
TIED = np.array([[1, 3, 3, 2], [2, 2, 2, 2], [5, 4, 5, 4]], np.float32)

SMALLER = "onnx.reference wants indices as large as the data on the other axes; the specification does not"

# JAX has no gradient of scatters that multiply or compare: theirs are checked in ../test_scatter_gradients.py.
CASES = [
    Case("Gather", (f(5, 3), i(4, hi=5)), why="rows, as an embedding", batch=(1,)),
    Case("Gather", (f(3, 4), TWICE), why="repeated and negative", axis=1),
    Case("Gather", (f(2, 3, 4), TWICE), why="a negative axis", axis=-2),
    Case("Gather", (f(2, 3, 4), 1), why="one index: the axis goes", axis=1),
    Case("Gather", (f(3, 4), (2, 0)), why="known indices", axis=1),
    Case("GatherGrad", (f(2, 2, 4), f(3, 4), TWICE), why="rows", wrt=(0,), batch=()),
    Case("GatherGrad", (f(3, 2, 2, 2), f(3, 4, 2), TWICE), why="the middle axis", wrt=(0,), batch=(0, 1), axis=-2),
    Case("GatherElements", (f(3, 4), np.array([[0, -1], [2, 2], [1, 0]])), axis=1, batch=(0, 1)),
    Case(
        "GatherElements",
        (f(3, 4), np.array([[0, 2, 1], [0, 1, -1]])),
        why="indices are smaller",
        batch=(),
        skip={"onnx_reference": SMALLER},
    ),
    Case("GatherND", (f(3, 4, 2), PAIRS), why="whole rows, one of them twice", batch=(1,)),
    Case("GatherND", (f(3, 4), np.array([[[0, 1]], [[2, -1]]])), why="single elements", batch=(1,)),
    Case("GatherND", (f(2, 3, 4), i(2, 3, 1, hi=3)), why="a batch axis", batch_dims=1, batch=(0, 1)),
    Case("ScatterElements", (f(3, 4), np.array([[0, -1], [2, 1], [1, 0]]), f(3, 2)), axis=1, batch=(0, 1, 2)),
    Case("ScatterElements", (f(3, 4), i(3, 3, hi=4), f(3, 3)), axis=-1, reduction="add", batch=(0, 1, 2)),
    Case(
        "ScatterElements",
        (f(3, 4), ONCE, f(3, 2)),
        why="indices are smaller",
        batch=(),
        skip={"onnx_gradient": SMALLER},
    ),
    Case("ScatterElements", (f(3, 4), i(3, 3, hi=4), f(3, 3)), axis=1, reduction="mul", wrt=(), batch=(0, 1, 2)),
    Case("ScatterElements", (f(3, 4), i(3, 3, hi=4), f(3, 3)), axis=1, reduction="max", wrt=(), batch=(0, 1, 2)),
    Case("ScatterElements", (f(3, 4), i(3, 3, hi=4), f(3, 3)), axis=1, reduction="min", wrt=(), batch=(0, 1, 2)),
    Case("ScatterND", (f(3, 4, 2), PAIRS[:2], f(2, 2)), why="whole rows", batch=()),
    Case("ScatterND", (f(3, 4), PAIRS, f(3)), reduction="add", batch=(1, 2)),
    Case("ScatterND", (f(5, 2), np.array([[1], [3]]), f(2, 2)), why="along one axis", batch=(1, 2)),
    Case("ScatterND", (f(3, 4), PAIRS, f(3)), reduction="mul", wrt=(), batch=(1, 2)),
    Case("ScatterND", (f(3, 4), PAIRS, f(3)), reduction="max", wrt=(), batch=(1, 2)),
    Case("ScatterND", (f(3, 4), PAIRS, f(3)), reduction="min", wrt=(), batch=(1, 2)),
    Case("ArgMax", (f(3, 4),), axis=1),
    Case("ArgMax", (TIED,), why="ties: the first", axis=-1, keepdims=0),
    Case("ArgMax", (TIED,), why="ties: the last", axis=1, select_last_index=1),
    Case("ArgMin", (f(3, 4),), batch=()),
    Case("ArgMin", (TIED,), why="ties: the last", axis=1, keepdims=0, select_last_index=1),
    Case("TopK", (f(3, 5), (2,)), outputs=2),
    Case("TopK", (f(3, 5), (3,)), why="the smallest", largest=0, outputs=2),
    Case("TopK", (f(5, 3), np.array([2])), why="only the values are named", axis=0, batch=()),
    Case("TopK", (TIED.astype(np.int32), (3,)), why="ties of integers: the first", axis=1, outputs=2),
    Case("TopK", (TIED.astype(np.uint8), (3,)), why="ties of integers, the smallest", largest=0, outputs=2),
    Case("NonZero", (np.array([[1, 0, 2], [0, 3, 0]]),), batch=()),
    Case("OneHot", (np.array([0, 2, -1, 7, -8]), 4, f(2))),
    Case(
        "OneHot",
        (i(2, 3, hi=3), np.array([3]), f(2)),
        why="the new axis in the middle, depth with an axis",
        axis=1,
        skip=dict.fromkeys(["onnx_reference", "onnx_gradient"], "onnx.reference takes a scalar depth alone"),
    ),
    Case("OneHot", (i(3, hi=3), 3, np.array([0, 1])), why="integers", axis=0, batch=()),
    Case("CumSum", (f(3, 4), 1)),
    Case("CumSum", (f(3, 4), -1), exclusive=1),
    Case("CumSum", (f(3, 4), 1), reverse=1),
    Case("CumSum", (f(3, 4), np.array(0)), exclusive=1, reverse=1, batch=()),
    Case("CumSum", (i(3, 4, dtype=np.int32), 1), why="integers"),
]
