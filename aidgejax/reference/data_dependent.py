"""Operators whose results are as many as the data says, in NumPy."""

import numpy as np

from ._definition import define


@define("Unique")
def unique(x, *, axis=None, sorted=1):
    slices = list(x.ravel()) if axis is None else list(np.moveaxis(x, axis, 0))
    keys = [tuple(np.ravel(s).tolist()) for s in slices]
    different = list(dict.fromkeys(keys))
    if sorted:
        different.sort()
    first = [keys.index(k) for k in different]
    values = np.stack([slices[k] for k in first], 0 if axis is None else axis).astype(x.dtype)
    which = [different.index(k) for k in keys]
    return values, *(np.asarray(v, np.int64) for v in (first, which, [keys.count(k) for k in different]))


def _overlap(a, b):
    """Intersection over union of two boxes, each ((low, high), (low, high))."""
    both = one = other = 1.0
    for (p, q), (r, s) in zip(a, b, strict=True):
        both, one, other = both * max(0.0, min(q, s) - max(p, r)), one * (q - p), other * (s - r)
    return both / (one + other - both) if both else 0.0


@define("NonMaxSuppression")
def non_max_suppression(
    boxes, scores, max_output_boxes_per_class=None, iou_threshold=None, score_threshold=None, *, center_point_box=0
):
    most, overlap = (0 if v is None else float(np.reshape(v, ())) for v in (max_output_boxes_per_class, iou_threshold))
    found = []
    for b in range(len(boxes)):
        if center_point_box:
            spans = [((x - w / 2, x + w / 2), (y - h / 2, y + h / 2)) for x, y, w, h in boxes[b].astype(float)]
        else:
            spans = [((min(p, r), max(p, r)), (min(q, s), max(q, s))) for p, q, r, s in boxes[b].astype(float)]
        for c in range(scores.shape[1]):
            kept = []
            for k in sorted(range(len(spans)), key=lambda k: -scores[b, c, k]):
                good = score_threshold is None or scores[b, c, k] > np.reshape(score_threshold, ())
                if good and len(kept) < most and all(_overlap(spans[k], spans[j]) <= overlap for j in kept):
                    kept.append(k)
            found += [(b, c, k) for k in kept]
    return np.asarray(found, np.int64).reshape(-1, 3)
