import numpy as np

from .._case import Case, f, i


def labels(*values):
    return np.array(values, np.int64)


def onehot(n, c):
    return lambda k, seed: np.eye(c, dtype=np.float32)[np.random.default_rng(seed).integers(0, c, n)]


def soft(n, c):
    def rows(k, seed):
        raw = np.random.default_rng(seed).uniform(0.1, 1, (n, c)).astype(np.float32)
        return raw / raw.sum(axis=1, keepdims=True)

    return rows


CLASS_WEIGHTS = np.array([0.5, 2.0, 1.0, 0.25], np.float32)
FAR = np.array([[900.0, -900.0, 0.0], [-80.0, 80.0, 79.0]], np.float32)

CASES = [
    *(
        Case("SoftmaxCrossEntropyLoss", (f(3, 4), i(3, hi=4)), reduction=r, batch=(0, 1), why=f"rows, {r}")
        for r in ("mean", "sum", "none")
    ),
    *(
        Case(
            "SoftmaxCrossEntropyLoss",
            (f(2, 4, 3), i(2, 3, hi=4), CLASS_WEIGHTS),
            reduction=r,
            batch=(0, 1),
            why=f"weights and positions, {r}",
        )
        for r in ("mean", "sum", "none")
    ),
    *(
        Case(
            "SoftmaxCrossEntropyLoss",
            (f(4, 4), labels(3, -1, 0, -1), CLASS_WEIGHTS),
            reduction=r,
            ignore_index=-1,
            batch=(0, 1),
            why=f"a negative ignore_index, {r}",
        )
        for r in ("mean", "sum", "none")
    ),
    Case(
        "SoftmaxCrossEntropyLoss",
        (f(4, 4), labels(3, 2, 0, 2)),
        ignore_index=2,
        batch=(0, 1),
        why="the ignored index is a class",
    ),
    Case(
        "SoftmaxCrossEntropyLoss",
        (f(2, 3, 2, 2), i(2, 2, 2, hi=3, dtype=np.int32)),
        outputs=2,
        batch=(0, 1),
        why="log_prob asked for, int32 labels",
    ),
    Case(
        "SoftmaxCrossEntropyLoss",
        (f(3, 4), labels(3, -100, 1)),
        outputs=2,
        ignore_index=-100,
        reduction="none",
        batch=(0, 1),
        why="log_prob and torch's ignore_index",
    ),
    Case("SoftmaxCrossEntropyLoss", (f(5, 1), i(5, hi=1)), batch=(0, 1), wrt=(), why="a single class"),
    Case(
        "SoftmaxCrossEntropyLoss",
        (FAR, labels(1, 0)),
        batch=(0, 1),
        why="huge scores",
        skip={"onnx_reference": "onnx takes log(softmax), which is -inf; it is -1800"},
    ),
    *(
        Case(
            "SoftmaxCrossEntropyLossGrad",
            (d, f(3, 4, lo=-3, hi=0), labels(1, 3, -1), w),
            reduction=r,
            ignore_index=-1,
            batch=(1, 2) if r != "none" else (0, 1, 2),
            why=f"{r}, {'weights' if w is not None else 'no weights'}",
        )
        for r, d in (("mean", f()), ("sum", f()), ("none", f(3)))
        for w in (CLASS_WEIGHTS, None)
    ),
    *(
        Case(
            "NegativeLogLikelihoodLoss",
            (f(2, 4, 3, lo=-3, hi=0), i(2, 3, hi=4), w),
            reduction=r,
            batch=(0, 1),
            why=f"{r}, {'weights' if w is not None else 'no weights'}",
        )
        for r in ("mean", "sum", "none")
        for w in (CLASS_WEIGHTS, None)
    ),
    Case(
        "NegativeLogLikelihoodLoss",
        (f(4, 4, lo=-3, hi=0), labels(3, -100, 0, 2), CLASS_WEIGHTS),
        ignore_index=-100,
        batch=(0, 1),
        why="a negative ignore_index",
    ),
    Case(
        "NegativeLogLikelihoodLossGrad",
        (f(), f(4, 4), labels(3, -100, 0, 2), CLASS_WEIGHTS),
        ignore_index=-100,
        batch=(1, 2),
        why="mean, ignored row",
    ),
    Case(
        "NegativeLogLikelihoodLossGrad",
        (f(2, 3), f(2, 4, 3), i(2, 3, hi=4)),
        reduction="none",
        batch=(0, 1, 2),
        why="none",
    ),
    *(
        Case("SoftLabelCrossEntropy", (f(3, 4), soft(3, 4)), reduction=r, batch=(0, 1), why=f"soft labels, {r}")
        for r in ("mean", "sum", "rows", "none")
    ),
    Case(
        "SoftLabelCrossEntropy",
        (f(3, 4), onehot(3, 4)),
        batch=(0, 1),
        outputs=2,
        wrt=(0,),
        why="one-hot, log_prob asked for",
    ),
    Case("SoftLabelCrossEntropy", (FAR, onehot(2, 3)), batch=(0, 1), wrt=(0,), why="huge scores"),
    Case("SoftLabelCrossEntropy", (f(3, 4), f(3, 4, lo=0, hi=1)), batch=(0, 1), why="targets that do not sum to 1"),
    Case(
        "SoftLabelCrossEntropy",
        (f(2, 3, 4), f(2, 3, 4, lo=0, hi=1)),
        axis=-1,
        reduction="rows",
        batch=(0, 1),
        why="classes last, rows of several positions",
    ),
    Case(
        "SoftLabelCrossEntropy",
        (f(3, 4), f(3, 4, lo=0, hi=1)),
        assume_normalized=1,
        batch=(0, 1),
        why="Aidge's gradient takes the sum as 1",
        skip={"differences": "deliberately not the derivative", "jax_agrees": "deliberately not the derivative"},
    ),
    *(
        Case(op, (f(3, 2, 2), f(3, 2, 2)), reduction=r, batch=(0, 1), why=r)
        for op in ("MeanSquaredError", "MeanAbsoluteError", "HuberLoss")
        for r in ("mean", "sum", "rows", "none")
    ),
    Case("MeanSquaredError", (f(4), f(4)), reduction="rows", batch=(0, 1), why="rows of a single number"),
    Case(
        "MeanAbsoluteError",
        (np.ones((2, 2), np.float32), np.ones((2, 2), np.float32)),
        slope_at_zero=1.0,
        batch=(0, 1),
        why="TVM's slope at zero",
        skip={"differences": "a kink: the central difference answers 0"},
    ),
    Case("HuberLoss", (f(3, 4, lo=-5, hi=5), f(3, 4)), delta=0.5, normalized=1, batch=(0, 1), why="torch's smooth L1"),
    *(
        Case("BinaryCrossEntropy", (f(3, 4, lo=0.05, hi=0.95), f(3, 4, lo=0, hi=1)), reduction=r, batch=(0, 1), why=r)
        for r in ("mean", "sum", "rows", "none")
    ),
    Case(
        "BinaryCrossEntropy",
        (f(3, 4, lo=0.05, hi=0.95), f(3, 4, lo=0, hi=1)),
        epsilon=1e-4,
        batch=(0, 1),
        why="SINGA's epsilon",
    ),
    Case(
        "BinaryCrossEntropy",
        (f(3, 4, lo=-0.5, hi=1.5), f(3, 4, lo=0, hi=1)),
        epsilon=0.1,
        batch=(0, 1),
        why="predictions outside [0, 1]",
    ),
    Case(
        "BinaryCrossEntropy",
        (f(3, 4, lo=0.05, hi=0.95), f(3, 4, lo=0, hi=1)),
        slope="quotient",
        batch=(0, 1),
        why="the quotient is the derivative, up to epsilon",
    ),
    Case(
        "BinaryCrossEntropy",
        (f(3, 4, lo=0.05, hi=0.95), f(3, 4, lo=0, hi=1)),
        slope="shifted",
        batch=(0, 1),
        why="with epsilon 1e-12 the shift is nothing",
    ),
    *(
        Case(
            "BinaryCrossEntropyWithLogits",
            (f(3, 4, lo=-4, hi=4), f(3, 4, lo=0, hi=1), w, q),
            reduction=r,
            batch=batch,
            why=f"{r}{', weight' * (w is not None)}{', pos_weight' * (q is not None)}",
        )
        for r, w, q, batch in (
            ("mean", None, None, (0, 1)),
            ("sum", f(3, 1), None, (0, 1, 2)),
            ("rows", None, f(4, lo=0.5), (0, 1)),
            ("none", f(4), f(4, lo=0.5), (0, 1)),
            ("mean", f(3, 4), f(1, lo=0.5), (0, 1, 2)),
        )
    ),
    Case(
        "BinaryCrossEntropyWithLogits",
        (np.array([[90.0, -90.0, 1e4]], np.float32), f(1, 3, lo=0, hi=1)),
        batch=(0, 1),
        why="saturated scores",
    ),
]
