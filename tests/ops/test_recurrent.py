"""RNN, GRU and LSTM as onnxruntime has them, and the mistakes one can make."""

import numpy as np
import pytest

from aidgejax import onnxio
from aidgejax.errors import GraphError, ModelFileError
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.passes.gradient import make_gradient

RNG = np.random.default_rng(11)
T, N, WIDTH, H = 4, 3, 2, 5
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def layer(op, directions=1, steps=T, lens=None, peepholes=False, **attributes):
    """A layer of this kind from x, with everything it may read as parameters."""
    rows, draw = GATES[op] * H, lambda *s: RNG.normal(size=s).astype(np.float32)
    g = Graph(op)
    inputs = [
        g.input("x", (steps, N, WIDTH)),
        g.parameter("w", draw(directions, rows, WIDTH)),
        g.parameter("r", draw(directions, rows, H)),
        g.parameter("b", draw(directions, 2 * rows)),
        None if lens is None else g.constant("lens", np.asarray(lens, np.int32)),
        g.parameter("h", draw(directions, N, H)),
    ]
    if op == "LSTM":
        inputs += [
            g.parameter("c", draw(directions, N, H)),
            g.parameter("p", draw(directions, 3 * H)) if peepholes else None,
        ]
    for o in g.add(op, inputs, attributes, names=["y", "last", "cell"][: 3 if op == "LSTM" else 2]):
        g.output(o)
    return g


SITUATIONS = [
    ("RNN", {"directions": 2, "direction": "bidirectional", "lens": [4, 1, 2], "activations": ("Tanh", "Relu")}),
    (
        "RNN",
        {"direction": "reverse", "activations": ("Affine",), "activation_alpha": (0.3,), "activation_beta": (0.1,)},
    ),
    ("GRU", {"directions": 2, "direction": "bidirectional", "lens": [4, 1, 2], "linear_before_reset": 1}),
    ("GRU", {"lens": [2, 4, 3], "clip": 0.8}),
    ("LSTM", {"directions": 2, "direction": "bidirectional", "lens": [4, 1, 2], "peepholes": True}),
    ("LSTM", {"direction": "reverse", "clip": 0.5, "peepholes": True}),
    (
        "LSTM",
        {
            "input_forget": 1,
            "activations": ("HardSigmoid", "ScaledTanh", "LeakyRelu"),
            "activation_alpha": (0.25, 1.2, 0.1),
            "activation_beta": (0.4, 0.7),
        },
    ),
]


@pytest.mark.parametrize("op, how", SITUATIONS, ids=lambda v: v if isinstance(v, str) else ",".join(v))
def test_as_in_onnxruntime(op, how):
    ort = pytest.importorskip("onnxruntime")
    g = layer(op, **how)
    x = RNG.normal(size=(T, N, WIDTH)).astype(np.float32)
    session = ort.InferenceSession(onnxio.to_model(g).SerializeToString(), providers=["CPUExecutionProvider"])
    outputs, _, _ = make_program(g, wrt=[]).forward(g.params, {}, {"x": x})
    for name, want in zip(g.outputs, session.run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(outputs[name], want, rtol=1e-5, atol=2e-6, err_msg=name)


def test_a_gradient_of_open_length_is_not_written():
    g = infer_shapes(layer("LSTM", steps="T"))
    with pytest.raises((GraphError, ModelFileError), match="'T' time steps cannot be unrolled.*fixed number"):
        onnxio.to_model(infer_shapes(make_gradient(g, ["y"])))


@pytest.mark.parametrize(
    "how, message",
    [
        ({"directions": 2}, r"W has shape \[2, 20, 2\]: expected \[1, 20, 2\] for 4 gate"),
        ({"direction": "sideways"}, "direction is 'sideways', expected one of forward, reverse, bidirectional"),
        ({"activations": ("Tanh",)}, "expected 3, 3 for each direction"),
        ({"activations": ("Tanh", "Tanh", "Gelu")}, "activation 'Gelu': expected one of Relu, Tanh"),
        ({"hidden_size": 4}, "hidden_size is 4, but R has 5 columns"),
        ({"lens": [1, 2]}, r"sequence_lens has shape \[2\]: expected \[3\]"),
    ],
)
def test_mistakes(how, message):
    with pytest.raises(GraphError, match=message):
        infer_shapes(layer("LSTM", **how))
