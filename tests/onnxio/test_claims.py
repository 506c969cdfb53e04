"""Small files that claim a lot: refused, or read without computing what they claim, soon and in little memory."""

import resource
import signal

import numpy as np
import pytest

from aidgejax import onnxio
from aidgejax.errors import AidgeJaxError

from ._models import INT64, info, model, node

HUGE = 1 << 40


def one(op, inputs, tensors=None, *, x=(1, 1, 5, 5), outputs="y", opset=20, kind=1, **attributes):
    """A model of one node; x: the shape of its input."""
    fed = [info("x", list(x))] if "x" in inputs else []
    return model(
        [node(op, inputs, outputs, "culprit", **attributes)],
        fed,
        [info("y", None, kind)],
        {k: np.asarray(v) for k, v in (tensors or {}).items()},
        opset=opset,
        ir=9,
    )


REFUSED = {
    "window": one("AveragePool", "x", kernel_shape=[20000, 20000], pads=[19999] * 4, count_include_pad=1),
    "indices": one("MaxPool", "x", outputs="y,i", kernel_shape=[20000, 20000], pads=[19999] * 4),
    "strides": one("ConvTranspose", "x,w", {"w": np.ones((1, 1, 3, 3), np.float32)}, strides=[1 << 15, 1 << 15]),
    "channels": one("LRN", "x", size=1 << 30),
    "scales": one("Resize", "x,,s", {"s": np.float32([1, 1, 1e8, 1e8])}),
    "sizes": one("Resize", "x,,,s", {"s": [1, 1, HUGE, HUGE]}),
    "pieces": one("Split", "x", num_outputs=HUGE, axis=0),
    "wrapped around": one("Pad", "x,p", {"p": [HUGE, HUGE]}, x=(3,), mode="wrap"),
    "reflected": one("Pad", "x,p", {"p": [2, 1 << 30]}, x=(3,), mode="reflect"),
    "repeated": one("Tile", "x,r", {"r": [1 << 62]}, x=(2,)),
    "an input": one("Relu", "x", x=(HUGE, HUGE)),
    "mel bins": one(
        "MelWeightMatrix",
        "n,d,r,f,t",
        {"n": 1 << 22, "d": 1 << 22, "r": 1 << 23, "f": np.float32(0), "t": np.float32(99)},
    ),
    "frames": one("STFT", "x,s,,n", {"s": np.int64(1), "n": np.int64(1 << 20)}, x=(1, 1 << 24, 1)),
    "an unpooled image": one("MaxUnpool", "x,x", kernel_shape=[1, 1], strides=[HUGE, HUGE]),
    "a Fourier transform": one("DFT", "x,n", {"n": np.int64(HUGE)}),
    "a constant": one("ConstantOfShape", "s", {"s": [HUGE, HUGE]}),
    "random numbers": one("RandomNormal", [], shape=[HUGE, 2]),
    "a range": one("Range", "a,b,c", {"a": np.int64(0), "b": np.int64(HUGE * 2), "c": np.int64(1)}, kind=INT64),
}


@pytest.fixture(autouse=True)
def soon_and_small():
    def too_late(*_):
        raise TimeoutError("still reading after 5 s")

    before = signal.signal(signal.SIGALRM, too_late)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start < 200_000, "kB"


@pytest.mark.parametrize("claim", REFUSED)
def test_a_claim_is_refused(claim):
    with pytest.raises(AidgeJaxError, match="culprit") as refusal:
        onnxio.read(REFUSED[claim])
    assert "TimeoutError" not in str(refusal.value)


@pytest.mark.parametrize(
    "m",
    [
        one("Range", "a,b,c", {"a": np.int64(0), "b": np.int64(1 << 34), "c": np.int64(1)}, kind=INT64),
        one("EyeLike", "x", x=(1 << 17, 1 << 17)),
        one("Tile", "x,r", {"r": [1 << 30]}, x=(2,)),
        one("Pad", "x,p", {"p": [1 << 30, 1 << 30]}, x=(3,)),
        one("Relu", "x", x=(1 << 17, 1 << 17)),
        one("Neg", "x", x=("N/0", "999999999999999999*M")),
        one("AveragePool", "x", x=(1, 1, 1 << 30, 7), kernel_shape=[1 << 13, 3], pads=[5, 1, 5, 1]),
        one("LpPool", "x", x=(1, 1, 1 << 30, 7), kernel_shape=[1 << 8, 3]),
        one("Resize", "x,,s", {"s": np.float32([1, 1, 250, 2])}, x=(1, 1, 1 << 20, 5), mode="linear"),
        one("AffineGrid", "x,s", {"s": [1, 1, 1 << 15, 1 << 15]}, x=(1, 2, 3)),
        one("STFT", "x,s,,n", {"s": np.int64(1 << 12), "n": np.int64(1 << 13)}, x=(1, 1 << 22, 1)),
        one("DFT", "x", x=(1, 1 << 24, 1)),
        one(
            "RoiAlign",
            "x,r,b",
            {"r": np.ones((1, 4), np.float32), "b": [0]},
            x=(1, 1, 1 << 19, 1 << 19),
            output_height=1 << 19,
            output_width=1 << 19,
        ),
    ],
    ids=lambda m: m.graph.node[0].op_type,
)
def test_a_claim_is_not_computed(m):
    assert onnxio.read(m).value("y").shape is not None


def test_a_window_as_large_as_a_window_may_be():
    assert onnxio.read(one("MaxPool", "x", x=(1, 1, 300, 300), kernel_shape=[256, 256])).value("y").shape == (
        1,
        1,
        45,
        45,
    )
