"""The installed onnx package's node tests, and the lists of those that pass: jax.txt and numpy.txt beside this file."""

import importlib
import pkgutil
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import onnx

from aidgejax import onnxio, run

FOLDER = Path(__file__).parent
BACKENDS = ("jax", "numpy")
# onnx computes the expected results when these are imported, which takes seconds each.
SLOW_TO_MAKE = ("maxpool", "lppool", "averagepool")


def listed(backend):
    """The names of the tests that pass."""
    return (FOLDER / f"{backend}.txt").read_text().split()


@cache
def node_tests(*, everything=True):
    """{name: test} of onnx; everything=False leaves out those that are slow to make."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import onnx.backend.test.case.node as node

        for module in pkgutil.walk_packages(node.__path__, f"{node.__name__}."):  # those of ai.onnx.ml are in a folder
            if everything or module.name.rpartition(".")[2] not in SLOW_TO_MAKE:
                importlib.import_module(module.name)
    return {t.name: t for t in node._NodeTestCases}


def check(test, backend):
    """Read the model, run it, and compare as onnx's own runner does: numbers, shapes, dtypes, lists."""
    names = [i.name for i in test.model.graph.input]
    graph = onnxio.read(test.model)
    for inputs, outputs in test.data_sets:
        got = run(graph, dict(zip(names, map(_value, inputs), strict=False)), backend)
        same([_value(o) for o in outputs], got, test)


def same(want, got, test):
    """onnx's runner compares; lists are taken apart for it, since it cannot compare scalars in one."""
    from onnx.backend.test.runner import Runner

    assert len(want) == len(got)
    for w, g in zip(want, got, strict=True):
        assert isinstance(w, list) == isinstance(g, list), f"expected {type(w)}, got {type(g)}"
        if isinstance(w, list):
            same(w, g, test)
        else:
            Runner.assert_similar_outputs([w], [g], test.rtol, test.atol)


def _value(fed):
    """What a data set holds is an array, a list of them, None, or a message of protobuf."""
    if isinstance(fed, onnx.TensorProto):
        return onnx.numpy_helper.to_array(fed)
    if isinstance(fed, onnx.SequenceProto):
        return onnx.numpy_helper.to_list(fed)
    if isinstance(fed, onnx.OptionalProto):
        return onnx.numpy_helper.to_optional(fed)
    return fed if fed is None or isinstance(fed, list) else np.asarray(fed)
