"""Integer and QDQ graphs against the real Aidge's numbers: every quantizer's steps, integer weights, outputs."""

import json
from pathlib import Path

import numpy as np
import pytest

from aidgejax.frontends import aidge_core as ac
from aidgejax.frontends import aidge_quantization as aq

from .test_post_training import CALIBRATION, outputs, tagged
from .test_quantization import built, network, tensor

FOLDER = Path(__file__).parents[2] / "golden/aidge_quantization"
PAGE = json.loads((FOLDER / "integers.json").read_text())
READ = {"Cast": lambda op: [op.attr.target_type.name], "Round": lambda op: [op.attr.rounding_mode.name]}


def number(op, k):
    values = np.array(op.get_input(k)).ravel()
    return float(values[0]) if len(values) == 1 else values.tolist()


def steps_of(node):
    """The data path inside a Quantizer, as the golden listings have it."""
    found = []
    for inner in node.get_operator().micro_graph.execution_order():
        op, kind = inner.get_operator(), inner.type()
        if kind in READ:
            found.append([kind, *READ[kind](op)])
        elif kind == "BitShift":
            found.append([kind, op.attr.direction.name, op.attr.rounding, number(op, 1)])
        elif kind != "Producer":
            found.append([kind, *(number(op, k) for k in range(1, op.nb_inputs()))])
    return found


def same(graph, want):
    got = {n.name(): steps_of(n) for n in graph.get_nodes() if n.type() in ("Quantizer", "Dequantizer")}
    assert got.keys() == want.keys()
    for name, steps in want.items():
        assert [s[0] for s in got[name]] == [s[0] for s in steps], name
        for ours, theirs in zip(got[name], steps, strict=True):
            for a, b in zip(ours[1:], theirs[1:], strict=True):
                assert a == b if isinstance(b, str | bool) else np.allclose(a, b, rtol=3e-5), (name, ours, theirs)


@pytest.mark.parametrize("case", PAGE["cases"], ids=lambda c: c["name"])
def test_integer_graphs_are_aidges(case):
    data, stored = case["data"], dict(np.load(FOLDER / "integers.npz"))
    key = f"{data}/{case['name'][len(data) + 1 :]}/"
    values = {k.split("/")[-1]: stored[k] for k in stored if k.startswith(f"{data}/init/")}
    graph = built(PAGE["models"][data]["model"], values)
    x = stored[f"{data}/x"]
    tagged(graph, *case["precision"])
    aq.quantize_network(graph, [tensor(v) for v in x[:7]], **case["arguments"])
    same(graph, case["steps"])
    for k in stored:
        if k.startswith(key) and k.endswith("CastOut"):
            held = np.array(graph.get_node(k.split("/")[-1]).get_operator().get_output(0))
            assert held.dtype == stored[k].dtype and np.abs(held.astype(int) - stored[k]).max() <= 1
    want = stored[f"{key}output"]
    got = outputs(graph, x[7:]).reshape(want.shape)
    step = 0.02 if case["arguments"].get("dequantize") else 1
    assert (got.dtype == np.int8) == (key.split("/")[1] in ("integer_cw", "integer_shift", "qdq_int"))
    assert np.abs(got.astype(float) - want).max() <= step
    assert np.mean(np.abs(got.astype(float) - want) > 1e-4) < 0.02
    if "qdq_steps" not in case:
        return
    aq.set_to_qdq(graph)
    same(graph, case["qdq_steps"])
    np.testing.assert_array_equal(outputs(graph, x[7:]).reshape(want.shape), got)
    aq.from_qdq(graph)
    same(graph, case["back_steps"])
    np.testing.assert_array_equal(outputs(graph, x[7:]).reshape(want.shape), got)


def branched():
    """An Add whose two sides need scaling, an average, a Concat."""
    a, b = ac.Conv2D(2, 3, [1, 1], name="a"), ac.Conv2D(2, 3, [1, 1], name="b")
    first, add, cat = ac.ReLU(name="first"), ac.Add(name="add"), ac.Concat(2, 1, name="cat")
    mean, fc = ac.GlobalAveragePooling(name="mean"), ac.FC(6, 3, name="fc")
    graph = ac.GraphView()
    for s, d, k in ((first, a, 0), (first, b, 0), (a, add, 0), (b, add, 1), (add, cat, 0), (b, cat, 1), (cat, mean, 0)):
        s.add_child(d, 0, k)
    mean.add_child(fc)
    graph.add([first, a, b, add, cat, mean, fc])
    graph.set_backend("cpu")
    rng = np.random.default_rng(4)
    for p in sorted(ac.producers(graph), key=lambda n: n.name()):
        p.get_operator().get_output(0).fill(rng.normal(size=p.get_operator().dims()).astype(np.float32))
    return graph


def test_what_aidge_refuses_runs_too():
    """Concat and averages in integers, and their QDQ graph, which gives the same integers."""
    x = [np.random.default_rng(k).normal(size=(2, 2, 3, 3)).astype(np.float32) for k in range(4)]
    graph = branched()
    want = outputs(graph, x)
    tagged(graph)
    aq.quantize_network(graph, [tensor(v) for v in x], rescale_inputs=True, dequantize=True, fold_graph=False)
    got = outputs(graph, x)
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.99
    aq.set_to_qdq(graph)
    step = np.abs(got[got != 0]).min()
    assert np.abs(outputs(graph, x) - got).max() <= 2.01 * step  # an average is rounded once more
    folded = network()
    tagged(folded)
    aq.quantize_network(folded, [tensor(v) for v in CALIBRATION], rescale_inputs=True)
    with pytest.raises(RuntimeError, match="expected to have a Quantizer as a parent.*fold_graph=False"):
        aq.set_to_qdq(folded)


def test_a_trained_graph_becomes_integers():
    """With LSQ and with DoReFa and CGPACT, in float tensors or in integer ones: the same numbers."""
    x = CALIBRATION
    for insert, transform in (
        (lambda g: aq.lsq.setup_quantizers(g, 4), aq.lsq.post_training_transform),
        (
            lambda g: (
                aq.sat.insert_sat_nodes(g),
                aq.sat.insert_param_quantizers(g, 4),
                aq.sat.insert_activ_quantizers(g, 4, 3.0),
            ),
            aq.sat.post_training_transform,
        ),
    ):
        graph = network()
        insert(graph)
        graph.set_backend("cpu")
        trained = outputs(graph, x)
        transform(graph, False)
        graph.set_backend("cpu")
        found = outputs(graph, x)
        assert np.corrcoef(found.ravel(), trained.ravel())[0, 1] > 0.99
        weight = np.array(graph.get_node("a_w").get_operator().get_output(0))
        np.testing.assert_array_equal(weight, np.rint(weight))
    again = network()
    aq.lsq.setup_quantizers(again, 4)
    again.set_backend("cpu")
    outputs(again, x)
    aq.lsq.post_training_transform(again, True)
    again.set_backend("cpu")
    assert np.array(again.get_node("b_w").get_operator().get_output(0)).dtype == np.int8
    plain = network()
    aq.lsq.setup_quantizers(plain, 4)
    plain.set_backend("cpu")
    outputs(plain, x)
    aq.lsq.post_training_transform(plain, False)
    plain.set_backend("cpu")
    np.testing.assert_array_equal(outputs(again, x), outputs(plain, x))
    with pytest.raises(RuntimeError, match="no weight of the graph has an LSQ"):
        aq.lsq.post_training_transform(network(), False)
