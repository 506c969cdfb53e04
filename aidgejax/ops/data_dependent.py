"""Operators whose results are as many as the data says: Unique, NonMaxSuppression.

What they read must be a compile-time constant, as it is for `aidgejax.run`, for it decides the shapes; they are
computed in NumPy then.  No gradient passes.
"""

import jax
import numpy as np

from ..errors import GraphError
from ._registry import operator, positive_axes


def as_int64(a):
    return np.asarray(a, jax.dtypes.canonicalize_dtype(np.int64))


@operator("Unique", onnx=("", 11), static=("x",), outputs=4)
def unique(x, *, axis=None, sorted=1):
    """The different elements of x, or slices along axis; where each is met first, which of them each of x is, and how
    often it occurs.  t[*s] -> t[k], i64[k], i64[n], i64[k].  sorted=0: in the order in which they are met.
    ONNX Unique-11."""
    if axis is None:
        x, axis = np.ravel(x), 0
    (axis,) = positive_axes((axis,), np.ndim(x), "axis")
    values, first, which, count = np.unique(x, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    which = np.ravel(which)
    if not sorted:
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        values, first, which, count = np.take(values, order, axis), first[order], place[which], count[order]
    return values, as_int64(first), as_int64(which), as_int64(count)


def corners(boxes, center_point_box):
    """f[n, 4] -> the lower corners and the upper ones, f[n, 2] each."""
    if center_point_box:  # x, y, width, height
        return boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    return np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])


def kept_boxes(low, high, scores, most, overlap, threshold):
    """The indices of boxes, best first, none of which overlaps a better one by more than `overlap`."""
    area = np.prod(high - low, axis=1)
    left = np.argsort(-scores, kind="stable")
    left = left if threshold is None else left[scores[left] > threshold]
    kept = []
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        both = np.prod(np.maximum(np.minimum(high[best], high[left]) - np.maximum(low[best], low[left]), 0), axis=1)
        whole = area[best] + area[left] - both
        left = left[np.divide(both, whole, out=np.zeros_like(both), where=whole > 0) <= overlap]
    return kept


@operator(
    "NonMaxSuppression",
    onnx=("", 11),
    settings=("iou_threshold", "score_threshold"),
    static=("boxes", "scores", "max_output_boxes_per_class", "iou_threshold", "score_threshold"),
)
def non_max_suppression(
    boxes, scores, max_output_boxes_per_class=None, iou_threshold=None, score_threshold=None, *, center_point_box=0
):
    """Of boxes that overlap, the one with the best score.  f[b, n, 4], f[b, c, n], i64[], f[], f[] -> i64[k, 3]: batch,
    class, box.  Two overlap where intersection / union exceeds iou_threshold; a score has to exceed score_threshold.
    ONNX NonMaxSuppression-11."""
    if (
        np.ndim(boxes) != 3
        or np.ndim(scores) != 3
        or np.shape(boxes)[1:] != (np.shape(scores)[2], 4)
        or len(boxes) != len(scores)
    ):
        raise GraphError(
            f"boxes are {list(np.shape(boxes))} and scores {list(np.shape(scores))}; expected [b, n, 4] and [b, c, n]"
        )
    most, overlap = (0 if v is None else np.reshape(v, ()).item() for v in (max_output_boxes_per_class, iou_threshold))
    if not 0 <= overlap <= 1:
        raise GraphError(f"iou_threshold is {overlap}: expected a number from 0 to 1")
    threshold = None if score_threshold is None else np.reshape(score_threshold, ()).item()
    found = []
    for b, image in enumerate(np.asarray(boxes, np.float64)):
        low, high = corners(image, center_point_box)
        for c, of_class in enumerate(scores[b]):
            found += [(b, c, k) for k in kept_boxes(low, high, of_class, most, overlap, threshold)]
    return as_int64(np.reshape(found, (-1, 3)))
