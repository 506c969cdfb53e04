import numpy as np

from .._case import Case, f

RANDOM = {"onnx_reference": "onnx draws other numbers"}
HALF = np.array(0.5, np.float32)

CASES = [
    Case("Dropout", (f(3, 4),), why="inference is the identity"),
    Case("Dropout", (f(3, 4), 0.25, False), outputs=2, why="inference has an all-true mask"),
    Case("Dropout", (f(3, 4), 0.0, True), outputs=2, why="nothing to drop"),
    Case("Dropout", (f(6, 5), 0.25, True), outputs=2, seed=3, why="training, mask asked for", skip=RANDOM),
    Case("Dropout", (f(6, 5), None, True), why="training, ratio and mask left out", skip=RANDOM),
    Case("Dropout", (f(2, 3, 4, 4), 0.75, True), why="an image", skip=RANDOM),
    Case("Dropout", (f(6, 5), HALF, np.array(True)), wrt=(0,), why="ratio and mode are tensors", skip=RANDOM),
    Case("Dropout", (f(6, 5), HALF, np.array(False)), wrt=(0,), outputs=2, why="ratio and mode are tensors, inference"),
    *(
        Case(op, (), shape=(2, 3), seed=1.0, batch=(), why="plain", skip=RANDOM)
        for op in ("RandomNormal", "RandomUniform")
    ),
    Case(
        "RandomNormal",
        (),
        shape=(2, 3),
        dtype=11,
        mean=1.0,
        scale=2.0,
        batch=(),
        why="a dtype of its own",
        skip=RANDOM,
    ),
    Case("RandomUniform", (), shape=(2, 3), low=-1.0, high=2.0, batch=(), why="bounds", skip=RANDOM),
    Case("RandomNormalLike", (f(2, 3),), mean=1.0, scale=0.5, wrt=(), why="dtype of the input", skip=RANDOM),
    Case("RandomUniformLike", (f(2, 3),), low=2.0, high=3.0, dtype=1, wrt=(), why="a dtype of its own", skip=RANDOM),
    Case("Bernoulli", (f(4, 3, lo=0, hi=1),), wrt=(), why="dtype of the input", skip=RANDOM),
    Case("Bernoulli", (f(4, 3, lo=0, hi=1),), wrt=(), dtype=7, seed=2.0, why="int64", skip=RANDOM),
    Case("Multinomial", (f(3, 4),), wrt=(), sample_size=5, skip=RANDOM),
    Case("Multinomial", (f(3, 4),), wrt=(), dtype=7, seed=2.0, why="int64", skip=RANDOM),
]
