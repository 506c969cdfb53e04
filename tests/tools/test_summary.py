"""A graph as a table by layer, against counts made by hand."""

import aidgejax as aj


def test_lenet_row_by_row():
    table = aj.summary(aj.zoo.lenet(size=8), sizes={"N": 4})
    rows = {r.name: r for r in table.layers}
    assert list(rows)[:3] == ["conv1", "relu1", "pool1"]
    conv = rows["conv2"]  # 16 of 6 x 5 x 5 over 4 x 4 places of 4 images
    assert (conv.op, conv.output, conv.parameters) == ("Conv", "float32[N, 16, 4, 4]", 16 * 6 * 25 + 16)
    assert conv.macs == 4 * 16 * 16 * 6 * 25 and rows["relu1"].macs == 0
    assert conv.activations == conv.saved == 4 * 16 * 16 * 4
    assert conv.training == conv.saved + 4 * 4 * conv.parameters  # values, gradients and Adam's two moments
    assert table.total("parameters") == sum(a.size for a in aj.zoo.lenet(size=8).params.values())
    assert rows["logits" if "logits" in rows else "fc3"].saved == 0  # nothing reads the logits back


def test_sgd_keeps_no_moments_and_frozen_parameters_no_gradient():
    graph = aj.zoo.mlp((4, 3, 2))
    plain = aj.summary(graph, moments=0)
    assert plain.total("training") - plain.total("saved") == 2 * 4 * plain.total("parameters")
    frozen = aj.summary(graph.frozen(graph.params), moments=0)
    assert frozen.total("saved") == 0 and frozen.total("parameters") == 0


def test_a_long_graph_joins_what_shares_a_prefix_and_keeps_its_sums():
    g = aj.Graph("deep")
    y = g.input("x", ("N", 3))
    for k in range(30):
        w = g.parameter(f"block{k // 10}/layer{k}/w", aj.fillers.constant(None, (3, 3), 0.5))
        y = g.op.Relu(g.op.MatMul(y, w, name=f"block{k // 10}/layer{k}/mm"), name=f"block{k // 10}/layer{k}/relu")
    g.output(y)
    short, whole = aj.summary(g, longest=20), aj.summary(g)
    assert [r.name for r in short.layers] == ["block0", "block1", "block2"]
    assert short.layers[0].op == "20 nodes" and short.layers[0].parameters == 90
    assert [short.total(k) for k in ("macs", "training")] == [whole.total(k) for k in ("macs", "training")]


def test_it_is_shown_as_text_and_in_a_notebook():
    table = aj.summary(aj.zoo.mlp((4, 3, 2)))
    assert str(table).splitlines()[-1].startswith("total") and "at N=1" in str(table)
    assert table._repr_html_().count("<tr>") == len(table.layers) + 2
