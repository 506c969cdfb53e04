"""The mutable tensor of the front ends: where its data is, who sees what is written, what is computed when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.errors import GraphError
from aidgejax.frontends._shared.tensor_cell import TensorCell

A = np.arange(6, dtype=np.float32).reshape(2, 3)


def filled():
    cell = TensorCell((2, 3))
    cell.put(A)
    return cell


def test_shape_and_dtype_are_known_before_there_is_data():
    cell = TensorCell((2, 3), "int32")
    assert (cell.shape, cell.dtype, cell.has_data) == ((2, 3), np.int32, False)
    for read in (cell.read, cell.host, cell.device_array):
        with pytest.raises(GraphError, match=r"\[2, 3\] is read, but it has no data"):
            read()


def test_a_view_is_live_both_ways():
    cell = filled()
    view = cell.host()
    assert cell.has_view
    view[0, 0] = 9
    assert cell.device_array()[0, 0] == 9  # written through the view, read by a compiled call
    cell.put(jnp.zeros((2, 3)))
    assert not view.any()  # computed on the device, seen through the view
    del view
    assert not cell.has_view
    cell.put(jnp.ones((2, 3)))
    assert isinstance(cell.device_copy, jax.Array)


def test_what_is_put_in_belongs_to_the_cell():
    mine = np.zeros(4, np.float32)
    cell = TensorCell()
    cell.put(mine[:2])
    mine[:] = 1
    assert not cell.read().any() and cell.shape == (2,)


def test_a_deferred_value_is_computed_once_when_read():
    calls = []
    cell = TensorCell()
    cell.defer((2, 3), "float32", lambda: calls.append(1) or A)
    assert cell.deferred and cell.has_data and cell.shape == (2, 3) and not calls
    np.testing.assert_array_equal(cell.read(), A)
    np.testing.assert_array_equal(cell.device_array(), A)
    assert len(calls) == 1


def test_a_deferred_value_that_fails_may_be_asked_again():
    answers = [ZeroDivisionError(), A]

    def compute():
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    cell = TensorCell()
    cell.defer((2, 3), "float32", compute)
    with pytest.raises(ZeroDivisionError):
        cell.read()
    np.testing.assert_array_equal(cell.read(), A)


def test_a_view_sees_a_deferred_value_at_once():
    cell = filled()
    view = cell.host()
    cell.defer((2, 3), "float32", lambda: -A)
    np.testing.assert_array_equal(view, -A)


def test_wide_data_stays_wide():
    cell = TensorCell()
    cell.put(np.array([2**40, 1]))
    assert cell.device_array().dtype == np.int64 and int(cell.device_array()[0]) == 2**40


def test_copies_are_independent():
    one, two = filled(), TensorCell()
    one.copy_to(two)
    two.host()[...] = 0
    np.testing.assert_array_equal(one.read(), A)
    one.replace(np.ones(2, np.float32))
    one.copy_to(two)
    assert two.shape == (2,) and two.read().sum() == 2
    one.clear()
    one.copy_to(two)
    assert not two.has_data
