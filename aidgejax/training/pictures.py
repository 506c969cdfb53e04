"""Pictures of folders and data sets as a model takes them: channels first or last, in color or in grey.

What was read as a picture has its channels first, so that nothing about its layout is to be guessed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import DataError, about
from ..graph import Value

GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as pillow weighs red, green and blue


def pictures_for(value: Value, shape: tuple[int, ...]) -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:
    """(f(pictures [n, c, h, w]) -> rows of this input, what to say), for pictures of this shape.

    Raises DataError where the input has rank 4 and other sizes.
    """
    wants, (channels, *sizes) = value.shape or (), shape[1:]
    if len(wants) != 4:
        return lambda a: a, []
    for last in (False, True):
        wanted, space = (wants[3], wants[1:3]) if last else (wants[1], wants[2:])
        fits = all(not isinstance(d, int) or d == n for d, n in zip(space, sizes, strict=True))
        count = wanted if isinstance(wanted, int) else channels
        if fits and (count == channels or {count, channels} == {1, 3}):
            notes = [] if count == channels else ["in grey" if count == 1 else "grey in three channels"]
            notes += ["channels last"] if last else []
            said = [f"{value.name}: pictures, {', '.join(notes)}, as the model takes them"] if notes else []
            return lambda a, last=last, count=count: _fitted(a, count, last), said  # type: ignore[misc]  # bound here
    raise about(
        "input-shape",
        DataError(
            f"{value}: the pictures are {sizes[0]} x {sizes[1]} with {channels} channel{'s' if channels > 1 else ''}; "
            f"resize them to what the model takes"
        ),
    )


def _fitted(a: np.ndarray, channels: int, last: bool) -> np.ndarray:
    if channels == 1 < a.shape[1]:
        a = np.tensordot(a, GREY, (1, 0))[:, None].astype(a.dtype)
    elif channels != a.shape[1]:
        a = np.repeat(a, channels, 1)
    return np.ascontiguousarray(np.moveaxis(a, 1, -1)) if last else a
