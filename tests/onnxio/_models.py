"""Models for these tests, written with onnx.helper."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def info(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def node(op, inputs, outputs, name=None, domain="", **attributes):
    split = lambda s: s.split(",") if isinstance(s, str) else s
    return helper.make_node(op, split(inputs), split(outputs), name=name, domain=domain, **attributes)


def model(nodes, inputs, outputs, tensors=None, *, opset=17, ir=8, domains=()):
    """tensors: {name: array} to be initializers."""
    stored = [numpy_helper.from_array(np.asarray(a), n) for n, a in (tensors or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=stored)
    return helper.make_model(
        graph,
        ir_version=ir,
        opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)],
    )


def small():
    """y = Reshape(Relu(x * w), [3, 2]): one of everything that can be broken."""
    return model(
        [node("Mul", "x,w", "a", "scale"), node("Relu", "a", "b", "act"), node("Reshape", "b,size", "y", "flat")],
        [info("x", [2, 3])],
        [info("y", [3, 2])],
        {"w": np.array([1, -2, 3], np.float32), "size": np.array([3, 2])},
    )


def initializer(m, name) -> onnx.TensorProto:
    return next(t for t in m.graph.initializer if t.name == name)
