"""RoiAlign in NumPy, sample by sample."""

import math

import numpy as np

from ._definition import define


def _taps(at, size):
    """The two pixels around a place, with their weights; none where it lies more than one pixel outside."""
    if at < -1 or at > size:
        return []
    at = min(max(at, 0.0), size - 1.0)
    low = math.floor(at)
    return [(low, 1 - (at - low)), (min(low + 1, size - 1), at - low)]


@define("RoiAlign")
def roi_align(
    x,
    rois,
    batch_indices,
    *,
    coordinate_transformation_mode="half_pixel",
    mode="avg",
    output_height=1,
    output_width=1,
    sampling_ratio=0,
    spatial_scale=1.0,
):
    y = np.zeros((len(rois), x.shape[1], output_height, output_width), x.dtype)
    half = coordinate_transformation_mode == "half_pixel"
    for r, (x1, y1, x2, y2) in enumerate(rois.astype(np.float64) * spatial_scale - (0.5 if half else 0)):
        image = x[batch_indices[r]]
        high, wide = (d if half else max(d, 1.0) for d in (y2 - y1, x2 - x1))
        samples = []
        for start, length, out, size in ((y1, high, output_height, x.shape[2]), (x1, wide, output_width, x.shape[3])):
            count = sampling_ratio or math.ceil(length / out)
            samples.append(
                [
                    [_taps(start + (b + (s + 0.5) / count) * length / out, size) for s in range(count)]
                    for b in range(out)
                ]
            )
        for p, q in np.ndindex(output_height, output_width):
            parts = [
                [i * j * image[:, h, w] for h, i in down for w, j in across]
                for down in samples[0][p]
                for across in samples[1][q]
            ]
            flat = [v for part in parts for v in part]
            if flat:
                y[r, :, p, q] = np.max(flat, axis=0) if mode == "max" else np.sum(flat, axis=0) / max(len(parts), 1)
    return y
