import numpy as np

from .._case import Case, f, since

MASK = np.array([[1, 0, 1], [0, 0, 0]], bool)  # the second query may look at nothing
SHORT = np.array([[0.3, -0.2], [-0.4, 0.1]], np.float32)
MODE = {
    "onnx_reference": since(
        "onnx", "1.22", "onnx.reference hands out the capped scores where the specification says the raw ones"
    )
}

CASES = [
    Case("Attention", (f(2, 2, 3, 4), f(2, 2, 3, 4), f(2, 2, 3, 2)), batch=(0, 1, 2), why="plain"),
    Case(
        "Attention",
        (f(2, 2, 8), f(2, 3, 4), f(2, 3, 6), f(2, 4), f(2, 2, 1, 2), f(2, 2, 1, 3)),
        q_num_heads=4,
        kv_num_heads=2,
        is_causal=1,
        outputs=3,
        batch=(0, 1, 2, 4, 5),
        softcap=1.5,
        why="3 axes, shared keys, past, causal, softcap, a mask",
    ),
    Case(
        "Attention",
        (f(1, 4, 2, 2), f(1, 2, 3, 2), f(1, 2, 3, 2), MASK),
        batch=(),
        scale=0.4,
        outputs=4,
        qk_matmul_output_mode=3,
        why="a bool mask, a query that sees nothing, the weights asked for",
    ),
    Case("Attention", (f(2, 1, 2, 2), f(2, 1, 3, 2), f(2, 1, 3, 2), SHORT), batch=(0, 1, 2), why="a mask too short"),
    Case(
        "Attention",
        (f(2, 2, 2, 2), f(2, 2, 3, 2), f(2, 2, 3, 2), f(2, 1, 2, 3)),
        batch=(0, 1, 2, 3),
        outputs=4,
        qk_matmul_output_mode=2,
        softmax_precision=11,
        why="a mask that is trained, the scores with it asked for",
    ),
    Case(
        "Attention",
        (f(2, 1, 2, 2), f(2, 1, 3, 2), f(2, 1, 3, 2), None, None, None, np.array([3, 1])),
        is_causal=1,
        batch=(0, 1, 2, 6),
        why="a padded cache",
    ),
    Case(
        "Attention",
        (f(1, 2, 3, 2), f(1, 2, 4, 2), f(1, 2, 4, 2)),
        left_window_size=1,
        right_window_size=0,
        batch=(),
        outputs=4,
        qk_matmul_output_mode=1,
        softcap=2.0,
        why="windows, the capped scores asked for",
    ),
    Case(
        "Attention",
        (f(1, 1, 2, 2), f(1, 1, 2, 2), f(1, 1, 2, 2)),
        outputs=4,
        softcap=2.0,
        batch=(),
        skip=MODE,
        why="the raw scores asked for",
    ),
    Case(
        "AttentionGrad",
        (f(2, 2, 3, 2), f(2, 2, 3, 4), f(2, 2, 3, 4), f(2, 2, 3, 2)),
        outputs=3,
        batch=(0, 1, 2, 3),
        why="plain",
    ),
    Case(
        "AttentionGrad",
        (f(2, 3, 8), f(2, 3, 8), f(2, 3, 4), f(2, 3, 4), f(1, 3, 3)),
        q_num_heads=4,
        kv_num_heads=2,
        is_causal=1,
        outputs=4,
        batch=(0, 1, 2, 3),
        scale=0.4,
        softcap=1.5,
        why="3 axes, shared keys, causal, softcap, a mask that is trained",
    ),
]
