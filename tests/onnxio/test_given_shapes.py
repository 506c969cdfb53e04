"""`shapes=` of read: whole shapes, some axes, sizes by name."""

import numpy as np
import pytest

from aidgejax import onnxio
from aidgejax.errors import GraphError

from ._models import info, model, node


def images():
    return model(
        [node("Flatten", "x", "f"), node("MatMul", "f,w", "y")],
        [info("x", ["N", "C", "H", "H + 2"]), info("z", [None, "H"])],
        [info("y", None), info("z", None)],
        {"w": np.ones((24, 2), np.float32)},
    )


@pytest.mark.parametrize(
    "shapes",
    [
        {"x": ("N", 1, 4, 6), "z": ("N", 4)},
        {"x": {"C": 1, "H": 4, 3: 6}, "z": {0: "N", "H": 4}},
        {"C": 1, "H": 4, "z": {0: "N"}},
        {"x": {1: 1}, "H": 4, "z": {-2: "N"}},
        {"x": {1: 1, 2: 4, 3: 6}, "z": {0: "N", 1: 4}},
        {"x": {2: 4, 1: 1, 3: 6}, "z": {1: 4, 0: "N"}},
    ],
)
def test_all_these_say_the_same(shapes):
    graph = onnxio.read(images(), shapes=shapes)
    assert (graph.inputs["x"].shape, graph.inputs["z"].shape) == (("N", 1, 4, 6), ("N", 4))
    assert graph.value("y").shape == ("N", 2)


@pytest.mark.parametrize(
    "shapes, message",
    [
        ({"Q": 3}, "`shapes` names 'Q', but the inputs are 'x', 'z', and their named sizes 'C', 'H', 'N'"),
        ({"x": {"W": 3}}, r"`shapes` names axis 'W' of 'x', whose sizes are \[N, C, H, H \+ 2\]"),
        ({"x": {4: 3}}, "`shapes` names axis 4 of 'x'"),
        ({"x": 3}, "`shapes` gives the input 'x' 3; expected its sizes, or {axis: size}"),
    ],
)
def test_what_names_nothing_is_refused(shapes, message):
    with pytest.raises(GraphError, match=message):
        onnxio.read(images(), shapes=shapes)
