"""Arrays in pieces: put together, and lists of pieces that cannot be."""

import math

import numpy as np
import pytest

from aidgejax.training.pieces import Piece, assembled, what_is_wrong

WHOLE = np.arange(60, dtype=np.float32).reshape(6, 10)
PIECES = [Piece(k % 2, (a, b), (3, 5)) for k, (a, b) in enumerate([(0, 0), (0, 5), (3, 0), (3, 5)])]


def content(k):
    (a, b), (n, m) = PIECES[k][1:]
    return WHOLE[a : a + n, b : b + m]


def test_any_box_is_put_together_from_the_pieces_that_it_needs():
    read = []
    boxes = [((0, 0), (6, 10)), ((1, 2), (4, 6)), ((0, 6), (2, 2))]
    found = assembled(boxes, PIECES, lambda k: read.append(k) or content(k), np.float32)
    for (a, b), (n, m) in boxes:
        np.testing.assert_array_equal(found[(a, b), (n, m)], WHOLE[a : a + n, b : b + m])
    assert read == [0, 1, 2, 3]  # once each
    assembled([((4, 6), (1, 1))], PIECES, lambda k: read.append(k) or content(k), np.float32)
    assert read[4:] == [3]
    with pytest.raises(ValueError, match="15 numbers from .* are in no piece"):
        assembled([((0, 0), (6, 10))], PIECES[1:], content_after_the_first, np.float32)


def content_after_the_first(k):
    return content(k + 1)


def test_lists_that_cannot_be_pieces():
    assert what_is_wrong(PIECES, WHOLE.shape, 2) == ""
    for wrong in ([-1, 0], [0, 0, 0], [4, 0], [0.5, 0]):
        assert what_is_wrong([(0, wrong, (3, 5)), *PIECES[1:]], WHOLE.shape, 2)
    assert "outside" in what_is_wrong(PIECES, WHOLE.shape, 1)  # a process of which there is no part
    assert f"have {math.prod(WHOLE.shape) - 15} numbers" in what_is_wrong(PIECES[1:], WHOLE.shape, 2)
