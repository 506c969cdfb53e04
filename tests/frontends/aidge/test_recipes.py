"""Recipes against the real Aidge's graphs and outputs, and what they leave alone."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from aidgejax.frontends import aidge_core as ac
from aidgejax.frontends import aidge_onnx

from ._golden import BACKENDS

PAGE = json.loads((Path(__file__).parents[2] / "golden/aidge_quantization/recipes.json").read_text())


def array(stored):
    return np.array(stored["data"], np.float32).reshape(stored["shape"])


def built(case):
    """(graph, {name: node}) of a listed model, its Producers filled."""
    graph, nodes = ac.GraphView(), {}
    for factory, given, name, sources in case["model"]:
        given = dict(given)
        if factory == "Producer":
            value = ac.Tensor(np.array(given["value"], np.float32))
            node = ac.Producer(value, name, constant=given.get("constant", False))
        else:
            node = getattr(ac, factory)(**given, name=name)
        nodes[name] = node
        for k, source in enumerate(sources):
            if source != "x":
                nodes[source].add_child(node, 0, k)
        graph.add(node)
    ready(graph)
    for name, value in case["init"].items():
        graph.get_node(name).get_operator().get_output(0).copy_from(ac.Tensor(array(value)))
    return graph, nodes


def ready(graph):
    graph.set_backend("cpu")
    graph.set_datatype(ac.dtype.float32)


def output(graph, x):
    return np.array(ac.SequentialScheduler(graph).forward(True, data=[ac.Tensor(x)])[0]).astype(np.float32)


def listed(graph):
    """Type, name and connections of every node, which is the graph."""
    inside = graph.get_nodes()

    def name(node):
        return node.name() or node.type()

    return sorted(
        str((n.type(), n.name(), [[name(p.node), p.index] if p.node in inside else None for p in n.inputs()]))
        for n in inside
    )


def expected(after):
    return sorted(
        str((n["type"], n["name"], [i and [after[i[0]]["name"] or after[i[0]]["type"], i[1]] for i in n["inputs"]]))
        for n in after
    )


@pytest.mark.parametrize("case", PAGE["cases"], ids=lambda c: c["name"])
def test_graph_and_output_are_aidges(case):
    graph, nodes = built(case)
    x = array(case["x"])
    np.testing.assert_allclose(output(graph, x), array(case["output_before"]), atol=1e-5)
    returned = [eval(call, {"ac": ac, "g": graph, "n": nodes}) for call in case["calls"]]
    ready(graph)
    np.testing.assert_allclose(output(graph, x), array(case["output_after"]), atol=1e-5)
    assert returned == case["returned"]
    assert listed(graph) == expected(case["after"])


def network(backend="cpu"):
    layers = [
        ac.PaddedConv2D(2, 4, [3, 3], padding_dims=[1, 1, 1, 1], name="c1"),
        ac.BatchNorm2D(4, name="bn"),
        ac.ReLU(name="r"),
        ac.PaddedMaxPooling2D([2, 2], stride_dims=[2, 2], padding_dims=[1, 1, 1, 1], name="p"),
        ac.Flatten(name="flat"),
        ac.FC(64, 3, name="fc"),
        ac.Dropout(0.5, False, name="d"),
    ]
    graph = ac.sequential(layers)
    graph.set_backend(backend)
    rng = np.random.default_rng(0)
    for p in sorted(ac.producers(graph), key=lambda n: n.name()):
        out = p.get_operator().get_output(0)
        out.fill((np.abs(rng.normal(size=out.dims)) + 0.1).astype(np.float32) * (1 if "variance" in p.name() else 0.3))
    return graph


IMAGES = np.random.default_rng(1).normal(size=(2, 2, 6, 6)).astype(np.float32)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_recipe_after_another_keeps_the_function(backend):
    graph = network(backend)
    want = output(graph, IMAGES)
    for recipe in (ac.fuse_batchnorm, ac.remove_flatten, ac.remove_dropout, ac.expand_metaops):
        recipe(graph)
        np.testing.assert_allclose(output(graph, IMAGES), want, rtol=1e-4, atol=1e-5, err_msg=recipe.__name__)
    assert sorted(n.type() for n in graph.get_nodes() if n.type() != "Producer") == [
        *("Conv2D", "FC", "MaxPooling2D", "Pad", "Pad", "ReLU")
    ]
    assert ac.fuse_to_metaops(graph, "Pad->Conv2D", "PaddedConv2D") == 1
    np.testing.assert_allclose(output(graph, IMAGES), want, rtol=1e-4, atol=1e-5)


def test_what_was_fused_still_trains():
    graph = network()
    ac.fuse_batchnorm(graph)
    ac.fuse_to_metaops(graph, "ReLU->PaddedMaxPooling2D", "Pooled")
    scheduler = ac.SequentialScheduler(graph)
    y = scheduler.forward(data=[ac.Tensor(IMAGES)])[0]
    y.grad.ones()
    scheduler.backward()
    grads = {p.name(): np.array(p.get_operator().get_output(0).grad) for p in ac.producers(graph)}
    assert set(grads) == {"c1_w", "c1_b", "fc_w", "fc_b"} and all(g.any() for g in grads.values())


def test_trained_producers_are_not_folded_away():
    graph = ac.sequential([ac.FC(3, 2, name="f")])
    graph.set_backend("cpu")
    assert ac.constant_folding(graph) is False
    assert {p.name() for p in ac.producers(graph)} == {"f_w", "f_b"}


def test_a_batchnorm_in_training_mode_is_left_alone():
    graph = network()
    graph.get_node("bn").get_operator().attr.training_mode = True
    ac.fuse_batchnorm(graph)
    assert graph.get_node("bn") is not None


def test_a_node_becomes_generic():
    graph = ac.sequential([ac.FC(3, 2, name="f"), ac.LeakyReLU(0.1, name="l")])
    ac.to_generic_op(graph.get_node("l"))
    node = graph.get_node("l")
    assert isinstance(node.get_operator(), ac.GenericOperatorOp) and node.type() == "LeakyReLU"
    assert node.get_operator().attr.negative_slope == 0.1 and node.get_parent(0).name() == "f"


@pytest.mark.parametrize("recipe", ac.recipes.__all__)
def test_something_that_is_no_graph_is_refused(recipe):
    if recipe == "to_generic_op":
        return
    more = {"remove_node": ("ReLU",), "remove_nodes": ("ReLU",), "fuse_to_metaops": ("ReLU",), "fuse_to_metaop": ("A",)}
    with pytest.raises(TypeError):
        getattr(ac, recipe)("graph", *more.get(recipe, ()))


def loaded_classifier(tmp_path):
    """A file that leaves out every attribute whose default ONNX gives."""
    rng = np.random.default_rng(0)
    sizes = {"w": (6, 3, 3, 3), "b": (6,), "s": (6,), "o": (6,), "m": (6,), "v": (6,), "w2": (5, 6), "b2": (5,)}
    held = {k: rng.uniform(0.5, 1.5, s).astype(np.float32) for k, s in sizes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "s", "o", "m", "v"], ["n"], name="norm"),
        helper.make_node("LeakyRelu", ["n"], ["r"], name="act"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], name="fc", transB=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "classifier",
        [value("x", 1, [2, 3, 8, 8])],
        [value("y", 1, [2, 5])],
        [numpy_helper.from_array(a, k) for k, a in held.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    return aidge_onnx.load_onnx(str(tmp_path / "m.onnx"))


def test_a_loaded_graph_shows_attributes_that_its_file_leaves_out_and_goes_through_recipes(tmp_path):
    model = loaded_classifier(tmp_path)
    conv, norm = (model.get_node(k).get_operator().attr for k in ("conv", "norm"))
    assert list(conv.kernel_dims) == [3, 3] and list(conv.stride_dims) == [1, 1]
    assert norm.epsilon == pytest.approx(1e-5) and not norm.training_mode
    assert model.get_node("act").get_operator().attr.negative_slope == pytest.approx(0.01)
    model.set_backend("cpu")
    x = ac.Tensor(np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32))
    before = np.array(ac.SequentialScheduler(model).forward(data=[x])[0])
    ac.fuse_batchnorm(model)
    ac.remove_flatten(model)  # an FC flattens what stands behind the batch
    assert {n.type() for n in model.get_nodes()} == {
        *("Producer", "PaddedConv2D", "LeakyReLU", "GlobalAveragePooling", "FC")
    }
    after = np.array(ac.SequentialScheduler(model).forward(data=[x])[0])
    np.testing.assert_allclose(after, before, rtol=2e-5)
    assert ac.GraphView.replace({model.get_node("act")}, {ac.Tanh(name="tanh")})  # of the class, as in Aidge
    assert model.get_node("act") is None and model.get_node("tanh") is not None
