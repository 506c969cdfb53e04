"""A state is loaded whole or, where a name, shape or dtype differs, not at all."""

import numpy as np
import pytest

from aidgejax.frontends.aihwkit import nn
from aidgejax.frontends.aihwkit.exceptions import TileError


def changed(state, name, value):
    return {k: value if k == name else v for k, v in state.items()}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((1, 1), np.int8), r"'bias' is int8\[1, 1\], expected float32\[3\]"),
        (np.zeros(3), r"'bias' is float64\[3\], expected float32\[3\]"),
        (np.zeros(4, np.float32), r"'bias' is float32\[4\]"),
    ],
)
def test_shapes_and_dtypes_are_compared(value, message):
    layer = nn.AnalogLinear(4, 3)
    with pytest.raises(TileError, match=f"does not fit this layer: {message}.*Nothing was loaded"):
        layer.load_state_dict(changed(layer.state_dict(), "bias", value))
    layer.load_state_dict(layer.state_dict())


def test_a_container_loads_nothing_where_one_layer_does_not_fit():
    model, other = (nn.AnalogSequential(nn.AnalogLinear(4, 3), nn.AnalogLinear(3, 2)) for _ in range(2))
    before, state = model.state_dict(), other.state_dict()
    last = next(k for k in state if k.startswith("1.") and k.endswith("bias"))
    with pytest.raises(TileError, match="does not fit '1'"):
        model.load_state_dict(changed(state, last, np.zeros(9, np.float32)))
    with pytest.raises(TileError, match="holds '7.bias', which it does not have"):
        model.load_state_dict(state | {"7.bias": np.zeros(3, np.float32)})
    for k, v in model.state_dict().items():
        np.testing.assert_array_equal(v, before[k])
    model.load_state_dict(state)
    for k, v in model.state_dict().items():
        np.testing.assert_array_equal(v, state[k])
