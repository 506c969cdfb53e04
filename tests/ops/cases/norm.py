import numpy as np

from .._case import Case, f


def statistics(c):
    """scale, B, mean, var of c channels"""
    return f(c, lo=0.5), f(c), f(c), f(c, lo=0.5)


CASES = [
    *(
        Case(
            "BatchNormalization",
            (f(*shape), *statistics(shape[1])),
            training_mode=mode,
            outputs=3 if mode else 1,
            why=f"rank {len(shape)}, {'training' if mode else 'inference'}",
        )
        for shape in ((5, 3), (3, 2, 4), (2, 3, 4, 2), (2, 2, 2, 3, 2))
        for mode in (0, 1)
    ),
    Case("BatchNormalization", (f(4, 3, 2, 2), *statistics(3)), training_mode=1, wrt=(0, 1, 2), why="only y is read"),
    Case("BatchNormalization", (f(4, 3, 2, 2), *statistics(3)), epsilon=1e-2, why="epsilon, inference"),
    Case(
        "BatchNormalization",
        (f(4, 3, 2, 2), *statistics(3)),
        training_mode=1,
        outputs=3,
        epsilon=1e-2,
        momentum=0.3,
        why="epsilon and momentum",
    ),
    Case(
        "BatchNormalization",
        (f(4, 3, 2), *statistics(3)),
        training_mode=1,
        outputs=3,
        unbiased_running_var=1,
        why="the running variance of torch and SINGA",
    ),
    *(
        Case(
            "BatchNormalizationGrad",
            (f(*shape), f(*shape), f(shape[1]), f(shape[1]), f(shape[1], lo=0.5)),
            training_mode=mode,
            outputs=3,
            batch=(0, 1),
            why=f"rank {len(shape)}, mode {mode}",
        )
        for shape in ((4, 3), (2, 3, 4, 2))
        for mode in (0, 1)
    ),
    Case("LayerNormalization", (f(3, 4), f(4), f(4)), why="last axis"),
    Case("LayerNormalization", (f(3, 4), f(4)), epsilon=1e-2, why="no bias, epsilon"),
    Case(
        "LayerNormalization",
        (f(2, 3, 4), f(3, 4), f(4)),
        axis=1,
        outputs=3,
        why="two axes, statistics asked for",
        skip={
            "onnx_reference": "the statistics are float32 in ONNX, float64 here where the data are",
            "onnx_round_trip": "as above",
        },
    ),
    Case("LayerNormalization", (f(2, 3, 4), f(1, 4), f(3, 1)), axis=-2, why="scale and bias broadcast"),
    Case("RMSNormalization", (f(3, 4), f(4)), why="last axis"),
    Case("RMSNormalization", (f(2, 3, 4), f(3, 1)), axis=-2, epsilon=1e-2, why="two axes, scale broadcasts"),
    *(
        Case(
            "GroupNormalization",
            (f(*shape), f(shape[1]), f(shape[1])),
            num_groups=groups,
            why=f"rank {len(shape)}, {groups} groups",
        )
        for shape, groups in (((3, 8), 2), ((2, 4, 3), 2), ((2, 4, 2, 3), 4), ((2, 4, 2, 3), 1), ((2, 2, 2, 2, 3), 2))
    ),
    Case("GroupNormalization", (f(2, 4, 2, 2), f(4), f(4)), num_groups=2, epsilon=1e-2, why="epsilon"),
    Case("GroupNormalizationGrad", (f(2, 4, 2, 3), f(2, 4, 2, 3), f(4)), num_groups=2, outputs=3, batch=(0, 1)),
    Case("InstanceNormalization", (f(2, 3, 4), f(3), f(3)), why="rank 3"),
    Case("InstanceNormalization", (f(2, 3, 4, 2), f(3), f(3)), epsilon=1e-2, why="rank 4, epsilon"),
    Case("LRN", (f(5, 5, 1, 2),), size=3, alpha=0.5, why="odd window"),
    Case("LRN", (f(5, 5, 2, 1),), size=4, alpha=0.5, beta=0.5, bias=2.0, why="even window reaches further up"),
    *(
        Case(
            "LRN",
            (f(*shape),),
            size=7,
            alpha=0.5,
            why=f"a window wider than the channels, rank {len(shape)}",
            skip={"onnx_reference": "onnx 1.23.2 takes rank 4 only, and goes through as many channels as rows"},
        )
        for shape in ((2, 3), (2, 3, 4), (2, 3, 1, 2, 2))
    ),
    Case("LRNGrad", (f(2, 5, 2, 2), f(2, 5, 2, 2)), size=4, alpha=0.5, batch=(0, 1)),
    Case("LpNormalization", (f(3, 4),), why="2-norm, last axis"),
    Case("LpNormalization", (f(3, 4, lo=0.1),), p=1, axis=0, batch=(), why="1-norm, first axis"),
    Case(
        "LpNormalization",
        (f(3, 4),),
        p=1,
        why="1-norm, both signs",
        skip={"onnx_reference": "onnx 1.23.2 forgets to take absolute values"},
    ),
    Case(
        "LpNormalization",
        (np.array([[0, 0], [3, 4]], np.float32),),
        why="a zero row",
        skip={"differences": "a jump at zero"},
    ),
    *(
        Case(
            "MeanVarianceNormalization",
            (f(*shape),),
            axes=axes,
            batch=batch,
            why=f"over {axes}",
            skip={
                "onnx_reference": "the constants in ONNX's definition are float32, so no float64 model is valid",
                "onnx_round_trip": "as above",
            },
        )
        for shape, axes, batch in (((2, 3, 4, 2), (0, 2, 3), ()), ((3, 4), (-1,), (0,)), ((2, 3, 4), (1,), (0,)))
    ),
]
