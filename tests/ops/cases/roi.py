import numpy as np

from .._case import Case, f

BOXES = np.array([[0.3, 0.2, 4.1, 3.3], [1.2, 0.7, 5.6, 4.9], [-1.5, -1.3, 4.2, 4.8]], np.float32)
IMAGES = np.array([0, 1, 0])
BINS = {"output_height": 2, "output_width": 3}

CASES = [
    Case("RoiAlign", (f(2, 2, 5, 6), BOXES, IMAGES), why="as many samples as pixels", batch=(), wrt=(0,), **BINS),
    Case(
        "RoiAlign",
        (f(2, 2, 5, 6), BOXES, IMAGES),
        why="two by two samples, no shift",
        batch=(),
        wrt=(0,),
        coordinate_transformation_mode="output_half_pixel",
        sampling_ratio=2,
        spatial_scale=0.8,
        **BINS,
    ),
    Case(
        "RoiAlign",
        (f(2, 2, 5, 6), BOXES, IMAGES),
        why="the largest",
        batch=(),
        wrt=(),
        mode="max",
        sampling_ratio=2,
        **BINS,
    ),
]
