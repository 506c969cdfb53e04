"""Counters go past 2**31 and 2**32 where JAX counts in 32 bits, and stand still at their end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.training.counter import LARGEST, WORD, Counter, counted, schedule_step


@pytest.mark.parametrize("value", [0, 1, WORD - 2, WORD - 1, WORD, 2 * WORD - 1, 2 * WORD, 7 * WORD + 5])
def test_one_more(value):
    assert int(Counter.at(value)) == value == np.asarray(Counter.at(value))
    assert int(jax.jit(counted)(Counter.at(value))) == value + 1


def test_the_end_and_other_counts():
    end = Counter(jnp.int32(LARGEST), jnp.int32(LARGEST))
    assert int(counted(end)) == int(end) == WORD**2 - 1
    assert counted(None) is None
    assert int(counted(np.uint32(2**32 - 1))) == 2**32 - 1 and counted(jnp.int32(4)) == 5
    assert [int(schedule_step(c)) for c in (Counter.at(9), Counter.at(WORD), jnp.int32(3))] == [9, LARGEST, 3]
