"""What training changes: decided by structure, printed, overruled by name."""

import re

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from aidgejax import cut_at, make_program, onnxio, with_loss
from aidgejax.errors import GraphError
from aidgejax.passes.roles import check_trains, summary

f = np.float32
rng = np.random.default_rng(0)


def model(nodes, inits, x=("N", 3), outs=("y",), extra=()):
    made = [h.make_node(op, i.split(), o.split(), **a) for op, i, o, a in ((*n, {})[:4] for n in nodes)]
    outputs = [h.make_tensor_value_info(o, T.FLOAT, None) for o in outs]
    tensors = [nh.from_array(np.asarray(v), k) for k, v in inits.items()]
    graph = h.make_graph(made, "g", [h.make_tensor_value_info("x", T.FLOAT, list(x))], outputs, tensors)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18), *extra], ir_version=9)


W, V, ONE = rng.normal(size=(3, 4)).astype(f), np.ones(4, f), f(1)
PRODUCT = ("MatMul", "x w", "z")
ANGLES = np.outer(np.arange(16), 1 / 10 ** np.arange(4))
RAMPS = (np.arange(-15, 1)[:, None] * [0.5, 0.25, 0.125, 0.0625]).astype(f)
# name: (nodes, {initializer: array}, the parameters)
CASES = {
    "a group norm as torch's exporters write it": (
        [
            PRODUCT,
            ("Reshape", "z groups", "r"),
            ("InstanceNormalization", "r ones zeros", "n"),
            ("Reshape", "n back", "s"),
            ("Mul", "s scale", "t"),
            ("Add", "t bias", "y"),
        ],
        {
            "w": W,
            "groups": np.array([0, 2, -1]),
            "ones": np.ones(2, f),
            "zeros": np.zeros(2, f),
            "back": np.array([0, 4]),
            "scale": np.ones(4, f),
            "bias": np.zeros(4, f),
        },
        "w scale bias",
    ),
    "a layer norm with vectors of one number": (
        [
            PRODUCT,
            ("ReduceMean", "z", "m"),
            ("Sub", "z m", "c"),
            ("Pow", "c two", "q"),
            ("ReduceMean", "q", "v"),
            ("Add", "v eps", "e"),
            ("Sqrt", "e", "s"),
            ("Div", "c s", "n"),
            ("Mul", "n gamma", "g"),
            ("Add", "g beta", "y"),
        ],
        {"w": W, "two": f([2]), "eps": f([1e-5]), "gamma": V, "beta": V},
        "w gamma beta",
    ),
    "a logit scale": ([PRODUCT, ("Exp", "s", "e"), ("Mul", "z e", "y")], {"w": W, "s": f(0.6)}, "w s"),
    "positions of sines": ([PRODUCT, ("Add", "z pe", "y")], {"w": W, "pe": np.sin(ANGLES).astype(f)}, "w"),
    "positions that are learnt": (
        [PRODUCT, ("Add", "z pe", "y")],
        {"w": W, "pe": rng.normal(size=(16, 4)).astype(f) * f(0.02)},
        "w pe",
    ),
    "positions that start at zero": ([PRODUCT, ("Add", "z pe", "y")], {"w": W, "pe": np.zeros((16, 4), f)}, "w pe"),
    "rotary caches": (
        [PRODUCT, ("Gather", "cos ids", "c"), ("Mul", "z c", "a"), ("Mul", "z sin", "b"), ("Add", "a b", "y")],
        {"w": W, "cos": np.cos(ANGLES).astype(f), "sin": np.sin(ANGLES).astype(f), "ids": np.arange(16)},
        "w",
    ),
    "a batch norm written out": (
        [
            PRODUCT,
            ("Sub", "z mean", "d"),
            ("Add", "var eps", "ve"),
            ("Sqrt", "ve", "s"),
            ("Reciprocal", "s", "r"),
            ("Mul", "d r", "n"),
            ("Mul", "n gamma", "g"),
            ("Add", "g beta", "y"),
        ],
        {"w": W, "mean": V * f(0.3), "var": V, "eps": f([1e-5]), "gamma": V, "beta": V},
        "w gamma beta",
    ),
    "the cells and anchors of a detector": (
        [PRODUCT, ("Sigmoid", "z", "s"), ("Add", "s cells", "a"), ("Mul", "a anchors", "y")],
        {
            "w": W,
            "cells": np.stack(np.meshgrid(np.arange(4), np.arange(4))).astype(f) + f(0.5),
            "anchors": np.repeat(f([8, 16, 32, 32]), 4).reshape(4, 4),
        },
        "w",
    ),
    "the expected distance of a detector": (
        [
            ("Unsqueeze", "x ax", "u"),
            ("Conv", "u k", "c"),
            ("Softmax", "c", "s", {"axis": 1}),
            ("Conv", "s count", "y"),
        ],
        {"ax": np.array([2]), "k": np.ones((8, 3, 1), f), "count": np.arange(8, dtype=f).reshape(1, 8, 1)},
        "k",
    ),
    "slopes of distances": ([PRODUCT, ("Add", "z ramps", "y")], {"w": W, "ramps": RAMPS}, "w"),
    "a temperature": ([PRODUCT, ("Div", "z temperature", "y")], {"w": W, "temperature": f(2)}, "w temperature"),
    "a gate": ([PRODUCT, ("Sigmoid", "g", "o"), ("Mul", "z o", "y")], {"w": W, "g": f(0)}, "w g"),
    "an odd scale": ([PRODUCT, ("Mul", "z k", "y")], {"w": W, "k": f(14.7)}, "w k"),
    "a logit bias": ([PRODUCT, ("Add", "z k", "y")], {"w": W, "k": f(-12.93)}, "w k"),
    "attention's scale": (
        [PRODUCT, ("Mul", "z k", "s"), ("Softmax", "s", "y")],
        {"w": W, "k": f(1 / np.sqrt(48))},
        "w",
    ),
    "GELU written out": (
        [
            PRODUCT,
            ("Div", "z root", "a"),
            ("Erf", "a", "e"),
            ("Add", "e one", "p"),
            ("Mul", "z p", "t"),
            ("Mul", "t half", "y"),
        ],
        {"w": W, "root": f([np.sqrt(2)]), "one": f([1]), "half": f([0.5])},
        "w",
    ),
    "GELU by tanh": (
        [
            PRODUCT,
            ("Pow", "z three", "c"),
            ("Mul", "c k", "d"),
            ("Add", "z d", "s"),
            ("Mul", "s p", "t"),
            ("Tanh", "t", "y"),
        ],
        {"w": W, "three": f(3), "k": f(0.044715), "p": f(np.sqrt(2 / np.pi))},
        "w",
    ),
    "a causal mask": ([PRODUCT, ("Add", "z mask", "y")], {"w": W, "mask": f([0, 0, -np.inf, -np.inf])}, "w"),
    "a mask of large numbers": ([PRODUCT, ("Add", "z mask", "y")], {"w": W, "mask": f([0, 0, -1e9, 0])}, "w"),
    "what normalizes the input": (
        [("Sub", "x mean", "a"), ("Div", "a std", "b"), ("MatMul", "b w", "y")],
        {"mean": f([0.4, 0.5, 0.6]), "std": f([[0.2, 0.2, 0.3]]), "w": W},
        "w",
    ),
    "positions are a weight": (
        [("Add", "x pos", "a"), ("MatMul", "a w", "y")],
        {"pos": f([0.1, 0.3, 0.2]), "w": W},
        "pos w",
    ),
    "a layer with one output": (
        [("MatMul", "x w", "z"), ("Add", "z b", "y")],
        {"w": W[:, :1].copy(), "b": f([0])},
        "w b",
    ),
    "a layer alone on the input": (
        [("Mul", "x w", "a"), ("Add", "a b", "y")],
        {"w": f([1, 2, 4]), "b": f([0, 0, 1])},
        "w b",
    ),
    "above a NonZero": ([("MatMul", "x w", "y"), ("Relu", "y", "r"), ("NonZero", "r", "nz")], {"w": W}, "w"),
}


@pytest.mark.parametrize("name", CASES)
def test_roles_follow_the_structure(name):
    nodes, inits, wanted = CASES[name]
    graph = onnxio.read(model(nodes, inits))
    assert sorted(graph.params) == sorted(wanted.split())
    assert all(why for _, why in graph.roles().values())


def test_a_bias_in_a_constant_node_is_a_weight():
    m = model([PRODUCT, ("Constant", "", "b", {"value": nh.from_array(V)}), ("Add", "z b", "y")], {"w": W})
    assert sorted(onnxio.read(m).params) == ["b", "w"]


NMS = (
    [("Conv", "x wb", "c"), ("Reshape", "c sb", "r"), ("Transpose", "r", "boxes", {"perm": [0, 2, 1]}),
     ("Conv", "x ws", "d"), ("Reshape", "d ss", "e"), ("Sigmoid", "e", "scores"),
     ("NonMaxSuppression", "boxes scores most iou least", "selected")],
    {"wb": np.ones((4, 3, 1, 1), f), "ws": np.ones((2, 3, 1, 1), f), "sb": np.array([0, 4, -1]),
     "ss": np.array([0, 2, -1]), "most": np.array([5]), "iou": f([0.5]), "least": f([0.1])},
)  # fmt: skip


def test_what_data_decides_a_size_is_trained_too():
    m = model(*NMS, x=("N", 3, 4, 4), outs=("boxes", "scores"))
    graph = onnxio.read(m)
    assert sorted(graph.params) == ["wb", "ws"] and list(cut_at(graph, "boxes").params) == ["wb"]
    assert graph.roles()["iou"][0] == "constant"


def test_a_graph_is_cut_before_its_operators_are_looked_at():
    m = model(
        [PRODUCT, ("Unheard", "z", "u", {"domain": "own"}), ("Softmax", "u", "y")],
        {"w": W},
        extra=[h.make_opsetid("own", 1)],
    )
    graph = onnxio.read(m, outputs=["z"])
    assert graph.outputs == ["z"] and list(graph.params) == ["w"]
    late = onnxio.read(m, inputs=["u"], outputs="y", shapes={"u": ("N", 4)})
    assert list(late.inputs) == ["u"] and late.count() == {"Softmax": 1}
    with pytest.raises(GraphError, match=r"does not say the shape of 'u'.*shapes=\{'u'"):
        onnxio.read(m, inputs=["u"])
    with pytest.raises(GraphError, match=r"`outputs` names 'q', which no tensor .* last ones are .*'y'"):
        onnxio.read(m, outputs=["q"])


def test_the_user_overrules_by_name_pattern_and_value():
    m = model([PRODUCT, ("Mul", "z a.scale", "t"), ("Add", "t a.bias", "y")], {"w": W, "a.scale": f(0.5), "a.bias": V})
    assert sorted(onnxio.read(m, parameters=["a.*"]).params) == ["a.bias", "a.scale"]
    assert sorted(onnxio.read(m, parameters="w").params) == ["w"]
    assert list(onnxio.read(m, constants=["a.*"]).params) == ["w"]
    torchs = {"fc.weight": W.T.copy(), "a.bias": V}
    assert sorted(onnxio.read(m, parameters=torchs).params) == ["a.bias", "w"]
    assert onnxio.read(m, parameters=["w"]).roles()["a.bias"] == ("constant", "as was asked")
    again = onnxio.read(onnxio.to_model(onnxio.read(m, parameters=["a.scale"])))
    assert list(again.params) == ["a.scale"]
    with pytest.raises(
        GraphError, match="`parameters` names 'nope', but the initializers are 'a.bias', 'a.scale', 'w'"
    ):
        onnxio.read(m, parameters=["nope"])


def quantized():
    nodes = [("DequantizeLinear", "wq s z", "w"), ("MatMul", "x w", "y")]
    return model(nodes, {"wq": np.ones((3, 4), np.int8), "s": f(0.1), "z": np.int8(0)})


def test_nothing_to_train_names_the_nearest_thing_to_a_weight():
    graph = onnxio.read(quantized())
    assert graph.roles()["wq"] == ("quantized weight", "is integers behind DequantizeLinear")
    with pytest.raises(GraphError, match=r"no parameter to train: its weights are integers: 'wq' \(int8\)"):
        check_trains(graph)
    frozen = onnxio.read(model([PRODUCT, ("Relu", "z", "y")], {"w": W}), constants=["w"])
    with pytest.raises(GraphError, match=re.escape("the nearest to one is w:float32[3, 4], left alone (as was asked)")):
        check_trains(frozen)


def test_what_trains_is_said():
    lines = summary(onnxio.read(model(*CASES["GELU written out"][:2])))
    assert lines == ["trained: w", "left alone: root, one, half (is one number that the architecture says)"]


@pytest.mark.parametrize("dtype", [np.float16, "bfloat16"])
def test_a_model_of_sixteen_bits_is_read_wide_and_written_narrow(dtype):
    import ml_dtypes

    narrow = np.dtype(getattr(ml_dtypes, dtype)) if isinstance(dtype, str) else np.dtype(dtype)
    m = model(
        [PRODUCT, ("Cast", "z", "c", {"to": 1}), ("Cast", "c", "y", {"to": 10 if dtype == np.float16 else 16})],
        {"w": W.astype(narrow)},
    )
    kind = T.FLOAT16 if dtype == np.float16 else T.BFLOAT16
    m.graph.input[0].type.tensor_type.elem_type = m.graph.output[0].type.tensor_type.elem_type = kind
    graph = onnxio.read(m, dtype="float32")
    assert graph.params["w"].dtype == f and graph.inputs["x"].dtype == "float32" and graph.value("y").dtype == "float32"
    again = onnxio.to_model(graph, {"w": graph.params["w"] + 1})
    assert again.graph.initializer[0].data_type == kind == again.graph.input[0].type.tensor_type.elem_type
    assert again.graph.output[0].type.tensor_type.elem_type == kind


def test_statistics_that_never_move_are_warned_of():
    stats = {k: np.ones(3, f) for k in ("s", "b", "m", "v")}
    m = model([("BatchNormalization", "x s b m v", "y", {"momentum": 1.0})], stats, x=("N", 3, 4))
    graph = with_loss(onnxio.read(m), "mse")
    with pytest.warns(UserWarning, match="of 'BatchNormalization_0' never move, their momentum is 1.0"):
        make_program(graph, training=True)
    moving = onnxio.read(m, momentum=0.9)
    assert moving.nodes[0].attrs["momentum"] == 0.9
    make_program(with_loss(moving, "mse"), training=True)
