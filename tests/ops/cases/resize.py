import numpy as np

from .._case import Case, f, since


def fixed(*values):
    return np.array(values, np.float32)


S = fixed(1, 1, 2, 2)
FLOAT32 = since("onnx", "1.22", "onnx's evaluator computes cubic weights in float32")
CUBIC = {"onnx_reference": FLOAT32, "onnx_gradient": FLOAT32}
UP = fixed(1, 1, 1.6, 2.5)
DOWN = fixed(1, 1, 0.6, 0.45)
IMAGE = f(1, 2, 4, 5)


def row(why, *given, image=IMAGE, batch=(), **attrs):
    roi, scales, sizes = (*given, *[None] * (3 - len(given)))
    inputs = [image, roi, scales, sizes]
    while inputs[-1] is None:
        inputs.pop()
    return Case("Resize", tuple(inputs), why=why, batch=batch, wrt=(0,), **attrs)


TRANSFORMS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
CASES = [
    row("nearest, twice as large", None, S, batch=(0,)),
    *[
        row(f"nearest {how}", None, UP, nearest_mode=how, coordinate_transformation_mode="asymmetric")
        for how in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ],
    *[row(f"linear {t}, up", None, UP, mode="linear", coordinate_transformation_mode=t) for t in TRANSFORMS],
    row("linear, down", None, DOWN, mode="linear"),
    row("linear, down, antialias", None, DOWN, mode="linear", antialias=1),
    row("cubic, up", None, UP, mode="cubic", batch=(0,), skip=CUBIC),
    row("cubic, another coefficient", None, UP, mode="cubic", cubic_coeff_a=-0.5, skip=CUBIC),
    row("cubic, down, antialias", None, DOWN, mode="cubic", antialias=1, skip=CUBIC),
    row("cubic, outside excluded", None, UP, mode="cubic", exclude_outside=1, skip={"onnx_reference": FLOAT32}),
    row("sizes of two axes", None, None, np.array([3, 7]), axes=(2, 3), mode="linear", batch=(0,)),
    row(
        "align_corners to one element",
        None,
        None,
        np.array([1, 7]),
        axes=(2, 3),
        mode="linear",
        coordinate_transformation_mode="align_corners",
    ),
    row(
        "a part of the image, partly outside",
        fixed(0.25, -0.25, 1.25, 0.875),
        None,
        np.array([5, 5]),
        axes=(2, 3),
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=0.5,
    ),
    Case(
        "Resize",
        (IMAGE, None, None, np.array([8, 8])),
        why="not larger than the sizes",
        axes=(2, 3),
        mode="linear",
        keep_aspect_ratio_policy="not_larger",
        batch=(),
        wrt=(0,),
        skip={"onnx_gradient": "scales that depend on two axes have no matrix per axis in ONNX"},
    ),
    Case("Resize", (np.arange(24).reshape(1, 2, 3, 4), None, S), why="integers", batch=()),
    Case("ResizeGrad", (f(1, 2, 8, 10), f(1, 2, 4, 5), None, S), mode="linear", batch=()),
]
