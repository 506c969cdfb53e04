"""Three steps, a batch of two, two inputs, two hidden: each row joins several settings."""

import numpy as np

from aidgejax.reference._definition import DEFINITIONS

from .._case import Case, f

T, N, WIDTH, H = 3, 2, 2, 2
LENS = np.array([3, 2], np.int32)
LENGTHS = {"onnx_reference": "onnx.reference ignores sequence_lens, activations and clip"}
BATCH_FIRST = (0, 4, 5)


def layer(gates, d=1, batch_first=False, bias=True, lens=None, state=True, cells=False, peepholes=False):
    """X, W, R, B, sequence_lens, initial_h[, initial_c, P]"""
    x = (N, T, WIDTH) if batch_first else (T, N, WIDTH)
    h0 = f(*((N, d, H) if batch_first else (d, N, H)))
    found = [
        f(*x),
        f(d, gates * H, WIDTH),
        f(d, gates * H, H),
        f(d, 2 * gates * H) if bias else None,
        lens,
        h0 if state else None,
    ]
    if cells:
        found += [f(*((N, d, H) if batch_first else (d, N, H))) if state else None, f(d, 3 * H) if peepholes else None]
    return tuple(found)


def grad(op, gates, states, attributes, **how):
    """A row of a gradient operator: the cotangents of Y and of the last states, the layer, its Y."""
    specs = layer(gates, cells=states == 2, **how)
    given = tuple(spec(k, 7) if callable(spec) else spec for k, spec in enumerate(specs))
    y = DEFINITIONS[op](*(v if v is None else v.astype(np.float64) for v in given), **attributes)[0]
    cotangents = (f(T, 1, N, H), *[f(1, N, H)] * states)
    return Case(f"{op}Grad", (*cotangents, *given, y), outputs=5 if states == 1 else 7, batch=(), **attributes)


CASES = [
    Case("RNN", layer(1), outputs=2, batch=(), why="forward"),
    Case(
        "RNN",
        layer(1, 2, True, lens=LENS),
        direction="bidirectional",
        layout=1,
        outputs=2,
        batch=BATCH_FIRST,
        activations=("ScaledTanh", "Affine"),
        activation_alpha=(0.8, 0.5),
        activation_beta=(1.5, 0.1),
        skip=LENGTHS,
        why="both ways, batch first, lengths",
    ),
    Case(
        "RNN",
        layer(1, bias=False, state=False),
        direction="reverse",
        batch=(),
        activations=("Softsign",),
        skip=LENGTHS,
        why="backwards, nothing optional",
    ),
    Case(
        "RNN",
        layer(1, 2),
        direction="bidirectional",
        batch=(),
        activations=("Elu", "LeakyRelu"),
        skip=LENGTHS,
        activation_alpha=(0.7, 0.2),
        why="Elu, LeakyRelu",
    ),
    grad("RNN", 1, 1, {}),
    Case("GRU", layer(3), outputs=2, batch=(), why="forward, reset before the product"),
    Case(
        "GRU",
        layer(3, 2, True, lens=LENS),
        direction="bidirectional",
        layout=1,
        outputs=2,
        batch=BATCH_FIRST,
        linear_before_reset=1,
        skip=LENGTHS,
        why="both ways, batch first, lengths, reset after the product",
    ),
    Case(
        "GRU",
        layer(3, bias=False, state=False),
        direction="reverse",
        linear_before_reset=1,
        clip=0.9,
        batch=(),
        activations=("HardSigmoid", "Softplus"),
        skip=LENGTHS,
        why="backwards, nothing optional, clip",
    ),
    grad("GRU", 3, 1, {"linear_before_reset": 1}),
    Case("LSTM", layer(4, cells=True), outputs=3, batch=(), why="forward"),
    Case(
        "LSTM",
        layer(4, 2, True, lens=LENS, cells=True, peepholes=True),
        direction="bidirectional",
        layout=1,
        outputs=3,
        batch=(0, 4, 5, 6),
        skip=LENGTHS,
        why="both ways, batch first, lengths, peepholes",
    ),
    Case("LSTM", layer(4, bias=False, state=False, cells=True), direction="reverse", batch=(), why="nothing optional"),
    Case(
        "LSTM",
        layer(4, cells=True, peepholes=True, lens=LENS),
        direction="reverse",
        input_forget=1,
        clip=1.1,
        outputs=3,
        batch=(),
        activations=("sigmoid", "Relu", "ThresholdedRelu"),
        activation_alpha=(0.1,),
        skip=LENGTHS,
        why="coupled gates, clip, lengths backwards",
    ),
    grad("LSTM", 4, 2, {}, peepholes=True),
]
