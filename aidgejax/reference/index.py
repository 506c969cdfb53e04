"""Picking elements by index: Gather and its relatives, ArgMax, TopK. NumPy."""

import numpy as np

from ._definition import define


@define("ScatterElements")
def scatter_elements(x, indices, updates, *, axis=0, reduction="none"):
    y = x.copy()
    for at in np.ndindex(indices.shape):
        place = list(at)
        place[axis] = int(indices[at])
        place = tuple(place)
        y[place] = y[place] + updates[at] if reduction == "add" else updates[at]
    return y
