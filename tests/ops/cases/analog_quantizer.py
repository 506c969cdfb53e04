"""The quantizer of an analog tile's periphery."""

import numpy as np

from .._case import Case, f

ROUNDS = {"differences": "the rule passes through a rounding", "jax_agrees": "JAX finds no slope in a rounding"}
DETACHED = {"differences": "the observer is detached", "jax_agrees": "the observer is detached"}
one = lambda v: np.array([v], np.float32)
YES, NO = np.array([True]), np.array([False])
BETWEEN = np.array([-0.83, -0.21, 0.14, 0.47, 1.21], np.float32)
BEYOND = np.array([-8.3, -2.1, 4.7, 9.1], np.float32)

CASES = [
    Case("QuantizerRange", (f(5),), n_bits=4, outputs=3, batch=(), wrt=()),
    Case("QuantizerRange", (f(5, lo=0.1),), n_bits=4, outputs=3, batch=(), why="unsigned", wrt=()),
    Case("QuantizerRange", (f(5),), n_bits=3, symmetric=0, outputs=3, batch=(), wrt=()),
    *(
        Case(
            "QuantizerState",
            (f(4), one(d), one(0), NO, one(u)),
            n_bits=4,
            outputs=4,
            batch=(),
            why=why,
            wrt=(1, 2) if learn else (),
            skip=DETACHED if learn and u > 8 else {},
            insensitive="" if u > 2 else "no gradient yet",
            learn=learn,
            init_learning_after=3,
            training_mode=training,
        )
        for why, d, u, learn, training in [
            ("estimated", 0.3, 0, 0, 1),
            ("not seen, outside training", 0, 0, 0, 0),
            ("held", 0.3, 0, 0, 0),
            ("before it is learned", 0.3, 1, 1, 1),
            ("the first batch that learns", 0.3, 3, 1, 1),
            ("learned", 0.3, 4, 1, 1),
            ("learned, outside training", 0.3, 4, 1, 0),
            ("stepped to 0", -0.1, 4, 1, 1),
            ("stepped to 0 for long", -0.1, 9, 1, 1),
        ]
    ),
    Case(
        "QuantizerState",
        (f(4), one(0.3), one(2), NO, one(4)),
        n_bits=4,
        symmetric=0,
        outputs=4,
        batch=(),
        learn=1,
        init_learning_after=3,
        training_mode=1,
        wrt=(1, 2),
        why="learned, asymmetric",
    ),
    *(
        Case(
            "RunningRange",
            (f(4), one(-0.3), one(0.4), one(seen)),
            outputs=3,
            batch=(),
            training_mode=training,
            why=why,
            wrt=(),
        )
        for why, seen, training in [("first", 0, 1), ("later", 1, 1), ("outside training", 1, 0)]
    ),
    Case("AnalogQuantize", (BETWEEN, one(0.2), one(0), YES), n_bits=3, batch=(), skip=ROUNDS),
    Case("AnalogQuantize", (BETWEEN, one(0.2), one(0), NO), n_bits=3, batch=(), why="unsigned", skip=ROUNDS),
    Case("AnalogQuantize", (BETWEEN, one(0.2), one(2.3), NO), n_bits=3, symmetric=0, batch=(), skip=ROUNDS),
    Case(
        "AnalogQuantize",
        (BETWEEN, one(0.2), one(9.3), NO),
        n_bits=3,
        symmetric=0,
        batch=(),
        why="zero point cut off",
        skip=ROUNDS,
    ),
    Case("AnalogQuantize", (BETWEEN, one(-0.2), one(0), YES), n_bits=3, batch=(), why="no step"),
    Case("AnalogQuantize", (BEYOND, one(0.2), one(0), YES), n_bits=3, batch=(), wrt=(1,), why="all cut off"),
]
