"""Building in chains, running what leads to a Connector, layouts by name, pictures from files, transformed items."""

import gzip
import json

import numpy as np
import pytest

from aidgejax.frontends import aidge_backend_opencv as opencv
from aidgejax.frontends import aidge_core as ac
from aidgejax.frontends.aidge_core.errors import GraphViewError, MissingAttribute, ProviderError, TensorError

X = np.array([[-1.0, 2.0, -3.0]], np.float32)


def test_chains_push_and_append():
    g = ac.GraphView()
    first, last = ac.ReLU(name="a"), ac.Neg(name="b")
    assert g.push(first).append(last) is g and len(g) == 2
    assert first.to(last) is last
    third = ac.Neg(name="c")
    assert g.link(third) is third and third not in g.get_nodes() and third.get_parent(0) is last
    g += third
    assert g.get_ordered_outputs()[0].node is third
    g.set_backend("cpu")
    np.testing.assert_array_equal(np.array(ac.SequentialScheduler(g).forward(data=[X])[0]), np.maximum(X, 0))


def test_a_node_and_a_connector_run_alone():
    node = ac.ReLU()
    node.get_operator().set_backend("cpu")
    np.testing.assert_array_equal(np.array(node.forward(ac.Tensor(X))[0]), np.maximum(X, 0))
    with_both = ac.Add()(ac.ReLU()(ac.Connector()), ac.Neg()(ac.Connector()))
    found = with_both.forward([ac.Tensor(X), ac.Tensor(X)])[0]
    np.testing.assert_array_equal(np.array(found), np.maximum(X, 0) - X)
    with pytest.raises(RuntimeError, match="empty Connector"):
        ac.Connector().forward([])


def test_a_query_written_for_a_graph_finds_it():
    model = ac.residual([ac.FC(3, 3, name="fc"), ac.ReLU(name="r"), ac.Add(name="sum")])
    finder = ac.SinglePassGraphMatching(model)
    found = finder.match(finder.build_query_from(model))
    assert len(found) == 1 and found[0].graph.get_nodes() == model.get_nodes()
    parts = ac.GraphView().push(ac.ReLU(name="p")).push(ac.ReLU(name="q"))
    with pytest.raises(RuntimeError, match="several parts"):
        finder.build_query_from(parts)


def test_outputs_in_another_order_and_written_to_files(tmp_path):
    model = ac.sequential([ac.ReLU(name="r"), ac.MaxPooling2D([2, 2], name="pool")])
    model.set_backend("cpu")
    model.add_ordered_outputs([(model.get_node("r"), 0)], 0)
    model.filter_secondary_outputs()
    assert [p.node.name() for p in model.get_ordered_outputs()] == ["r", "pool"]
    ac.SequentialScheduler(model).forward(data=[np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)])
    model.log_outputs(str(tmp_path))
    assert np.loadtxt(tmp_path / "1_MaxPooling2D_pool" / "output_0.log") == 3
    model.get_node("pool").set_name("../../pool")  # a name leads to no other folder
    model.log_outputs(str(tmp_path))
    assert np.loadtxt(tmp_path / "1_MaxPooling2D_.._.._pool" / "output_0.log") == 3
    copies = model.clone_shared_operators()
    assert copies.get_node("r").get_operator() is model.get_node("r").get_operator()


def test_axes_by_the_name_of_the_layout():
    t = ac.Tensor(np.zeros((2, 3, 4, 5), np.float32))
    assert t.get_channel_dim_idx() == -1
    with pytest.raises(TensorError, match="set_data_format"):
        t.get_channel_dim_size()
    t.set_data_format(ac.dformat.nhwc)
    assert (t.get_batch_dim_size(), t.get_height_dim_size(), t.get_channel_dim_idx()) == (2, 3, 3)
    order = ac.get_permutation_mapping(ac.dformat.nchw, ac.dformat.nhwc)
    assert ac.get_transposed_data_format(ac.dformat.nchw, order) is ac.dformat.nhwc
    turned = ac.Tensor()
    turned.cpy_transpose(t, [0, 3, 1, 2])
    assert turned.dims == [2, 5, 3, 4]
    assert order == [0, 2, 3, 1, 4] and ac.get_transposed_data_format(ac.dformat.nchw, [1, 0]) is ac.dformat.default
    t.set_data_format(ac.dformat.nchw)
    assert t.dims == [2, 5, 3, 4] and ac.depth_idx(ac.dformat.nchw) == -1
    assert ac.Tensor(X).ref_from(ac.Tensor(), "cpu").backend == "cpu"


def test_what_is_not_there_says_what_to_use():
    with pytest.raises(MissingAttribute, match="XLA plans the memory"):
        ac.SequentialScheduler(ac.sequential([ac.ReLU()])).generate_memory()
    assert not hasattr(ac.Tensor(), "impl") and not hasattr(ac.ReLU().get_operator(), "get_required_memory")


def idx(array):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype("u1").tobytes()


def test_digits_are_read_transformed_and_stacked(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(5)))
    provider = ac.DataProvider(opencv.MNIST(tmp_path, True), 2)
    scale = ac.Producer(ac.Tensor(np.array(255, np.float32)), "scale")
    graph = ac.sequential([ac.Cast(ac.dtype.float32, name="cast"), ac.Div(name="div")])
    scale.add_child(graph.get_node("div"), 0, 1)
    provider.transforms(0, graph)
    batches = list(provider)
    assert [b[0].dims for b in batches] == [[2, 1, 28, 28]] * 2 + [[1, 1, 28, 28]]
    np.testing.assert_allclose(np.concatenate([np.array(b[0])[:, 0] for b in batches]), images / 255, rtol=1e-6)
    assert np.concatenate([np.array(b[1]) for b in batches]).ravel().tolist() == [0, 1, 2, 3, 4]
    assert provider.dformat(0) == [ac.dformat.default]
    with pytest.raises(ProviderError, match="t10k-images"):
        opencv.MNIST(tmp_path, False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(5))[:-1])
    with pytest.raises(ProviderError, match="holds 4 bytes"):
        opencv.MNIST(tmp_path, True)
    with pytest.raises(ProviderError, match="2 outputs|one tensor"):
        provider.transforms(0, ac.parallel([ac.ReLU(), ac.Neg()]))


def test_pictures_in_colour(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (3, 2 + 3072)).astype("u1")
    (tmp_path / "test.bin").write_bytes(rows.tobytes())
    (tmp_path / "test_batch.bin").write_bytes(rows[:, 1:].tobytes())
    for kind in (opencv.CIFAR100, opencv.CIFAR10):
        data = kind(tmp_path, train=False)
        image, label = data.get_item(1)
        assert data.len() == 3 and label[0] == rows[1, 1]
        np.testing.assert_array_equal(np.array(image), rows[1, 2:].reshape(3, 32, 32))
    (tmp_path / "test.bin").write_bytes(rows.tobytes()[:-5])
    with pytest.raises(ProviderError, match="no multiple"):
        opencv.CIFAR100(tmp_path, train=False)


def test_a_graph_without_an_output_is_not_linked():
    with pytest.raises(GraphViewError, match="0 outputs"):
        ac.GraphView().to(ac.ReLU())


def test_a_producer_may_head_a_chain():
    node = ac.GenericOperator("Same", 1, 0, 1, name="same")
    ac.sequential([ac.Producer([3, 2], name="p"), node])
    assert node.get_operator().get_output(0).dims == []
    node.get_operator().set_forward_dims(node.get_operator().identity)
    assert node.get_operator().forward_dims() and node.get_operator().get_output(0).dims == [3, 2]


@pytest.mark.parametrize("back", [0, 1])
def test_what_comes_back_does_not_count_in_the_order(back):
    head, body = ac.GenericOperator("Loop", 2, 0, 2, name="head"), ac.Add(name="body")
    head.get_operator().set_back_edges({back})
    head.add_child(body, 0, 1)
    body.add_child(head, 0, back)
    graph = ac.GraphView()
    graph.add(body)
    graph.add(head)
    assert graph.get_ordered_nodes() == [head, body]
    head.get_operator().set_back_edges(set())
    with pytest.raises(RuntimeError, match="cycle"):
        graph.get_ordered_nodes()


def test_attributes_hold_attributes():
    op = ac.GenericOperatorOp("any", 1, 0, 1)
    with pytest.raises(IndexError):
        op.attr.inner  # noqa: B018
    op.attr.inner = ac.DynamicAttributes()
    assert str(op.attr) == "AttrDict({'inner': AttrDict({})})"
    op.attr.inner.k = 4
    assert op.attr.inner.k == op.attr.get_attr("inner.k") == 4
    attrs = ac.test_DynamicAttributes_binding()
    attrs.d = 1.5
    assert ac.test_DynamicAttributes_binding_check(attrs) == 1.5 and attrs.get_attr("mem").get_attr("data.b") == 1


def test_a_graph_as_json_and_as_text(tmp_path):
    from aidgejax.frontends.aidge_core.show_graphview import gview_to_json, str_aidge_graph_structure

    conv = ac.PaddedConv2D(1, 2, [3, 3], padding_dims=[1, 1, 1, 1], name="conv")
    graph = ac.sequential([conv, ac.Pad([0, 1, 0, 1], mode="edge", name="pad"), ac.ReLU(name="r")])
    graph.forward_dims([[1, 1, 4, 4]])
    gview_to_json(graph, tmp_path / "g.json")
    entries = {e["name"]: e for e in json.loads((tmp_path / "g.json").read_text())["graph"]}
    inner = {e["optype"] for e in entries["conv"]["attributes"]["micro_graph"]}
    assert inner == {n.type() for n in conv.get_operator().get_micro_graph().get_nodes()} >= {"Conv2D"}
    pad = graph.get_node("pad").get_operator()
    assert not hasattr(pad, "get_micro_graph")
    assert entries["pad"]["attributes"].keys() == pad.attr.dict().keys()
    assert "conv (PaddedConv2D) [1, 2, 4, 4] -> pad" in str_aidge_graph_structure(graph).splitlines()
    assert ac.aidge_core.Tensor is ac.Tensor
