import numpy as np

from .._case import Case, f, i, zeros

saturated = f(3, 4, lo=-100.0, hi=100.0)
image = f(2, 3, 2, 2)
CORNER = "a kink: the central difference answers the mean of both slopes"
HALVES = "jax splits a tie of maximum into halves"
FLOAT32 = "until opset 28 ONNX's Celu takes float32 alone; see tests/ops/test_stability.py"
CELU = {"onnx_reference": FLOAT32, "onnx_round_trip": FLOAT32}
at = lambda *v: np.array([v], np.float32)  # noqa: E731

CASES = [
    Case("Relu", (f(3, 4),)),
    Case(
        "Relu", (zeros(2, 2),), why="the slope at zero is zero", excused={"differences": CORNER, "jax_agrees": HALVES}
    ),
    Case("Relu", (f(2, 3, 4, 4),), why="TVM's slope at zero", slope_at_zero=1.0),
    Case(
        "Relu",
        (zeros(2, 2),),
        why="TVM's slope at zero, there",
        slope_at_zero=1.0,
        excused={"differences": CORNER, "jax_agrees": HALVES},
    ),
    Case("Relu", (i(3, 4, lo=-5, dtype=np.int32),), why="integers"),
    Case("LeakyRelu", (f(3, 4),)),
    Case("LeakyRelu", (f(3, 4),), alpha=0.3),
    Case(
        "LeakyRelu",
        (zeros(2, 2),),
        why="the slope at zero is alpha",
        alpha=0.25,
        excused={"differences": CORNER, "jax_agrees": "jax takes x >= 0, as its forward says"},
    ),
    Case(
        "LeakyRelu",
        (zeros(2, 2),),
        why="SINGA's slope at zero",
        slope_at_zero=0.0,
        excused={"differences": CORNER, "jax_agrees": "jax takes x >= 0, as its forward says"},
    ),
    Case("LeakyRelu", (f(3, 4),), why="SINGA's slope elsewhere", slope_at_zero=0.0),
    Case("PRelu", (f(3, 4), f(4)), why="a slope per column"),
    Case("PRelu", (image, f(3, 1, 1)), why="a slope per channel"),
    Case("PRelu", (f(3, 4), f(1)), why="one slope"),
    Case("PRelu", (zeros(2, 2), f(2)), why="the slope at zero is 1", wrt=(0,), excused={"differences": CORNER}),
    Case("PRelu", (i(3, 4, lo=-5, dtype=np.int32), i(4, dtype=np.int32)), why="integers"),
    Case("ThresholdedRelu", (f(3, 4),)),
    Case("ThresholdedRelu", (f(3, 4),), alpha=-0.5),
    Case("Elu", (f(3, 4),)),
    Case("Elu", (saturated,), why="saturated ends", alpha=0.5),
    Case("Elu", (zeros(2, 2),), why="the slope at zero is 1", alpha=0.5, excused={"differences": CORNER}),
    Case("Selu", (f(3, 4),)),
    Case("Selu", (saturated,), why="saturated ends"),
    Case("Selu", (f(3, 4),), alpha=2.0, gamma=3.0),
    Case(
        "Selu",
        (zeros(2, 2),),
        why="the slope at zero is gamma * alpha",
        excused={"differences": CORNER, "jax_agrees": "jax splits the tie of minimum(x, 0) into halves"},
    ),
    Case("Celu", (f(3, 4),), excused=CELU),
    Case("Celu", (f(3, 4),), alpha=0.4, excused=CELU),
    Case("Celu", (saturated,), why="saturated ends", alpha=2.0, excused=CELU),
    Case("Sigmoid", (f(3, 4),)),
    Case("Sigmoid", (saturated,), why="saturated ends"),
    Case("Tanh", (f(3, 4),)),
    Case("Tanh", (f(3, 4, lo=-9.0, hi=9.0),), why="saturated ends"),
    Case("Softplus", (f(3, 4),)),
    Case("Softplus", (saturated,), why="saturated ends"),
    Case("Softsign", (f(3, 4),)),
    Case("Softsign", (saturated,), why="saturated ends"),
    Case("HardSigmoid", (f(3, 4, lo=-4.0, hi=4.0),)),
    Case("HardSigmoid", (f(3, 4),), alpha=0.5, beta=0.3),
    Case(
        "HardSigmoid",
        (at(-2.0, 2.0),),
        why="the slope at both corners is 0",
        alpha=0.25,
        excused={"differences": CORNER, "jax_agrees": HALVES},
    ),
    Case("HardSwish", (f(3, 4, lo=-5.0, hi=5.0),)),
    Case(
        "HardSwish",
        (at(-3.0, 3.0),),
        why="the slope is 0 at -3 and 1 at 3",
        excused={"differences": CORNER, "jax_agrees": HALVES},
    ),
    Case("Swish", (f(3, 4),)),
    Case("Swish", (f(3, 4),), alpha=1.7),
    Case("Swish", (saturated,), why="saturated ends"),
    Case("Mish", (f(3, 4),)),
    Case("Mish", (saturated,), why="saturated ends"),
    Case("Gelu", (f(3, 4),)),
    Case("Gelu", (f(3, 4),), approximate="tanh"),
    Case("Gelu", (saturated,), why="saturated ends"),
    Case("Gelu", (saturated,), why="saturated ends of tanh", approximate="tanh"),
    Case("Softmax", (f(3, 4),)),
    Case("Softmax", (image,), why="over the channels of an image", axis=1),
    Case("Softmax", (image,), why="over the batch", axis=0, batch=()),
    Case("Softmax", (f(3, 4, 5),), why="a negative axis", axis=-2),
    Case("Softmax", (f(3, 4, lo=-8.0, hi=8.0),), why="one element outweighs the others"),
    Case("LogSoftmax", (f(3, 4),)),
    Case("LogSoftmax", (image,), why="over the channels of an image", axis=1),
    Case("LogSoftmax", (image,), why="over the batch", axis=0, batch=()),
    Case("LogSoftmax", (saturated,), why="saturated ends"),
    Case("Hardmax", (f(3, 4),), wrt=()),
    Case("Hardmax", (at(1.0, 2.0, 2.0, 0.0),), why="the first of a tie", wrt=()),
    Case("Hardmax", (image,), why="over the channels of an image", axis=1, wrt=()),
]
