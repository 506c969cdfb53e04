import numpy as np

from .._case import Case, f, i

NEGATIVE = "onnx.reference calls numpy.pad, which refuses negative pads"
FAR = np.iinfo(np.int64).max

CASES = [
    Case("Concat", (f(2, 3), f(2, 1), f(2, 2)), axis=1, batch=(0, 1, 2)),
    Case("Concat", (f(2, 3), f(2, 3)), why="along the batch", axis=0, batch=(0, 1)),
    Case("Concat", (f(2, 3, 2), f(2, 3, 1)), why="negative axis", axis=-1, batch=(0, 1)),
    Case("Concat", (i(2, 3), i(2, 3)), why="integers", axis=1, batch=(0, 1)),
    Case("Concat", (f(2, 3),), why="one alone", axis=1),
    Case("Split", (f(2, 6), (1, 3, 2)), why="sizes", axis=1, outputs=3),
    Case("Split", (f(2, 6, 2), np.array([4, 2])), why="sizes are a constant tensor", axis=-2, outputs=2),
    Case("Split", (f(5, 2),), why="the last is smaller", num_outputs=3, outputs=3, batch=()),
    Case("Split", (f(2, 4),), why="equal", axis=-1, num_outputs=2, outputs=2),
    Case("Slice", (f(4, 5), (1, 0), (3, 4)), batch=()),
    Case("Slice", (f(3, 5), (1,), (-1,), (1,)), why="one axis, from the end"),
    Case("Slice", (f(3, 7), (1,), (FAR,), (-1,), (2,)), why="a step, an end out of range"),
    Case("Slice", (f(3, 7, 4), (-2, 0), (-FAR, 9), (1, 2), (-2, 3)), why="backwards"),
    Case("Slice", (f(3, 4), np.array([-9]), np.array([2]), np.array([1]), np.array([1])), why="constant tensors"),
    Case(
        "Slice",
        (f(3, 4), (2,), (1,), (1,)),
        why="nothing is left",
        insensitive="the gradient is zero everywhere",
    ),
    Case("Slice", (f(3, 4), (1,), (FAR,), (0,)), why="of the batch"),
    Case("Slice", (f(3, 4, 5), (-1, -1), (-FAR, -5), (1, -1), (-1, -1)), why="a flip and a backward piece"),
    Case("SliceGrad", (f(3, 3), f(3, 7), (-2,), (-FAR,), (1,), (-2,)), wrt=(0,), batch=(0, 1)),
    Case("Pad", (f(3, 4), (0, 1, 0, 2))),
    Case("Pad", (f(2, 3, 4), np.array([2, 0, 1, 3]), f(), np.array([1, -1])), why="a constant, two axes"),
    Case(
        "Pad",
        (f(3, 4), (1, 0, 0, 2), f(1)),
        why="of the batch, a constant with an axis",
        batch=(),
    ),
    Case(
        "Pad",
        (f(3, 5), (-1, 2), 0.5, (1,)),
        why="cut in front, a constant behind",
        skip={"onnx_reference": NEGATIVE},
    ),
    Case("Pad", (f(3, 5), (-2, -1), None, (1,)), why="cut on both sides", skip={"onnx_reference": NEGATIVE}),
    Case("Pad", (i(3, 4), (0, 1, 0, 1), 7), why="integers"),
    Case("Pad", (f(2, 4, 3), (2, 1, 3, 2), None, (1, 2)), mode="reflect"),
    Case("Pad", (f(2, 3), (5, 4), None, (1,)), why="to and fro", mode="reflect"),
    Case("Pad", (f(2, 4, 3), (2, 0, 1, 4), None, (1, 2)), mode="edge"),
    Case("Pad", (f(2, 4, 3), (2, 1, 1, 4), None, (1, 2)), mode="wrap"),
    Case(
        "Pad",
        (f(2, 4, 3), (2, 0, 1, 4), None, (1, 2)),
        mode="edge",
        border_gradient=0,
        why="the repeated border passes no gradient on",
        skip={"differences": "not the derivative: SINGA's rule", "jax_agrees": "not the derivative: SINGA's rule"},
    ),
    Case(
        "Pad",
        (f(2, 5), (-1, 2), None, (1,)),
        why="cut in front, repeated behind",
        mode="reflect",
        skip={"onnx_reference": NEGATIVE, "onnx_gradient": NEGATIVE},
    ),
    Case("PadGrad", (f(2, 7), f(2, 4), (2, 1), (1,)), wrt=(0,), batch=(0, 1)),
    Case("PadGrad", (f(2, 7), f(2, 4), (2, 1), (1,)), mode="edge", wrt=(0,), batch=(0, 1)),
    # Images, which may lie channels-last: see ../test_channels_last.py.
    Case("Concat", (f(2, 3, 2, 4), f(2, 1, 2, 4)), why="channels of images", axis=1, batch=(0, 1)),
    Case("Split", (f(2, 5, 2, 3), (2, 3)), why="channels of images", axis=1, outputs=2),
    Case("Slice", (f(2, 3, 5, 4), (1, 3), (3, 0), (1, 2), (1, -2)), why="channels and rows of images"),
    Case(
        "SliceGrad",
        (f(2, 2, 2, 4), f(2, 3, 5, 4), (1, 3), (3, 0), (1, 2), (1, -2)),
        why="images",
        wrt=(0,),
        batch=(0, 1),
    ),
    Case("Pad", (f(2, 3, 2, 4), (1, 0, 2, 0, 2, 1), 0.5, (1, 2, 3)), why="channels, rows and columns of images"),
    Case(
        "PadGrad",
        (f(2, 3, 5, 5), f(2, 3, 3, 4), (1, 0, 1, 1), (2, 3)),
        why="images",
        mode="reflect",
        wrt=(0,),
        batch=(0, 1),
    ),
]
