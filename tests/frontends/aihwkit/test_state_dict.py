"""A state is loaded whole or, where a name, shape or dtype differs, not at all."""

import sys

import numpy as np
import pytest

from aidgejax.frontends.aihwkit import nn
from aidgejax.frontends.aihwkit.exceptions import TileError


def with_torch():
    """Layers are torch modules then, and their states torch's."""
    return "torch" in sys.modules


def close(state, other):
    for k, v in state.items():
        if not isinstance(v, dict):
            np.testing.assert_array_equal(np.asarray(v), np.asarray(other[k]))


def copied(state):
    return {k: v.clone() if hasattr(v, "clone") else v for k, v in state.items()}


def bias_of(state):
    return next(k for k in state if k.endswith("bias"))


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
    before = copied(layer.state_dict())
    bias = bias_of(before)
    if with_torch() and value.shape == (3,):
        layer.load_state_dict(changed(before, bias, value))  # torch converts dtypes
        assert not layer.state_dict()[bias].any()
    else:
        message = "this AnalogLinear: .*bias" if with_torch() else f"this layer: {message}"
        with pytest.raises(TileError, match=f"(?s)does not fit {message}.*Nothing was loaded"):
            layer.load_state_dict(changed(before, bias, value))
        close(layer.state_dict(), before)
    layer.load_state_dict(before)


def test_a_container_loads_nothing_where_one_layer_does_not_fit():
    model, other = (nn.AnalogSequential(nn.AnalogLinear(4, 3), nn.AnalogLinear(3, 2)) for _ in range(2))
    before, state = (copied(m.state_dict()) for m in (model, other))
    last = next(k for k in state if k.startswith("1.") and k.endswith("bias"))
    with pytest.raises(TileError, match="(?s)does not fit .*1.*Nothing was loaded"):
        model.load_state_dict(changed(state, last, np.zeros(9, np.float32)))
    with pytest.raises(TileError, match="7.bias"):
        model.load_state_dict(state | {"7.bias": np.zeros(3, np.float32)})
    close(model.state_dict(), before)
    model.load_state_dict(state)
    close(model.state_dict(), state)
