import numpy as np

from .._case import Case, f

REPEATED = np.array([2, 1, 1, 3, 4, 3], np.float32)
ROWS = np.array([[1, 0, 0], [1, 0, 0], [2, 3, 4]], np.float32)
BOXES = np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 1.1, 1, 0.1], [0, 10, 1, 11], [1, 11, 0, 10]]], np.float32)
SCORES = np.array([[[0.9, 0.75, 0.6, 0.95, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5]]], np.float32)
PLACES = np.array([[[[0, 3], [8, 15]], [[17, 19], [24, 31]]]])  # in an image of 4 by 4, two channels

CASES = [
    Case("Unique", (REPEATED,), outputs=4, batch=()),
    Case("Unique", (REPEATED,), why="in the order in which they are met", sorted=0, outputs=4, batch=()),
    Case("Unique", (ROWS,), why="rows", axis=0, outputs=4, batch=()),
    Case(
        "Unique",
        (ROWS,),
        why="columns, the values alone",
        axis=-1,
        sorted=0,
        batch=(),
        skip={"onnx_reference": "it sorts them all the same where only the values are named"},
    ),
    Case(
        "NonMaxSuppression",
        (BOXES, SCORES, np.array(3), np.float32(0.5), np.float32(0)),
        batch=(),
        why="two classes",
        skip={"onnx_reference": "it takes limits of shape [1] alone"},
    ),
    Case(
        "NonMaxSuppression",
        (BOXES, SCORES, np.array([2]), np.array([0.5], np.float32), np.array([0.4], np.float32)),
        why="centers, few of them, good ones",
        center_point_box=1,
        batch=(),
    ),
    Case("MaxUnpool", (f(1, 2, 2, 2), PLACES), kernel_shape=(2, 2), strides=(2, 2), batch=()),
    Case(
        "MaxUnpool",
        (f(1, 2, 2, 2), PLACES, (1, 2, 5, 6)),
        why="into a larger image",
        kernel_shape=(2, 2),
        strides=(2, 2),
        batch=(),
    ),
]
