"""Analog tiles."""

import numpy as np

from .._case import Case, f, zeros

RULE = {"differences": "not the derivative: aihwkit's rule", "jax_agrees": "not the derivative: aihwkit's rule"}
one = lambda v: np.array([v], np.float32)  # noqa: E731
ALIKE = np.full((3, 4), 0.7, np.float32)
TIES = np.array([[1.0, -2.0, 2.0], [-3.0, 1.0, 0.5]], np.float32)
DRAWS = {"onnx_reference": "draws other numbers"}
IO = {"inp_bound": 1.0, "inp_res": 1 / 30, "out_res": 1 / 30}

CASES = [
    *(
        Case(
            "InputRangeInit",
            (x, one(r), one(k)),
            outputs=2,
            wrt=(1,),
            why=why,
            training_mode=training,
            init_from_data=n,
            excused=RULE,
        )
        for why, x, r, k, training, n in [
            ("first batch", f(3, 4), 3, 0, 1, 10),
            ("fourth", f(3, 4), 3, 3, 1, 10),
            ("finished", f(3, 4), 3, 10, 1, 10),
            ("alike", ALIKE, -3, 3, 1, 10),
            ("outside training", f(3, 4), 3, 3, 0, 10),
            ("off", f(3, 4), 3, 0, 1, 0),
        ]
    ),
    Case(
        "InputRangeInit",
        (f(3, 4), one(2), one(5)),
        outputs=2,
        wrt=(1,),
        init_from_data=3,
        training_mode=1,
        why="the range passes",
    ),
    Case("InputRange", (f(3, 4), one(1.1)), excused=RULE),
    Case(
        "InputRange",
        (f(3, 4), one(1.1)),
        decay=0.1,
        input_min_percentage=0.1,
        gradient_scale=2.0,
        excused=RULE,
        why="decay acts",
    ),
    Case("InputRange", (f(3, 4), one(1.1)), gradient_relative=0, decay=0.0, straight_through=1, excused=RULE),
    Case("InputRange", (f(3, 4), one(1.1)), wrt=(0,), why="in x it is the derivative"),
    Case("InputRange", (f(2, 3, 4, 4), one(1.1)), wrt=(0,), why="images"),
    *(
        Case(
            "OutputClipping",
            (f(3, 4), one(1.1), f(3, 5)),
            bound=1.0,
            share=share,
            batch=(0, 2),
            wrt=(0, 1),
            output_min_percentage=p,
            excused=RULE,
            why=f"{share} {p}",
        )
        for share in ("output_size", "input_size")
        for p in (0.95, 0.0)
    ),
    Case("OutputClipping", (f(3, 4), one(1.1), f(3, 5)), bound=1.0, wrt=(0,), batch=(0, 2), why="y passes"),
    Case("StopGradient", (f(3, 4),), wrt=(), why="nothing asked for"),
    Case("GradientThrough", (f(3, 4), f(3, 4), f(3, 4), one(2)), bound=1.0, wrt=(0, 1), batch=(0, 1, 2), excused=RULE),
    Case("GradientThrough", (f(3, 4), f(3, 4), f(3, 4)), wrt=(0, 1), batch=(0, 1, 2), excused=RULE),
    Case("TileWeight", (f(3, 4), f(3, lo=0.5)), wrt=(0,), batch=(), excused=RULE),
    Case("TileWeight", (f(3, 4), np.ones(1, np.float32)), wrt=(0,), batch=(), why="a scale of 1"),
    Case("NoiseManagement", (f(3, 4),)),
    Case("NoiseManagement", (f(3, 4),), management="MAX"),
    Case("NoiseManagement", (f(3, 4),), threshold=1.0, why="capped"),
    Case("NoiseManagement", (zeros(2, 3),), why="zero rows", excused={"differences": "a kink", "jax_agrees": "a kink"}),
    Case(
        "NoiseManagement", (TIES,), why="ties", excused={"differences": "a kink", "jax_agrees": "JAX shares among ties"}
    ),
    Case("BoundManagement", (f(3, 4), f(5, 4)), out_bound=100.0, why="nothing to do", wrt=(), **IO),
    Case("BoundManagement", (f(3, 4), f(5, 4)), out_bound=1.0, wrt=(), why="limited by the resolution", **IO),
    Case(
        "BoundManagement",
        (f(3, 4), f(5, 4), f(3, 4), f(3, 5)),
        out_bound=0.2,
        inp_asymmetry=0.1,
        out_asymmetry=0.2,
        max_bm_factor=10,
        wrt=(),
        batch=(0, 2, 3),
        why="noise and asymmetry",
    ),
    Case("WeightModifier", (f(5, 4),), modifier="DISCRETIZE", res=1 / 14, training_mode=1, batch=(), excused=RULE),
    Case("WeightModifier", (f(5, 4),), modifier="DOREFA", res=1 / 14, training_mode=1, batch=(), excused=RULE),
    Case(
        "WeightModifier",
        (f(5, 4),),
        modifier="DOREFA",
        res=1 / 14,
        training_mode=1,
        batch=(),
        rel_to_actual_wmax=0,
        assumed_wmax=0.7,
        excused=RULE,
    ),
    Case(
        "WeightModifier",
        (f(5, 4),),
        modifier="ADD_NORMAL",
        std_dev=0.1,
        training_mode=1,
        batch=(),
        excused=RULE | DRAWS,
    ),
    Case(
        "WeightModifier",
        (f(5, 4),),
        modifier="MULT_NORMAL",
        std_dev=0.1,
        training_mode=1,
        batch=(),
        excused=RULE | DRAWS,
    ),
    Case(
        "WeightModifier",
        (f(5, 4), f(3, 4)),
        modifier="ADD_NORMAL",
        std_dev=0.1,
        training_mode=1,
        wrt=(0,),
        batch=(),
        per_batch_sample=1,
        excused=RULE | DRAWS,
    ),
    Case(
        "WeightModifier",
        (f(5, 4), f(3, 4)),
        modifier="ADD_NORMAL",
        std_dev=0.1,
        wrt=(0,),
        batch=(),
        per_batch_sample=1,
        why="outside training, by sample",
    ),
    Case("WeightModifier", (f(5, 4),), modifier="ADD_NORMAL", std_dev=0.1, why="outside training", batch=()),
    Case(
        "WeightModifier",
        (f(2, 2),),
        modifier="ADD_NORMAL",
        std_dev=0.1,
        rel_to_actual_wmax=0,
        training_mode=1,
        why="noise of fixed size",
        batch=(),
        excused=DRAWS,
    ),
    Case("GaussianNoise", (f(5, 4),), wrt=(), excused=DRAWS),
    Case("ClipWeight", (f(5, 4),), clip="FIXED_VALUE", fixed_value=0.5, batch=()),
    Case("ClipWeight", (f(5, 4),), sigma=0.5, batch=()),
    Case("ClipWeight", (f(5, 4),), sigma=0.5, fixed_value=0.3, batch=()),
    Case("RemapWeight", (f(5, 4), f(5, lo=0.5)), outputs=2, batch=()),
    Case("RemapWeight", (f(5, 4), one(0.7), f(5, lo=0.5)), outputs=3, remap="CHANNELWISE_SYMMETRIC", batch=()),
    Case("RemapWeight", (f(5, 2, 3, 3), one(0.7), one(2)), outputs=3, remap="CHANNELWISE_SYMMETRIC", batch=()),
    Case("RemapWeight", (f(5, 4), f(5, lo=0.5), f(5, lo=0.5)), outputs=3, relative=1, batch=(), why="relative"),
    Case(
        "RemapWeight",
        (f(5, 4), f(5, lo=0.5), one(1.1)),
        outputs=3,
        relative=1,
        remap="CHANNELWISE_SYMMETRIC",
        remapped_wmax=0.8,
        batch=(),
        why="relative, to another maximum",
    ),
    Case(
        "RemapWeight",
        (f(5, 4), f(5, lo=0.1)),
        outputs=2,
        relative=1,
        remap="CHANNELWISE_SYMMETRIC",
        max_scale_range=2.0,
        max_scale_ref=0.3,
        batch=(),
        why="scales limited",
    ),
]
